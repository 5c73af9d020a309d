/* SPDX-License-Identifier: MIT */
/* Plugging shares: the agent mounts what has come, and unmounts what is to go. Loop thread only. */
#ifndef MVM_VM_SHARE_H
#define MVM_VM_SHARE_H

#include "vm/job.h"

/* The `then` of a job that plugs a device in: a share that has a `mount` is mounted, and unplugged
 * again when that fails. */
bool mvm__share_plugged(mvm__job *job);

/* The back end's unplug of a share, after it was unmounted; what is in use stays. Takes the job, or
 * returns an error. */
int mvm__share_unplug(mvm_vm *vm, mvm_record *share, mvm__job *job, mvm_err *err);

#endif
