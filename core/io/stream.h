/* SPDX-License-Identifier: MIT */
/*
 * The implementation side of mvm/stream.h: a provider (the agent session, later vsock) embeds
 * an mvm_stream, feeds it with what arrives and takes out what is to be sent.
 */
#ifndef MVM_IO_STREAM_H
#define MVM_IO_STREAM_H

#include "base/buf.h"
#include "base/list.h"
#include "mvm/loop.h"
#include "mvm/stream.h"

typedef struct mvm__stream_ops {
    void (*consumed)(mvm_stream *s, size_t len); /* the reader took len bytes: grant credit */
    void (*kick)(mvm_stream *s);                 /* out has bytes, or shutdown was asked */
    void (*closed)(mvm_stream *s);               /* close was called, first time */
    void (*free)(mvm_stream *s); /* last reference gone (closed was called before) */
} mvm__stream_ops;

struct mvm_stream {
    const mvm__stream_ops *ops;
    mvm_loop *loop;
    int refs;
    mvm__buf in, out;
    bool eof, shut, is_closed, readable, writable; /* readable/writable: this direction exists */
    mvm_err *failed;                               /* the transport is gone, and why */
    mvm__list readers, writers;
    char what[96]; /* for messages: "web: stdout of `ls`" */
};

/* One reference for the caller. */
void mvm__stream_init(mvm_stream *s, mvm_loop *loop, const mvm__stream_ops *ops, bool readable,
                      bool writable, const char *what);
/* From the provider. */
void mvm__stream_feed(mvm_stream *s, const void *data, size_t len);
void mvm__stream_feed_eof(mvm_stream *s);
void mvm__stream_fail(mvm_stream *s, const mvm_err *err); /* waits end with err; later ones too */
/* out: peek at mvm__buf_ptr(&s->out), then: */
void mvm__stream_sent(mvm_stream *s, size_t len);

#endif
