/* SPDX-License-Identifier: MIT */
/*
 * The host's side of the agent session of one machine: frames in and out,
 * streams, flow control. Everything that arrives comes from the guest and is
 * checked; a breach of the protocol ends the session, never the host.
 */
#ifndef MVM_VM_AGENT_H
#define MVM_VM_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mvm/vm.h"

typedef struct mvm__agent mvm__agent;

typedef struct mvm__agent_info {
    uint64_t init_ns, now_ns; /* guest's CLOCK_BOOTTIME when the agent began / when it said ready */
    char version[64], kernel[64], hostname[65];
} mvm__agent_info;

mvm__agent *mvm__agent_new(mvm_vm *vm);
void mvm__agent_free(mvm__agent *agent); /* streams that others hold outlive it, failed */

/* From the machine (vm.c), which has them from the back end. */
void mvm__agent_port(mvm__agent *agent, bool open);
void mvm__agent_data(mvm__agent *agent, const void *data, size_t len);
void mvm__agent_writable(mvm__agent *agent);
/* The run is over (guest died, stopped): every stream and wait ends with err now. What comes next
 * comes over a new port. */
void mvm__agent_down(mvm__agent *agent, const mvm_err *err);
/* The guest was reset: the same, but the port is still the one that it was, and may hold bytes
 * that were meant for the agent before. */
void mvm__agent_reset(mvm__agent *agent, const mvm_err *err);

bool mvm__agent_is_ready(const mvm__agent *agent);
const mvm__agent_info *mvm__agent_about(const mvm__agent *agent);
/* Asks for power off (0) or reboot (1). MVM_EAGENT when not ready. */
int mvm__agent_power(mvm__agent *agent, int how, mvm_err *err);

#endif
