/* SPDX-License-Identifier: MIT */
/* One run of a machine under QEMU, from the fork to the reaping. Internal to core/backend/qemu. */
#ifndef MVM_QEMU_RUN_H
#define MVM_QEMU_RUN_H

#include "backend/qemu/qmp.h"
#include "base/list.h"
#include "io/pipe.h"
#include "io/proc.h"
#include "mvm/backend.h"

#define MVM__RUN_SOCKETS 3u /* that QEMU inherits: QMP, console, agent */

typedef struct mvm__run {
    mvm_vm *vm;
    mvm__proc *proc;
    mvm__qmp *qmp;
    mvm__pipe *agent, *console;
    mvm__list devs; /* of mvm__dev */
    int fds[9];     /* what QEMU inherits for devices (nets, a vsock), until it is started */
    size_t nfds;
    unsigned ndevs;            /* ever made in this run: their ids are never used twice */
    struct mvm__dev *boot_dev; /* the disk that it boots from, or NULL */
    mvm_timer *grace;          /* QEMU closed its control socket and has this long to end */
    char *variables;           /* EFI: the file of its variables, or NULL */
    int variables_fd;          /* holds its lock */
    bool own_variables;        /* that file goes with the run */
    char version[32];
    char ended[32];   /* the reason of its SHUTDOWN event, "" before */
    bool running;     /* has been reported as running */
    bool killed;      /* kill was asked */
    bool resetting;   /* reset was asked and has not been seen to happen */
    bool stats_asked; /* figures are being collected */
    mvm_err why;      /* what made us kill it; code 0: nothing */
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
/* A device is usable that was not when QEMU answered first. */
void mvm__control_settled(mvm__run *run);
/* Ends a QEMU that can't be used any more, with the reason. */
void mvm__control_give_up(mvm__run *run, const mvm_err *why);

/* figures.c */
int mvm__figures_collect(mvm_vm *vm, mvm_err *err);

/* abilities.c */
const char *mvm__qemu_cannot(mvm_vm *vm, const char *what);
const char *mvm__qemu_cure(mvm_vm *vm, const char *what);

/* findings.c */
/* "QEMU emulator version 7.2.22 (Debian ...)" gives "7.2.22"; "" when it does not tell. Runs it. */
void mvm__qemu_version(const char *path, char *out, size_t cap);
size_t mvm__qemu_findings(mvm_finding *out, size_t cap);
int mvm__qemu_probe(mvm_err *err);

#endif
