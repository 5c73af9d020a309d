/* SPDX-License-Identifier: MIT */
/* From a machine's configuration to QEMU's: records in, an mvm_qemu_spec out. */
#ifndef MVM_QEMU_PLAN_H
#define MVM_QEMU_PLAN_H

#include "mvm/vm.h"
#include "wire/qemu_argv.h"

/* Whether QEMU can run this configuration; MVM_EUNSUPPORTED with what is missing. */
int mvm__plan_check(mvm_vm *vm, mvm_err *err);

struct mvm__run;

typedef struct mvm__plan {
    mvm_qemu_spec spec;              /* the descriptors are filled by the caller */
    struct mvm__plan_memory *memory; /* what spec points into */
} mvm__plan;

/* Of a run whose devices are prepared. */
void mvm__plan_make(struct mvm__run *run, const char *binary, mvm__plan *plan);
void mvm__plan_free(mvm__plan *plan);
/* Whether the machine boots macvm's own guest, whose agent will be ready. */
bool mvm__plan_own_guest(mvm_vm *vm);
/* Whether the machine boots what is on its first disk. */
bool mvm__plan_boots_disk(mvm_vm *vm);

#endif
