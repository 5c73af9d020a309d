/* SPDX-License-Identifier: MIT */
/*
 * Connections as streams: bytes between a stream's queues and its connection's, connects and their
 * waits, and what an end means for who reads or writes. The loop's thread.
 */
#include <stdio.h>

#include "base/base.h"
#include "device/vsock_internal.h"
#include "io/wait.h"

static mvm__vsock_stream *stream_of(mvm_stream *s)
{
    return mvm__container_of(s, mvm__vsock_stream, s);
}

/* ---- what the stream asks for ------------------------------------------------------------ */

static void stream_consumed(mvm_stream *s, size_t len)
{
    mvm__vsock_stream *st = stream_of(s);

    if (!st->conn)
        return;
    mvm__vsock_enter(st->v);
    mvm__vsc_consumed(st->conn, len);
    mvm__vsock_leave(st->v);
}

static void stream_kick(mvm_stream *s)
{
    mvm__vsock_stream *st = stream_of(s);

    if (!st->conn || !st->open)
        return;
    mvm__vsock_enter(st->v);
    mvm__vsc_send(st->conn, &s->out, false);
    if (s->shut && mvm__buf_len(&s->out) == 0)
        mvm__vsc_shutdown(st->conn);
    mvm__vsock_leave(st->v);
    mvm__stream_sent(s, 0); /* they have left the queue: who waits for room has it */
}

/* Lets go of the connection; what an open one still has to send is sent first. */
static void let_go(mvm__vsock_stream *st)
{
    mvm__vsock *v = st->v;

    if (!st->conn)
        return;
    mvm__vsock_enter(v);
    if (st->open)
        mvm__vsc_send(st->conn, &st->s.out, true);
    mvm__vsc_release(st->conn);
    st->conn = NULL;
    st->v = NULL;
    mvm__list_remove(&st->link);
    mvm__vsock_leave(v);
}

static void stream_closed(mvm_stream *s)
{
    mvm__vsock_stream *st = stream_of(s);
    mvm_err err;

    let_go(st);
    mvm_fail(&err, MVM_EIO, "%s is closed", s->what);
    mvm__waits_done(&st->connecting, &err);
}

static void stream_free(mvm_stream *s)
{
    mvm__free(stream_of(s));
}

static const mvm__stream_ops g_ops = {stream_consumed, stream_kick, stream_closed, stream_free};

/* ---- making them -------------------------------------------------------------------------- */

mvm__vsock_stream *mvm__vsock_stream_new(mvm__vsock *v, mvm__vsc_conn *conn, bool incoming)
{
    mvm__vsock_stream *st = mvm__alloc(sizeof(*st));
    char what[96];

    snprintf(what, sizeof(what), "the connection %s port %u", incoming ? "to" : "to the guest's",
             incoming ? conn->port : conn->guest_port);
    mvm__stream_init(&st->s, v->loop, &g_ops, true, true, what);
    mvm__list_init(&st->connecting);
    st->v = v;
    st->conn = conn;
    st->incoming = incoming;
    st->cid = conn->cid;
    st->port = conn->port;
    st->guest_cid = v->guest_cid;
    st->guest_port = conn->guest_port;
    conn->user = st;
    mvm__list_append(&v->streams, &st->link);
    return st;
}

static void on_connect_dropped(mvm_wait *wait)
{
    mvm_stream *s = wait->subject;

    mvm_stream_close(s);
}

mvm_wait *mvm__vsock_connect(mvm__vsock *v, uint32_t port, uint64_t src_cid, uint32_t src_port,
                             const mvm_waiter *waiter, mvm_stream **stream, mvm_err *err)
{
    mvm__vsc_conn *conn = NULL;
    mvm__vsock_stream *st = NULL;

    *stream = NULL;
    mvm__vsock_enter(v);
    if (v->dead && err)
        *err = v->err;
    else if (!v->dead)
        conn = mvm__vsc_connect(v->core, src_cid, src_port, port, err);
    if (conn)
        st = mvm__vsock_stream_new(v, conn, false);
    mvm__vsock_leave(v);
    if (!st)
        return NULL;
    mvm_wait *wait = mvm__wait_new(v->loop, &st->connecting, waiter, "%s", st->s.what);
    wait->subject = &st->s;
    wait->dropped = on_connect_dropped;
    *stream = &st->s;
    return wait;
}

