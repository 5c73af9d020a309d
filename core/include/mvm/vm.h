/* SPDX-License-Identifier: MIT */
/*
 * A machine: its configuration, its life, its events. Made in a lab
 * (mvm/lab.h), driven by one back end (mvm/backend.h) chosen when it is first
 * checked or started. Loop thread only.
 */
#ifndef MVM_VM_H
#define MVM_VM_H

#include <stdbool.h>
#include <stddef.h>

#include "mvm/record.h"
#include "mvm/wait.h"

typedef struct mvm_vm mvm_vm;
typedef struct mvm_sub mvm_sub;
typedef struct mvm_lab mvm_lab;

#define MVM_STATE_MAP(X)                                                                           \
    X(STOPPED, "stopped")                                                                          \
    X(STARTING, "starting")                                                                        \
    X(RUNNING, "running")                                                                          \
    X(PAUSING, "pausing")                                                                          \
    X(PAUSED, "paused")                                                                            \
    X(RESUMING, "resuming")                                                                        \
    X(STOPPING, "stopping")                                                                        \
    X(SAVING, "saving")                                                                            \
    X(RESTORING, "restoring")                                                                      \
    X(ERROR, "error")

typedef enum mvm_state {
#define X(name, word) MVM_##name,
    MVM_STATE_MAP(X)
#undef X
        MVM_STATE_COUNT
} mvm_state;

const char *mvm_state_word(mvm_state state);
int mvm_state_parse(const char *word); /* -1: no such state */

/* ---- making one ---------------------------------------------------------- */

/* name NULL: "vm1", "vm2", ... A name that a living machine of the lab has is MVM_ECONFIG.
 * The caller gets one reference; the lab keeps one while the machine is up. */
mvm_vm *mvm_vm_new(mvm_lab *lab, const char *name, mvm_err *err);
mvm_vm *mvm_vm_ref(mvm_vm *vm);
/* The last one frees; a machine that is up is kept by its lab until it is down. NULL is fine. */
void mvm_vm_unref(mvm_vm *vm);
mvm_lab *mvm_vm_lab(const mvm_vm *vm);
const char *mvm_vm_name(const mvm_vm *vm);

/* The "vm" record; set its fields while the machine is down. */
mvm_record *mvm_vm_config(mvm_vm *vm);
/* Adds a device (takes a reference) while the machine is down. While it is up: MVM_ESTATE, see
 * mvm_vm_plug. */
int mvm_vm_attach(mvm_vm *vm, mvm_record *device, mvm_err *err);

/* Checks the whole configuration against the host (files, sizes, other machines of the
 * lab, the back end) and picks the back end. Starts and creates nothing. */
int mvm_vm_check(mvm_vm *vm, mvm_err *err);
/* Name of the back end, "" before it is picked. */
const char *mvm_vm_backend(const mvm_vm *vm);
/* Can it `what` ("pause", "save", "agent", "vsock", a device kind, ...)? When it can't, *reason
 * (static or owned by the machine) says why. `what` unknown: false with a reason. */
bool mvm_vm_can(mvm_vm *vm, const char *what, const char **reason);
/* Every word that mvm_vm_can knows; NULL past the end. */
const char *mvm_vm_ability(size_t i);

/* ---- life ------------------------------------------------------------------ */

mvm_state mvm_vm_state(const mvm_vm *vm);
bool mvm_vm_up(const mvm_vm *vm);    /* neither stopped nor error */
bool mvm_vm_ready(const mvm_vm *vm); /* the agent answers */

/* Each waits for the end of the transition it begins. MVM_ESTATE from a state that does not
 * allow it. A start that fails after it began leaves the machine in `error`, from where it can be
 * started again. */
mvm_wait *mvm_vm_start(mvm_vm *vm, const mvm_waiter *waiter, mvm_err *err);
mvm_wait *mvm_vm_pause(mvm_vm *vm, const mvm_waiter *waiter, mvm_err *err);
mvm_wait *mvm_vm_resume(mvm_vm *vm, const mvm_waiter *waiter, mvm_err *err);
/* Asks the guest to restart (agent, else a hard reset) and waits until it is ready again, or, where
 * no agent was ever ready in this run, until it has been reset. MVM_EGUEST at once when the guest
 * refuses; stop the same. */
mvm_wait *mvm_vm_reboot(mvm_vm *vm, const mvm_waiter *waiter, mvm_err *err);
/* Asks the guest to power off: by its agent, which syncs its disks, else by the ACPI power
 * button. A guest that does not follow until the deadline runs on: MVM_ETIMEOUT.
 * A machine that is down already: success. */
mvm_wait *mvm_vm_stop(mvm_vm *vm, const mvm_waiter *waiter, mvm_err *err);
/* Ends it as a power cut would. From any state; a machine that is down already: success. */
mvm_wait *mvm_vm_kill(mvm_vm *vm, const mvm_waiter *waiter, mvm_err *err);

/* Waits until the machine is in `state` (at once when it is). When it falls into `stopped` or
 * `error` while something else was waited for, that can't come true: MVM_ESTATE at once, with
 * the reason why it fell. */
mvm_wait *mvm_vm_wait_state(mvm_vm *vm, mvm_state state, const mvm_waiter *waiter, mvm_err *err);
mvm_wait *mvm_vm_wait_ready(mvm_vm *vm, const mvm_waiter *waiter, mvm_err *err);

/* ---- events ------------------------------------------------------------------ */

/* X(name, arguments that a listener gets) */
#define MVM_EVENT_MAP(X)                                                                           \
    X("state", "new, old")                                                                         \
    X("ready", "")                                                                                 \
    X("console", "line")                                                                           \
    X("panic", "text")                                                                             \
    X("channel", "name, what")                                                                     \
    X("balloon", "bytes")                                                                          \
    X("network", "id, what")                                                                       \
    X("clipboard", "text")                                                                         \
    X("snapshot", "name, what")                                                                    \
    X("guest-shutdown", "reason")                                                                  \
    X("error", "error")

typedef struct mvm_event {
    const char *name;
    double at; /* mvm_loop_now() when it happened */
    int nargs;
    mvm_value args[2];
    const mvm_err *err; /* "error" only */
} mvm_event;

/* The event lives only during the call. */
typedef void (*mvm_event_fn)(void *ud, mvm_vm *vm, const mvm_event *event);

/* name "*": all. Called in the order of the events, from the loop, for everything that happens
 * after this call returns. Listeners may subscribe and cancel while one is being told.
 * MVM_ECONFIG for an event that does not exist. The subscription holds no reference on the
 * machine; it ends with it. */
mvm_sub *mvm_vm_subscribe(mvm_vm *vm, const char *name, mvm_event_fn fn, void *ud, mvm_err *err);
void mvm_sub_cancel(mvm_sub *sub); /* frees it; NULL is fine */

/* ---- looking ------------------------------------------------------------------ */

typedef struct mvm_mark {
    const char *name; /* "process", "qmp", "running", "kernel", "init", "ready" */
    double at;        /* seconds since start was called */
} mvm_mark;
size_t mvm_vm_timeline(const mvm_vm *vm, const mvm_mark **marks);

/* Collects figures; afterwards mvm_vm_stat gives them one by one, names as "memory.size",
 * "disk.data.read_bytes", "accel"; false past the end. */
mvm_wait *mvm_vm_stats(mvm_vm *vm, const mvm_waiter *waiter, mvm_err *err);
bool mvm_vm_stat(const mvm_vm *vm, size_t i, const char **name, mvm_value *value);

#endif
