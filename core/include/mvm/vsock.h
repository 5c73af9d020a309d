/* SPDX-License-Identifier: MIT */
/*
 * Virtio sockets of a machine: connections between the host and its guest, and
 * between the guests of one lab. A connection is a stream (mvm/stream.h).
 * Loop thread only.
 */
#ifndef MVM_VSOCK_H
#define MVM_VSOCK_H

#include <stdint.h>

#include "mvm/stream.h"
#include "mvm/vm.h"

/*
 * Connects to a port of the guest. *stream gets a reference at once, to be used when the wait has
 * ended well and to be dropped in every case. A guest whose driver is not there yet is waited for.
 * MVM_EGUEST: nobody listens there. NULL with *err: MVM_ESTATE, the machine is not up;
 * MVM_EUNSUPPORTED, MVM_ECONFIG: it has no vsock device.
 */
mvm_wait *mvm_vsock_connect(mvm_vm *vm, uint32_t port, const mvm_waiter *waiter,
                            mvm_stream **stream, mvm_err *err);

typedef struct mvm_vsock_listener mvm_vsock_listener;
/* The guest has connected from `port` of its own; a reference of the stream is the callee's. */
typedef void (*mvm_vsock_accept_fn)(void *ud, mvm_stream *stream, uint32_t port);

/* Takes what the guest of `vm` connects to at `port` of the host (CID 2), in this run and later
 * ones. MVM_ECONFIG: that port of this machine is listened to already; or the device is the
 * kernel's, and somebody else on the host has the port. It holds no reference on the machine. */
mvm_vsock_listener *mvm_vsock_listen(mvm_vm *vm, uint32_t port, mvm_vsock_accept_fn fn, void *ud,
                                     mvm_err *err);
void mvm_vsock_listener_close(mvm_vsock_listener *listener); /* connections live on; NULL is fine */

/* The context identifier of its guest while it is up, else 0. */
uint32_t mvm_vsock_cid(const mvm_vm *vm);

#endif
