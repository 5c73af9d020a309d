/* SPDX-License-Identifier: MIT */
/* The machine's own structure, for the files that make up the machine: vm.c, lifecycle.c, event.c,
 * check.c, stats.c and lab.c. */
#ifndef MVM_VM_STRUCT_H
#define MVM_VM_STRUCT_H

#include "base/list.h"
#include "io/wait.h"
#include "vm/vm_internal.h"

enum { MVM__MARKS_MAX = 16 };

struct mvm_vm {
    mvm__link link; /* in lab->vms */
    mvm_lab *lab;
    int refs;
    char name[72];
    mvm_record *config;
    const mvm_backend_ops *ops;
    void *data; /* the back end's */
    mvm__agent *agent;
    struct mvm_console *console; /* the first, which needs no device */
    mvm__list ports;             /* of the devices that have one; port.c */
    struct mvm__vm_vsock *vsock;

    mvm_state state;
    bool killed;          /* kill was asked in this run */
    bool rebooting;       /* reboot was asked and has not been seen to happen */
    bool resetting;       /* the back end was asked for a reset and has not reported it */
    bool agent_seen;      /* the agent has been ready in this run */
    unsigned mount_round; /* counts READY; see mount.c */
    size_t mounts_left;   /* shares that the machine is not ready without */
    bool panicked;        /* its kernel is dead, and has not been reset since; why says how */
    mvm_err why;          /* why it is down: code 0, or the error that ended the last run */
    mvm__list waits;      /* for a state, ready or down; tagged */
    mvm__list verb;       /* the waits of the op in flight (pause, resume, reset) */
    mvm__list stat_waits;

    mvm__list subs;
    uint64_t event_seq;
    int emitting;

    double started; /* loop time of start */
    mvm_mark marks[MVM__MARKS_MAX];
    size_t nmarks;
    struct mvm__stat *stats;
    size_t nstats;
    char reason[256]; /* of the last `can` that the host answered */
};

/* Tags of vm->waits beyond the states. */
enum {
    MVM__WAIT_READY = 100,
    MVM__WAIT_START,
    MVM__WAIT_STOP,
    MVM__WAIT_DOWN,
    MVM__WAIT_REBOOT,
};

/* lab.c */
struct mvm_lab {
    mvm_loop *loop;
    mvm__list vms;
    unsigned counter; /* of names given by the lab */
    const mvm_backend_ops *backend;
    struct mvm__rundir *rundir;
};

/* vm.c: the machine is called "web: message" in errors that it makes. */
int mvm__vm_fail(const mvm_vm *vm, mvm_err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

void mvm__vm_mark_at(mvm_vm *vm, const char *name, double at); /* seconds since start */

/* check.c */
int mvm__vm_pick_backend(mvm_vm *vm, mvm_err *err);

/* Checks one device of the configuration, as mvm_vm_check does each. */
int mvm__vm_check_device(mvm_vm *vm, const mvm_record *device, mvm_err *err);

/* event.c */
void mvm__vm_drop_subs(mvm_vm *vm);
void mvm__vm_emit_text(mvm_vm *vm, const char *name, const char *text);

/* lifecycle.c, from mount.c: the agent is ready, and what shares could be mounted are. */
void mvm__vm_on_mounted(mvm_vm *vm);

/* stats.c */
void mvm__vm_clear_stats(mvm_vm *vm);

#endif
