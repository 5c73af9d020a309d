/* SPDX-License-Identifier: MIT */
/*
 * A byte pump over one connected, bidirectional descriptor: what arrives is handed up as it comes,
 * what can't be written now is refused until there is room. It holds no queue of its own. Loop
 * thread only.
 */
#ifndef MVM_IO_PIPE_H
#define MVM_IO_PIPE_H

#include <stdbool.h>
#include <stddef.h>

#include "mvm/loop.h"

typedef struct mvm__pipe mvm__pipe;

/* Called from the loop, or from mvm__pipe_drain; each may close the pipe. */
typedef struct mvm__pipe_ops {
    void (*data)(void *ud, const void *data, size_t len);
    void (*writable)(void *ud); /* there is room again after a short write */
    void (*ended)(void *ud,
                  int error); /* the peer is gone: 0 or an errno; once, no data after it */
} mvm__pipe_ops;

/* Takes the descriptor and makes it non-blocking. Reads from the start. */
mvm__pipe *mvm__pipe_open(mvm_loop *loop, int fd, const mvm__pipe_ops *ops, void *ud);
/* How many bytes were taken now; fewer than len: `writable` follows. 0 once the peer is gone. */
size_t mvm__pipe_write(mvm__pipe *pipe, const void *data, size_t len);
/* The same with a descriptor, of which the peer gets a copy with the first byte; without it when
 * nothing was taken. */
size_t mvm__pipe_write_fd(mvm__pipe *pipe, const void *data, size_t len, int fd);
void mvm__pipe_read(mvm__pipe *pipe, bool on); /* stop or go on delivering */
/* Delivers what has arrived already, reading or not, up to `limit` bytes. */
void mvm__pipe_drain(mvm__pipe *pipe, size_t limit);
void mvm__pipe_close(mvm__pipe *pipe); /* NULL is fine */

#endif
