/* SPDX-License-Identifier: MIT */
/* The vsock device of a machine, for the rest of core/vm. */
#ifndef MVM_VM_VSOCK_H
#define MVM_VM_VSOCK_H

#include "mvm/vsock.h"

typedef struct mvm__vm_vsock mvm__vm_vsock;

mvm__vm_vsock *mvm__vm_vsock_new(mvm_vm *vm);
void mvm__vm_vsock_free(mvm__vm_vsock *vs);
/* The guest was reset: its connections are gone. */
void mvm__vm_vsock_reset(mvm__vm_vsock *vs);
void mvm__vm_vsock_stats(mvm_vm *vm);

#endif
