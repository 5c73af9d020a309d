/* SPDX-License-Identifier: MIT */
/*
 * A stream: bytes both ways with flow control and half-close. A process's
 * standard streams, a guest file and (later) a vsock connection are streams.
 * The buffers are bounded: a peer that writes without being read is stopped by
 * its transport's flow control, not by our memory.
 */
#ifndef MVM_STREAM_H
#define MVM_STREAM_H

#include <stdbool.h>
#include <stddef.h>

#include "mvm/wait.h"

typedef struct mvm_stream mvm_stream;

mvm_stream *mvm_stream_ref(mvm_stream *stream);
void mvm_stream_unref(mvm_stream *stream); /* the last one closes it; NULL is fine */

/* What has arrived and was not consumed yet; valid until the loop turns or consume. */
const char *mvm_stream_peek(const mvm_stream *stream, size_t *len);
void mvm_stream_consume(mvm_stream *stream, size_t len); /* gives the peer room to send */
/* No more bytes will come (peek may still hold some). */
bool mvm_stream_eof(const mvm_stream *stream);

/* Waits until peek has at least one byte, or end of stream (then peek is empty), or an
 * error: the transport is gone. One reader at a time: a second is MVM_ESTATE. */
mvm_wait *mvm_stream_wait_readable(mvm_stream *stream, const mvm_waiter *waiter, mvm_err *err);

/* Queues a copy of all bytes. MVM_EIO after shutdown, close or the peer's reset.
 * Callers that send much wait for writable in between. */
int mvm_stream_write(mvm_stream *stream, const void *data, size_t len, mvm_err *err);
size_t mvm_stream_queued(const mvm_stream *stream);
/* Waits until less than 64 KiB is queued; after a shutdown, until nothing is. */
mvm_wait *mvm_stream_wait_writable(mvm_stream *stream, const mvm_waiter *waiter, mvm_err *err);

void mvm_stream_shutdown(mvm_stream *stream); /* no more writes; sent after what is queued */
void mvm_stream_close(mvm_stream *stream);    /* both ways at once, idempotent */
bool mvm_stream_closed(const mvm_stream *stream);

#endif
