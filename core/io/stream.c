/* SPDX-License-Identifier: MIT */
/*
 * Streams: two byte queues, the waits on them and half-close. The transport below is a provider
 * (see io/stream.h); this file knows nothing of frames or credit. Loop thread only.
 */
#include "io/stream.h"

#include <stdio.h>

#include "base/base.h"
#include "io/wait.h"

#define QUEUE_LOW (64u * 1024u) /* below this much queued, a writer may go on */

void mvm__stream_init(mvm_stream *s, mvm_loop *loop, const mvm__stream_ops *ops, bool readable,
                      bool writable, const char *what)
{
    *s = (mvm_stream){
        .ops = ops, .loop = loop, .refs = 1, .readable = readable, .writable = writable};
    mvm__list_init(&s->readers);
    mvm__list_init(&s->writers);
    snprintf(s->what, sizeof(s->what), "%s", what);
}

mvm_stream *mvm_stream_ref(mvm_stream *stream)
{
    stream->refs++;
    return stream;
}

void mvm_stream_unref(mvm_stream *stream)
{
    if (!stream || --stream->refs > 0)
        return;
    stream->refs = 1; /* closing may take and drop references */
    mvm_stream_close(stream);
    stream->refs = 0;
    mvm__buf_free(&stream->in);
    mvm__buf_free(&stream->out);
    mvm__free(stream->failed);
    stream->failed = NULL;
    stream->ops->free(stream);
}

/* ---- the reader's side ---------------------------------------------------------- */

const char *mvm_stream_peek(const mvm_stream *stream, size_t *len)
{
    *len = mvm__buf_len(&stream->in);
    return *len ? mvm__buf_ptr(&stream->in) : "";
}

void mvm_stream_consume(mvm_stream *stream, size_t len)
{
    len = MVM_MIN(len, mvm__buf_len(&stream->in));
    if (len == 0)
        return;
    mvm__buf_consume(&stream->in, len);
    stream->ops->consumed(stream, len);
}

bool mvm_stream_eof(const mvm_stream *stream)
{
    return stream->eof;
}

static int closed_error(const mvm_stream *s, mvm_err *err)
{
    return mvm_fail(err, MVM_EIO, "%s is closed", s->what);
}

static int failed_error(const mvm_stream *s, mvm_err *err)
{
    if (err)
        *err = *s->failed;
    return s->failed->code;
}

mvm_wait *mvm_stream_wait_readable(mvm_stream *stream, const mvm_waiter *waiter, mvm_err *err)
{
    if (!stream->readable) {
        mvm_fail(err, MVM_ESTATE, "%s can be written, not read", stream->what);
        return NULL;
    }
    if (stream->is_closed) {
        closed_error(stream, err);
        return NULL;
    }
    if (!mvm__list_empty(&stream->readers)) {
        mvm_fail(err, MVM_ESTATE, "%s is being read already", stream->what);
        return NULL;
    }
    mvm_wait *wait = mvm__wait_new(stream->loop, &stream->readers, waiter, "%s", stream->what);
    if (mvm__buf_len(&stream->in) > 0 || stream->eof)
        mvm__wait_done(wait, NULL);
    else if (stream->failed)
        mvm__wait_done(wait, stream->failed);
    return wait;
}

/* ---- the writer's side ---------------------------------------------------------- */

/* Who waits after a shutdown waits for the rest to be gone. */
static bool has_room(const mvm_stream *s)
{
    return mvm__buf_len(&s->out) < (s->shut ? 1 : QUEUE_LOW);
}

static int check_write(const mvm_stream *s, mvm_err *err)
{
    if (!s->writable)
        return mvm_fail(err, MVM_ESTATE, "%s can be read, not written", s->what);
    if (s->is_closed)
        return closed_error(s, err);
    if (s->failed)
        return failed_error(s, err);
    if (s->shut)
        return mvm_fail(err, MVM_EIO, "%s was shut down, nothing more can be written", s->what);
    return 0;
}

int mvm_stream_write(mvm_stream *stream, const void *data, size_t len, mvm_err *err)
{
    int rc = check_write(stream, err);

    if (rc)
        return rc;
    if (len == 0)
        return 0;
    mvm__buf_append(&stream->out, data, len);
    stream->ops->kick(stream);
    return 0;
}

size_t mvm_stream_queued(const mvm_stream *stream)
{
    return mvm__buf_len(&stream->out);
}

mvm_wait *mvm_stream_wait_writable(mvm_stream *stream, const mvm_waiter *waiter, mvm_err *err)
{
    mvm_err why;
    int rc = check_write(stream, &why);

    /* After a shutdown one may still wait for the queue to drain. */
    if (rc && !(stream->writable && stream->shut && !stream->is_closed)) {
        if (err)
            *err = why;
        return NULL;
    }
    mvm_wait *wait =
        mvm__wait_new(stream->loop, &stream->writers, waiter, "room in %s", stream->what);
    if (stream->failed)
        mvm__wait_done(wait, stream->failed);
    else if (has_room(stream))
        mvm__wait_done(wait, NULL);
    return wait;
}

void mvm_stream_shutdown(mvm_stream *stream)
{
    if (!stream->writable || stream->shut || stream->is_closed)
        return;
    stream->shut = true;
    if (!stream->failed)
        stream->ops->kick(stream);
}

/* ---- both ------------------------------------------------------------------------ */

void mvm_stream_close(mvm_stream *stream)
{
    if (stream->is_closed)
        return;
    stream->is_closed = true;
    mvm_err err;
    closed_error(stream, &err);
    mvm__waits_done(&stream->readers, &err);
    mvm__waits_done(&stream->writers, &err);
    size_t unread = mvm__buf_len(&stream->in);
    mvm__buf_free(&stream->in);
    if (unread > 0)
        stream->ops->consumed(stream, unread);
    stream->ops->closed(stream);
}

bool mvm_stream_closed(const mvm_stream *stream)
{
    return stream->is_closed;
}

/* ---- the provider's side ----------------------------------------------------------- */

void mvm__stream_feed(mvm_stream *s, const void *data, size_t len)
{
    if (len == 0)
        return;
    if (s->is_closed) { /* nobody will read it: it counts as read */
        s->ops->consumed(s, len);
        return;
    }
    mvm__buf_append(&s->in, data, len);
    mvm__waits_done(&s->readers, NULL);
}

void mvm__stream_feed_eof(mvm_stream *s)
{
    s->eof = true;
    mvm__waits_done(&s->readers, NULL);
}

void mvm__stream_fail(mvm_stream *s, const mvm_err *err)
{
    if (s->failed)
        return;
    s->failed = mvm__alloc(sizeof(*s->failed));
    *s->failed = *err;
    mvm__buf_free(&s->out);
    mvm__waits_done(&s->readers, err);
    mvm__waits_done(&s->writers, err);
}

void mvm__stream_sent(mvm_stream *s, size_t len)
{
    mvm__buf_consume(&s->out, len);
    if (has_room(s))
        mvm__waits_done(&s->writers, NULL);
}
