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
/* The last one kills (SIGKILL) the command's process group, unless it has ended and its outputs
 * have come to their end: background children that hold an output open are killed too. */
void mvm_process_unref(mvm_process *process);

/* 0 stdin (write), 1 stdout, 2 stderr (read). Borrowed. The outputs can be read to their end after
 * the command's; they end when nothing in the guest holds them open. */
mvm_stream *mvm_process_stream(mvm_process *process, int fd);
int mvm_process_pid(const mvm_process *process); /* guest's pid; 0 until known */

/* Until the command itself has ended, whether or not anybody reads its output and whatever its
 * background children do. A command that prints more than 256 KiB and what its pipe holds
 * can't end before somebody reads: read, or close the output to have it dropped. MVM_EAGENT at once
 * when the guest or its agent dies. */
mvm_wait *mvm_process_wait(mvm_process *process, const mvm_waiter *waiter, mvm_err *err);
/* After a successful wait: exit status 0..255, or signal > 0 (status is then 128 + signal). */
void mvm_process_result(const mvm_process *process, int *status, int *signal);
bool mvm_process_ended(const mvm_process *process); /* a wait would be over at once */

/* Sends a signal (Linux numbering of the guest) to the process group of the command: also after its
 * end, to background children, as long as an output is open. When all has ended it is a success
 * that does nothing. */
int mvm_process_kill(mvm_process *process, int signum, mvm_err *err);

#endif
