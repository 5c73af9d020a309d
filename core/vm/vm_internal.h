/* SPDX-License-Identifier: MIT */
/* What the files of core/vm share about a machine. Nobody outside core/vm includes this. */
#ifndef MVM_VM_INTERNAL_H
#define MVM_VM_INTERNAL_H

#include "mvm/backend.h"
#include "vm/agent.h"

struct mvm_console;

mvm_loop *mvm__vm_loop(const mvm_vm *vm);
const mvm_backend_ops *mvm__vm_ops(const mvm_vm *vm); /* NULL before it is picked */
mvm__agent *mvm__vm_agent(const mvm_vm *vm);          /* never NULL */

/* From agent.c: the agent said READY / the session was lost though the machine runs. */
void mvm__vm_on_agent_ready(mvm_vm *vm, const mvm__agent_info *info);
void mvm__vm_on_agent_lost(mvm_vm *vm, const mvm_err *err);
/* The agent will not power off or reboot as it was asked to: the machine runs on. */
void mvm__vm_on_power_refused(mvm_vm *vm, const mvm_err *err);

/* From console.c, and from the back end through mvm__vm_on_guest_shutdown: nothing in the guest
 * answers any more. Commands in flight and waits for the agent end now. */
void mvm__vm_on_kernel_panic(mvm_vm *vm, const char *why);
/* Has it panicked, and not been reset since? Fills *err (may be NULL) with MVM_EAGENT then. */
bool mvm__vm_panicked(const mvm_vm *vm, mvm_err *err);

/* MVM_ESTATE "is stopped" and the like when the machine is not up, MVM_EAGENT when its agent is not
 * ready; 0 when commands can be sent. */
int mvm__vm_need_agent(const mvm_vm *vm, mvm_err *err);

/* console.c */
/* The console of a device, or, NULL, the one that every machine has. */
struct mvm_console *mvm__console_new(mvm_vm *vm, mvm_record *device);
void mvm__console_free(struct mvm_console *console);
/* Starts logging to a file (append); NULL path: no log. MVM_EIO. */
int mvm__console_log(struct mvm_console *console, const char *path, mvm_err *err);
void mvm__console_data(struct mvm_console *console, const void *data, size_t len);
void mvm__console_writable(struct mvm_console *console);
/* The machine is down: waits end with err, what was not typed yet is dropped, the log is closed. */
void mvm__console_down(struct mvm_console *console, const mvm_err *err);

/* port.c: what stands behind the ports of devices. begin opens the logs; abandon: nothing was
 * started after all. */
int mvm__vm_ports_begin(mvm_vm *vm, mvm_err *err);
void mvm__vm_ports_abandon(mvm_vm *vm);
void mvm__vm_ports_down(mvm_vm *vm, const mvm_err *err);
void mvm__vm_ports_free(mvm_vm *vm);

#endif
