/* SPDX-License-Identifier: MIT */
/* One run of a machine under QEMU, from the fork to the reaping. Internal to core/backend/qemu. */
#ifndef MVM_QEMU_RUN_H
#define MVM_QEMU_RUN_H

#include "backend/qemu/qmp.h"
#include "io/pipe.h"
#include "io/proc.h"
#include "mvm/backend.h"

typedef struct mvm__run {
    mvm_vm *vm;
    mvm__proc *proc;
    mvm__qmp *qmp;
    mvm__pipe *agent, *console;
    mvm_timer *grace; /* QEMU closed its control socket and has this long to end */
    char version[32];
    char ended[32];       /* the reason of its SHUTDOWN event, "" before */
    bool running;         /* has been reported as running */
    bool killed;          /* kill was asked */
    bool resetting;       /* reset was asked and has not been seen to happen */
    bool stats_asked;     /* figures are being collected */
    char disk_error[200]; /* the last that was reported */
    mvm_err why;          /* what made us kill it; code 0: nothing */
} mvm__run;

/* run.c */
int mvm__run_start(mvm_vm *vm, mvm_err *err);
mvm__run *mvm__run_of(const mvm_vm *vm);

/* control.c */
extern const mvm__qmp_ops mvm__control_ops;
int mvm__control_pause(mvm_vm *vm, mvm_err *err);
int mvm__control_resume(mvm_vm *vm, mvm_err *err);
int mvm__control_reset(mvm_vm *vm, mvm_err *err);
int mvm__control_power_button(mvm_vm *vm, mvm_err *err);
/* Ends a QEMU that can't be used any more, with the reason. */
void mvm__control_give_up(mvm__run *run, const mvm_err *why);

/* figures.c */
int mvm__figures_collect(mvm_vm *vm, mvm_err *err);

/* findings.c */
size_t mvm__qemu_findings(mvm_finding *out, size_t cap);
int mvm__qemu_probe(mvm_err *err);

#endif