void mvm__vsock_accept(mvm_stream *stream)
{
    mvm__vsock_stream *st = stream_of(stream);

    if (!st->conn || st->open)
        return;
    st->open = true;
    mvm__vsock_enter(st->v);
    mvm__vsc_accept(st->conn);
    mvm__vsock_leave(st->v);
    stream_kick(stream);
}

bool mvm__vsock_peer(const mvm_stream *stream, uint64_t *src_cid, uint32_t *src_port,
                     uint64_t *dst_cid, uint32_t *dst_port)
{
    const mvm__vsock_stream *st = mvm__container_of(stream, const mvm__vsock_stream, s);

    if (stream->ops != &g_ops)
        return false;
    *src_cid = st->incoming ? st->guest_cid : st->cid;
    *src_port = st->incoming ? st->guest_port : st->port;
    *dst_cid = st->incoming ? st->cid : st->guest_cid;
    *dst_port = st->incoming ? st->port : st->guest_port;
    return true;
}

/* ---- what the guest does ------------------------------------------------------------------- */

void mvm__vsock_stream_end(mvm__vsock_stream *st, const mvm_err *err)
{
    mvm_stream_ref(&st->s);
    st->open = false; /* nothing can be sent any more */
    let_go(st);
    mvm__stream_fail(&st->s, err);
    mvm__waits_done(&st->connecting, err);
    mvm_stream_unref(&st->s);
}

static void end_error(const mvm__vsock_stream *st, enum mvm__vsc_end end, mvm_err *err)
{
    static const char *const why[] = {
        [MVM__VSC_END_CLOSED] = "was closed by the guest",
        [MVM__VSC_END_RESET] = "was reset by the guest",
        [MVM__VSC_END_REBOOT] = "was lost: the guest's vsock driver started anew",
        [MVM__VSC_END_BREACH] = "was reset: the guest broke the protocol",
    };

    if (end == MVM__VSC_END_REFUSED)
        mvm_fail(err, MVM_EGUEST, "nobody listens on the guest's vsock port %u", st->guest_port);
    else
        mvm_fail(err, MVM_EIO, "%s %s", st->s.what, why[end]);
    mvm_err_vm(err, st->v->name);
}

static void feed(mvm_stream *s, mvm__buf *data)
{
    mvm__stream_feed(s, mvm__buf_ptr(data), mvm__buf_len(data));
    mvm__buf_free(data);
    if (mvm__buf_len(&s->in) > 0)
        mvm__waits_done(&s->readers, NULL);
}

void mvm__vsock_stream_news(mvm__vsock_stream *st, unsigned news, mvm__buf *data,
                            enum mvm__vsc_end end)
{
    mvm_stream *s = mvm_stream_ref(&st->s);
    mvm_err err;

    if (news & MVM__VSC_NEWS_OPEN) {
        st->open = true;
        mvm__waits_done(&st->connecting, NULL);
    }
    if (news & MVM__VSC_NEWS_DATA)
        feed(s, data);
    if (news & MVM__VSC_NEWS_EOF)
        mvm__stream_feed_eof(s);
    if (news & MVM__VSC_NEWS_DEAF) {
        s->shut = true; /* as if by us: no write can succeed */
        mvm__stream_sent(s, mvm__buf_len(&s->out));
    }
    if (news & (MVM__VSC_NEWS_OPEN | MVM__VSC_NEWS_ROOM))
        stream_kick(s);
    if (news & MVM__VSC_NEWS_GONE && st->conn) {
        end_error(st, end, &err);
        mvm__vsock_stream_end(st, &err);
    }
    mvm_stream_unref(s);
}
