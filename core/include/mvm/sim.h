/* SPDX-License-Identifier: MIT */
/*
 * Scripting the sim back end: an in-process machine whose guest is a program of the test.
 * It speaks the real agent protocol over a pipe in memory, so everything above the back end
 * is exercised as with a real hypervisor.
 */
#ifndef MVM_SIM_H
#define MVM_SIM_H

#include <stdbool.h>
#include <stddef.h>

#include "mvm/vm.h"

/* How a scripted command answers. Strings are copied by the callee before it returns. */
typedef struct mvm_sim_reply {
    int status; /* exit status, or 128 + signal with `signal` set */
    int signal;
    double delay; /* seconds until it ends; output comes at once */
    const char *out, *err;
    size_t out_len, err_len;
} mvm_sim_reply;

/* Asked for every command: argv is NULL-terminated ("sh","-c",text for a string command).
 * false: not scripted, the built-in commands answer. Called from the loop. */
typedef bool (*mvm_sim_exec_fn)(void *ud, mvm_vm *vm, const char *const *argv,
                                mvm_sim_reply *reply);

/* MVM_ESTATE unless the machine's back end is sim and it is down. */
int mvm_sim_script(mvm_vm *vm, mvm_sim_exec_fn fn, void *ud, mvm_err *err);
/* A file in the guest's memory file system. */
int mvm_sim_file(mvm_vm *vm, const char *path, const void *data, size_t len, mvm_err *err);
/* The next `count` (-1: all) runs of `op` ("start", "pause", "resume", "stop", "kill", "reset",
 * "stats", "exec", "open", "agent") fail with `message`. */
int mvm_sim_fail(mvm_vm *vm, const char *op, int count, const char *message, mvm_err *err);
/* The guest acts by itself: "panic", "poweroff", "die" (the hypervisor is gone), "agent-exit",
 * "console" (prints text), or any event name of MVM_EVENT_MAP with one text argument. */
int mvm_sim_inject(mvm_vm *vm, const char *what, const char *text, size_t len, mvm_err *err);

#endif
