/* SPDX-License-Identifier: MIT */
/*
 * A virtio socket device that we serve ourselves: a vhost-user back end that QEMU connects to. One
 * thread per device serves the protocol and the rings; every function here is called on the loop's
 * thread, and every callback comes there. Connections are streams (mvm/stream.h).
 */
#ifndef MVM_DEVICE_VSOCK_H
#define MVM_DEVICE_VSOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "mvm/loop.h"
#include "mvm/status.h"
#include "mvm/stream.h"
#include "mvm/wait.h"

#define MVM__VSOCK_HOST_CID  2u
#define MVM__VSOCK_GUEST_CID 3u /* the first that a guest may have */

typedef struct mvm__vsock mvm__vsock;

typedef struct mvm__vsock_ops {
    /*
     * The guest connects from src_port to `port` of dst_cid (2: the host, others: another machine).
     * One reference to the stream is the callee's. It answers, now or later, with
     * mvm__vsock_accept(stream), or refuses by closing the stream (or dropping the last reference)
     * without having accepted. The stream fails when the guest gives up before the answer.
     */
    void (*incoming)(void *ud, mvm_stream *stream, uint32_t src_port, uint64_t dst_cid,
                     uint32_t port);
    /*
     * The device is lost: the guest lied in its rings, QEMU broke the protocol or has gone. Every
     * connection has failed with the same error. At most once, never after mvm__vsock_free; the
     * device may be freed here.
     */
    void (*dead)(void *ud, const mvm_err *err);
} mvm__vsock_ops;

typedef struct mvm__vsock_stats {
    uint64_t opened, refused;      /* connections made, and attempts that were not, both ways */
    uint64_t connections;          /* now */
    uint64_t to_guest, from_guest; /* bytes of payload */
} mvm__vsock_stats;

/*
 * Takes listen_fd, a listening unix socket (also on failure): the first peer that connects is
 * served as vhost-user front end, then it is closed. NULL with *err: a CID that is not a guest's,
 * no thread. `name` (copied) is for messages: the machine's name.
 */
mvm__vsock *mvm__vsock_new(mvm_loop *loop, int listen_fd, uint64_t guest_cid, const char *name,
                           const mvm__vsock_ops *ops, void *ud, mvm_err *err);
/* Ends the thread, closes what it had open; streams fail and may outlive it. NULL is fine. */
void mvm__vsock_free(mvm__vsock *v);

/*
 * Connects to `port` of the guest as (src_cid, src_port): 2 for the host, another machine's CID
 * when routing for it; src_port 0 takes a free one. *stream gets a reference at once; it may be
 * used when the wait has ended well, and is to be dropped in every case. While the guest's driver
 * is not up the wait goes on. Ends with MVM_EGUEST when nobody listens there. When the wait ends
 * with its deadline or a cancel the attempt is given up. NULL with *err: dead, a pair of ports in
 * use, too many connections.
 */
mvm_wait *mvm__vsock_connect(mvm__vsock *v, uint32_t port, uint64_t src_cid, uint32_t src_port,
                             const mvm_waiter *waiter, mvm_stream **stream, mvm_err *err);
/* The answer to ops->incoming. No-op when the guest has given up (then the stream has failed). */
void mvm__vsock_accept(mvm_stream *stream);
/* Is this the stream of a vsock connection, and whose? False: of something else. */
bool mvm__vsock_peer(const mvm_stream *stream, uint64_t *src_cid, uint32_t *src_port,
                     uint64_t *dst_cid, uint32_t *dst_port);

/* The machine was reset (QMP told so): every connection fails now instead of when the guest's
 * driver starts anew, which resets them too. */
void mvm__vsock_reset(mvm__vsock *v);

bool mvm__vsock_up(mvm__vsock *v); /* the guest's driver serves its rings */
mvm__vsock_stats mvm__vsock_get_stats(mvm__vsock *v);

#endif
