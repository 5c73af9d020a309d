/* SPDX-License-Identifier: MIT */
/*
 * Unix sockets as streams: how two processes of one user on a host talk. A path may be as long as
 * the file system allows.
 */
#ifndef MVM_SOCK_H
#define MVM_SOCK_H

#include "mvm/loop.h"
#include "mvm/status.h"
#include "mvm/stream.h"

typedef struct mvm_listener mvm_listener;

/* A connection has come; one reference to the stream is the callee's. From the loop. */
typedef void (*mvm_accept_fn)(void *ud, mvm_stream *stream);

/* Listens at `path` with mode 0600; other users' connections are refused. A socket that a dead
 * process left there is replaced. NULL with *err: in use, another kind of file, no rights. */
mvm_listener *mvm_sock_listen(mvm_loop *loop, const char *path, mvm_accept_fn accepted, void *ud,
                              mvm_err *err);
/* Ends it and removes the socket; connections live on. NULL is fine. */
void mvm_listener_close(mvm_listener *listener);

/* Connects; a reference for the caller. NULL with *err when nobody listens there (MVM_EIO). */
mvm_stream *mvm_sock_connect(mvm_loop *loop, const char *path, mvm_err *err);

#endif
