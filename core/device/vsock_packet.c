/* SPDX-License-Identifier: MIT */
/*
 * What the guest's packets do to connections. A packet that no state allows resets its connection;
 * one of no connection is answered with a reset. Called under the lock of the device.
 */
#include <string.h>

#include "base/base.h"
#include "device/vsock_core.h"

/* Beyond the bound it is dropped: who floods the device is not waiting for answers. */
static void answer_reset(mvm__vsc *core, const mvm__vsock_header *h)
{
    if (h->op == MVM__VSOCK_RST || core->nresets == MVM__VSC_RESETS)
        return;
    core->resets[(core->first_reset + core->nresets++) % MVM__VSC_RESETS] =
        (mvm__vsc_address){h->dst_cid, h->dst_port, h->src_port};
}

static void on_unknown(mvm__vsc *core, const mvm__vsock_header *h)
{
    if (h->op != MVM__VSOCK_REQUEST) {
        answer_reset(core, h);
    } else if (core->conns >= MVM__VSC_CONNS) {
        core->refused++;
        answer_reset(core, h);
    } else {
        mvm__vsc_conn *conn =
            mvm__vsc_add(core, h->dst_cid, h->dst_port, h->src_port, MVM__VSC_ASKED);
        conn->guest_window = h->buf_alloc;
        conn->guest_consumed = h->fwd_cnt;
        mvm__vsc_tell(conn, MVM__VSC_NEWS_ASKED);
    }
}

static void on_connecting(mvm__vsc_conn *conn, const mvm__vsock_header *h)
{
    if (conn->asked && h->op == MVM__VSOCK_RESPONSE) {
        conn->state = MVM__VSC_OPEN;
        conn->core->opened++;
        mvm__vsc_tell(conn, MVM__VSC_NEWS_OPEN);
    } else if (conn->asked && h->op == MVM__VSOCK_RST) {
        conn->core->refused++;
        mvm__vsc_over(conn, MVM__VSC_END_REFUSED, false);
    } else {
        mvm__vsc_over(conn, MVM__VSC_END_BREACH, true);
    }
}

static void on_asked(mvm__vsc_conn *conn, const mvm__vsock_header *h)
{
    if (h->op == MVM__VSOCK_RST || h->op == MVM__VSOCK_SHUTDOWN)
        mvm__vsc_over(conn, MVM__VSC_END_RESET, h->op == MVM__VSOCK_SHUTDOWN);
    else if (h->op != MVM__VSOCK_CREDIT_UPDATE && h->op != MVM__VSOCK_CREDIT_REQUEST)
        mvm__vsc_over(conn, MVM__VSC_END_BREACH, true);
}

static void take_payload(mvm__buf *into, const struct iovec *piece, size_t skip, size_t len)
{
    char *to = mvm__buf_reserve(into, len);

    for (size_t left = len; left > 0; piece++) {
        size_t here = piece->iov_len > skip ? MVM_MIN(piece->iov_len - skip, left) : 0;
        if (here > 0) {
            memcpy(to, (const char *)piece->iov_base + skip, here);
            to += here;
            left -= here;
            skip = 0;
        } else {
            skip -= piece->iov_len;
        }
    }
    mvm__buf_commit(into, len);
}

static void on_data(mvm__vsc_conn *conn, const mvm__vsock_header *h, const struct iovec *piece,
                    size_t skip)
{
    uint32_t held = conn->received - conn->consumed;

    if (conn->guest_shut & MVM__VSOCK_NO_SEND || h->len > conn->window - held) {
        mvm__vsc_over(conn, MVM__VSC_END_BREACH, true);
        return;
    }
    conn->received += h->len;
    conn->core->from_guest += h->len;
    if (conn->released) {
        mvm__vsc_consumed(conn, h->len);
    } else if (h->len > 0) {
        take_payload(&conn->in, piece, skip, h->len);
        mvm__vsc_tell(conn, MVM__VSC_NEWS_DATA);
    }
}

static void on_shutdown(mvm__vsc_conn *conn, const mvm__vsock_header *h)
{
    unsigned fresh = h->flags & MVM__VSOCK_NEITHER & ~conn->guest_shut;

    conn->guest_shut |= fresh;
    if (fresh & MVM__VSOCK_NO_SEND)
        mvm__vsc_tell(conn, MVM__VSC_NEWS_EOF);
    if (fresh & MVM__VSOCK_NO_RECV) {
        mvm__buf_free(&conn->out);
        conn->hungry = false;
        mvm__vsc_tell(conn, MVM__VSC_NEWS_DEAF);
    }
    if (conn->guest_shut == MVM__VSOCK_NEITHER)
        mvm__vsc_over(conn, MVM__VSC_END_CLOSED, true); /* which is how a close is answered */
}

/* After both sides have said that they will send no more, a reset is a close like another. */
static void on_reset(mvm__vsc_conn *conn)
{
    bool orderly = conn->shut_sent == MVM__VSOCK_NEITHER ||
                   (conn->shut_sent & conn->guest_shut & MVM__VSOCK_NO_SEND);

    mvm__vsc_over(conn, orderly ? MVM__VSC_END_CLOSED : MVM__VSC_END_RESET, false);
}

static void on_open(mvm__vsc_conn *conn, const mvm__vsock_header *h, const struct iovec *piece,
                    size_t skip)
{
    switch (h->op) {
    case MVM__VSOCK_RW:
        on_data(conn, h, piece, skip);
        break;
    case MVM__VSOCK_SHUTDOWN:
        on_shutdown(conn, h);
        break;
    case MVM__VSOCK_RST:
        on_reset(conn);
        break;
    case MVM__VSOCK_CREDIT_UPDATE:
        break; /* every packet is one */
    case MVM__VSOCK_CREDIT_REQUEST:
        mvm__vsc_due(conn, MVM__VSOCK_CREDIT_UPDATE);
        break;
    default:
        mvm__vsc_over(conn, MVM__VSC_END_BREACH, true);
        break;
    }
}

void mvm__vsc_packet(mvm__vsc *core, const mvm__vsock_header *h, const struct iovec *piece,
                     size_t skip)
{
    if (h->src_cid != core->guest_cid)
        return; /* not its address: there is nobody to answer */
    if (h->type != MVM__VSOCK_STREAM) {
        answer_reset(core, h);
        return;
    }
    mvm__vsc_conn *conn = mvm__vsc_find(core, h->dst_cid, h->dst_port, h->src_port);
    if (!conn) {
        on_unknown(core, h);
        return;
    }
    if (conn->state == MVM__VSC_RESETTING)
        return;
    conn->guest_window = h->buf_alloc;
    conn->guest_consumed = h->fwd_cnt;
    if (mvm__buf_len(&conn->out) > 0)
        mvm__vsc_turn(conn);
    if (conn->state == MVM__VSC_CONNECTING)
        on_connecting(conn, h);
    else if (conn->state == MVM__VSC_ASKED)
        on_asked(conn, h);
    else
        on_open(conn, h, piece, skip);
}
