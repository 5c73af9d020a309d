/* SPDX-License-Identifier: MIT */
/*
 * Unix sockets: listening, connecting, and connections as streams (mvm/stream.h). The length of a
 * path does not matter, only that of its last part: where sun_path is too short the socket is
 * reached through a descriptor of its directory. Loop thread only.
 */
#ifndef MVM_IO_SOCK_H
#define MVM_IO_SOCK_H

#include <stdbool.h>

#include "mvm/loop.h"
#include "mvm/sock.h"
#include "mvm/status.h"
#include "mvm/stream.h"

/* A listening socket `name` in the directory `dir`: mode 0600, close-on-exec, non-blocking; the
 * descriptor is the caller's. The name must be free: for private directories. -1 with *err. */
int mvm__sock_listen(const char *dir, const char *name, mvm_err *err);

/* The same at a path of the user's. A socket whose process is gone is replaced; one that is in use
 * and a file of any other kind are refused (MVM_ECONFIG) and left alone. */
int mvm__sock_listen_path(const char *path, mvm_err *err);

/* A connected descriptor: close-on-exec, non-blocking. Never waits. -1 with *err: MVM_EIO. */
int mvm__sock_dial(const char *path, mvm_err *err);

/* A connected descriptor (taken) as a stream: one reference for the caller. `what` is for messages:
 * "web: the console's socket". Unread bytes are held up to 256 KiB, then the peer is made to wait.
 */
mvm_stream *mvm__sock_stream(mvm_loop *loop, int fd, const char *what);

/* mvm__sock_dial and mvm__sock_stream. */
mvm_stream *mvm__sock_connect(mvm_loop *loop, const char *path, const char *what, mvm_err *err);

typedef struct mvm__listener_opts {
    const char *remove; /* path of the socket, removed by close if it is still this one, or NULL */
    const char *what;   /* of each connection, for messages */
    bool same_user;     /* connections of other users (but root) are closed at once */
} mvm__listener_opts;

/* Takes a listening descriptor and accepts on the loop. `accepted` (mvm/sock.h) gets a reference
 * of each connection; it may close the listener. */
mvm_listener *mvm__listener_new(mvm_loop *loop, int fd, const mvm__listener_opts *opts,
                                mvm_accept_fn accepted, void *ud);

#endif
