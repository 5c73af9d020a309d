/* SPDX-License-Identifier: MIT */
/*
 * A console of a machine: everything it printed (the last MiB kept), a way to
 * type, and a wait for more. Positions count bytes since the machine was created and
 * never go back. Kernel panics and oopses are seen here and become `panic` events.
 */
#ifndef MVM_CONSOLE_H
#define MVM_CONSOLE_H

#include <stddef.h>
#include <stdint.h>

#include "mvm/vm.h"
#include "mvm/wait.h"

typedef struct mvm_console mvm_console;

mvm_console *mvm_vm_console(mvm_vm *vm); /* the first one; borrowed from the machine */
/* Every console: the serial one that each machine has, then those of further devices, in their
 * order. Fills its id. NULL past the end. */
mvm_console *mvm_vm_console_at(mvm_vm *vm, size_t i, char id[48]);

/* The kept text from position *pos on; *pos moves up when older bytes were dropped.
 * Valid until the loop turns. */
const char *mvm_console_text(const mvm_console *console, uint64_t *pos, size_t *len);
uint64_t mvm_console_end(const mvm_console *console);
/* Waits until there is something past `pos`; MVM_ESTATE when the machine goes down first. */
mvm_wait *mvm_console_wait(mvm_console *console, uint64_t pos, const mvm_waiter *waiter,
                           mvm_err *err);
/* Types bytes into the console. MVM_ESTATE when the machine is down. */
int mvm_console_send(mvm_console *console, const char *data, size_t len, mvm_err *err);
/* Waits until the machine has taken all that was typed; MVM_ESTATE when it goes down first. */
mvm_wait *mvm_console_flush(mvm_console *console, const mvm_waiter *waiter, mvm_err *err);

#endif
