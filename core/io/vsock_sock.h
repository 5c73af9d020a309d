/* SPDX-License-Identifier: MIT */
/*
 * Virtio sockets of this host's own kernel (AF_VSOCK): reaching its guests by their CID, and being
 * reached by them. Nothing here blocks; what is decided later is decided on the loop. Loop thread
 * only.
 */
#ifndef MVM_IO_VSOCK_SOCK_H
#define MVM_IO_VSOCK_SOCK_H

#include <stdint.h>

#include "mvm/loop.h"
#include "mvm/status.h"
#include "mvm/stream.h"
#include "mvm/wait.h"

/*
 * Connects to `port` of `cid`. *stream gets a reference at once; it may be used when the wait has
 * ended well, and is to be dropped in every case. Ends with MVM_EGUEST when nobody listens there.
 * When the wait ends with its deadline or a cancel the attempt is given up. `what` is of the
 * stream, for messages. NULL with *err (MVM_EIO): no such guest, no such sockets.
 */
mvm_wait *mvm__vsock_sock_connect(mvm_loop *loop, uint32_t cid, uint32_t port, const char *what,
                                  const mvm_waiter *waiter, mvm_stream **stream, mvm_err *err);

/* A port that is listened to. One of a number is all that there can be on a host. */
typedef struct mvm__vsock_door mvm__vsock_door;
/* A connection (fd, the callee's) from a port of a CID. From the loop; it may close the door. */
typedef void (*mvm__vsock_door_fn)(void *ud, int fd, uint32_t cid, uint32_t port);

/* NULL with *err: MVM_ECONFIG, the port is taken or kept for root; MVM_EIO. */
mvm__vsock_door *mvm__vsock_door_open(mvm_loop *loop, uint32_t port, mvm__vsock_door_fn fn,
                                      void *ud, mvm_err *err);
void mvm__vsock_door_close(mvm__vsock_door *door); /* connections live on; NULL is fine */

#endif
