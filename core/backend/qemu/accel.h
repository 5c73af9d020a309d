/* SPDX-License-Identifier: MIT */
/* Which accelerator works on this host, found by trying, once a process. */
#ifndef MVM_QEMU_ACCEL_H
#define MVM_QEMU_ACCEL_H

#include <stdbool.h>
#include <stdint.h>

#include "backend/qemu/arch.h"

typedef struct mvm__accel {
    bool kvm;
    const char *name; /* "kvm" | "tcg", as QEMU says it */
    char reason[200]; /* why it is this one, in words */
} mvm__accel;

const mvm__accel *mvm__accel_get(void);
/* For machines of that architecture: nothing accelerates a foreign one. */
const mvm__accel *mvm__accel_of(const mvm__arch *arch);

/* Frequency of this host's time stamp counter in kHz when it is constant, else 0. Takes 1 ms, once.
 */
int64_t mvm__tsc_khz(void);

#endif
