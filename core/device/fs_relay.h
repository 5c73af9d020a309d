/* SPDX-License-Identifier: MIT */
/*
 * A relay between QEMU and the virtiofsd of a share. What they tell each other is passed on, and
 * the rings stay theirs; only virtiofsd's bells go through here, so that it is known at any time
 * which requests of the guest it has not answered. When it dies, those and all that follow fail
 * with EIO, where the guest would wait for ever. One thread a share; called on the loop's thread.
 */
#ifndef MVM_DEVICE_FS_RELAY_H
#define MVM_DEVICE_FS_RELAY_H

#include <stdbool.h>

#include "mvm/loop.h"
#include "mvm/status.h"

typedef struct mvm__fs_relay mvm__fs_relay;

/* The relay has given up: QEMU or virtiofsd broke the protocol, or, after virtiofsd's end, the
 * guest lied in its rings. At most once, from the loop, never after mvm__fs_relay_free. */
typedef void (*mvm__fs_relay_fn)(void *ud, const mvm_err *err);

/*
 * Takes both descriptors, also on failure: a listening unix socket, of which the first peer that
 * connects is served, and a connection to virtiofsd. When QEMU closes the connection, or virtiofsd
 * ends before it has said what it can do, the relay ends without a word. MVM_EIO.
 */
mvm__fs_relay *mvm__fs_relay_new(mvm_loop *loop, int listen_fd, int server_fd,
                                 mvm__fs_relay_fn lost, void *ud, mvm_err *err);
/* Ends the thread and closes what it had open. NULL is fine. */
void mvm__fs_relay_free(mvm__fs_relay *relay);
/* virtiofsd has ended, and requests fail. */
bool mvm__fs_relay_fails(mvm__fs_relay *relay);

#endif
