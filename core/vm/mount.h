/* SPDX-License-Identifier: MIT */
/*
 * Shares in the guest: the agent mounts those that have a `mount`, at READY and when one is plugged
 * in. Loop thread only.
 */
#ifndef MVM_VM_MOUNT_H
#define MVM_VM_MOUNT_H

#include <stdbool.h>

#include "mvm/vm.h"

#define MVM__MOUNT_TIMEOUT 20.0 /* seconds; the guest waits 5 of them for the device to come */

/*
 * Asks the agent to mount a share that has a `mount`, or to unmount it. The device may be on its
 * way into the guest: the agent waits for it. Both succeed when there is nothing to do. An error
 * names the share, the directory and the guest's reason ("it is in use by process 7 (sh)":
 * MVM_EGUEST; nothing was changed then). NULL with MVM_EAGENT while the agent is not ready: what is
 * attached by the time that it is will be mounted then. The record may go while the wait lasts.
 */
mvm_wait *mvm__mount_one(mvm_vm *vm, const mvm_record *share, const mvm_waiter *waiter,
                         mvm_err *err);
mvm_wait *mvm__unmount_one(mvm_vm *vm, const mvm_record *share, const mvm_waiter *waiter,
                           mvm_err *err);

/*
 * The agent has said READY: mounts every share that is to be. mvm__vm_on_mounted follows, at once
 * or when the last one has been answered; what could not be mounted has been an "error" event by
 * then.
 */
void mvm__mounts_begin(mvm_vm *vm);

#endif
