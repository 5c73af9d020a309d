/* SPDX-License-Identifier: MIT */
/* From a machine's configuration to QEMU's: records in, an mvm_qemu_spec out. */
#ifndef MVM_QEMU_PLAN_H
#define MVM_QEMU_PLAN_H

#include "mvm/vm.h"
#include "wire/qemu_argv.h"

#define MVM__QEMU_BINARY "qemu-system-x86_64"

/* Whether QEMU can run this configuration; MVM_EUNSUPPORTED with what is missing. */
int mvm__plan_check(mvm_vm *vm, mvm_err *err);

typedef struct mvm__plan {
    mvm_qemu_spec spec;              /* the descriptors are filled by the caller */
    struct mvm__plan_memory *memory; /* what spec points into */
} mvm__plan;

void mvm__plan_make(mvm_vm *vm, const char *binary, mvm__plan *plan);
void mvm__plan_free(mvm__plan *plan);
/* Makes the disks that are to be created and are not there. */
int mvm__plan_disks(mvm_vm *vm, mvm_err *err);
/* The index-th disk's serial, which is its name in figures; buf of at least 24 bytes. NULL past the
 * end. */
const char *mvm__plan_disk_id(mvm_vm *vm, size_t index, char *buf);

#endif
