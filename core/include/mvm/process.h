/* SPDX-License-Identifier: MIT */
/*
 * A process in the guest, started by the agent (core/guest), with live standard streams.
 */
#ifndef MVM_PROCESS_H
#define MVM_PROCESS_H

#include <stdbool.h>
#include <stddef.h>

#include "mvm/stream.h"
#include "mvm/vm.h"

typedef struct mvm_process mvm_process;

typedef struct mvm_exec {
    const char *const *argv; /* NULL-terminated, at least one; looked up in the guest's PATH */
    const char *const
        *env;        /* "NAME=value" added to the agent's environment; NULL-terminated or NULL */
    const char *cwd; /* NULL: "/" */
    bool stdin_null; /* standard input is empty from the start */
} mvm_exec;

/* Asks the agent to start a process and returns at once, with one reference for the caller.
 * MVM_ESTATE when the machine is down, MVM_EAGENT when its agent is not ready.
 * A command that can't be started ends with MVM_EGUEST from mvm_process_wait. */
mvm_process *mvm_vm_spawn(mvm_vm *vm, const mvm_exec *exec, mvm_err *err);

mvm_process *mvm_process_ref(mvm_process *process);
void mvm_process_unref(mvm_process *process); /* the last one kills what still runs (SIGKILL) */

/* 0 stdin (write), 1 stdout, 2 stderr (read). Borrowed. */
mvm_stream *mvm_process_stream(mvm_process *process, int fd);
int mvm_process_pid(const mvm_process *process); /* guest's pid; 0 until known */

/* Until it has ended. MVM_EAGENT at once when the guest or its agent dies. */
mvm_wait *mvm_process_wait(mvm_process *process, const mvm_waiter *waiter, mvm_err *err);
/* After a successful wait: exit status 0..255, or signal > 0 (status is then 128 + signal). */
void mvm_process_result(const mvm_process *process, int *status, int *signal);
bool mvm_process_ended(const mvm_process *process);

/* Sends a signal (Linux numbering of the guest) to the process group of the command. */
int mvm_process_kill(mvm_process *process, int signum, mvm_err *err);

#endif
