/* SPDX-License-Identifier: MIT */
/*
 * Connections: the table that finds them by their addresses, their life and end, what their
 * owners ask for, and what is to be sent for them. Called under the lock of the device.
 */
#include "base/base.h"
#include "device/vsock_core.h"

#define BIT(op) (1u << (op))

/* ---- the table ------------------------------------------------------------------------ */

/* The seed keeps a guest from choosing ports that all meet in one bucket. */
static mvm__list *bucket_of(mvm__vsc *core, uint64_t cid, uint32_t port, uint32_t guest_port)
{
    uint64_t h = core->seed ^ (cid * 0x9e3779b97f4a7c15ull);

    h ^= (uint64_t)port << 32 | guest_port;
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9ull;
    h = (h ^ core->seed ^ h >> 27) * 0x94d049bb133111ebull;
    return &core->buckets[(h ^ h >> 31) % MVM__VSC_BUCKETS];
}

mvm__vsc_conn *mvm__vsc_find(mvm__vsc *core, uint64_t cid, uint32_t port, uint32_t guest_port)
{
    mvm__list_each (link, bucket_of(core, cid, port, guest_port)) {
        mvm__vsc_conn *conn = mvm__container_of(link, mvm__vsc_conn, bucket);
        if (conn->guest_port == guest_port && conn->port == port && conn->cid == cid)
            return conn;
    }
    return NULL;
}

mvm__vsc_conn *mvm__vsc_add(mvm__vsc *core, uint64_t cid, uint32_t port, uint32_t guest_port,
                            enum mvm__vsc_state state)
{
    mvm__vsc_conn *conn = mvm__alloc(sizeof(*conn));

    conn->core = core;
    conn->cid = cid;
    conn->port = port;
    conn->guest_port = guest_port;
    conn->state = state;
    conn->window = core->conns < MVM__VSC_FEW ? MVM__VSC_WINDOW : MVM__VSC_WINDOW_MANY;
    core->conns++;
    mvm__list_append(&core->all, &conn->link);
    mvm__list_append(bucket_of(core, cid, port, guest_port), &conn->bucket);
    return conn;
}

/* ---- life ------------------------------------------------------------------------------ */

void mvm__vsc_tell(mvm__vsc_conn *conn, unsigned news)
{
    if (conn->released)
        return;
    conn->news |= news;
    if (!mvm__linked(&conn->todo))
        mvm__list_append(&conn->core->todo, &conn->todo);
}

void mvm__vsc_turn(mvm__vsc_conn *conn)
{
    if (!mvm__linked(&conn->turn))
        mvm__list_append(&conn->core->turns, &conn->turn);
}

void mvm__vsc_due(mvm__vsc_conn *conn, unsigned op)
{
    conn->due |= BIT(op);
    mvm__vsc_turn(conn);
}

static void free_conn(mvm__vsc_conn *conn)
{
    mvm__list_remove(&conn->todo);
    mvm__buf_free(&conn->in);
    mvm__buf_free(&conn->out);
    mvm__free(conn);
}

static void gone(mvm__vsc_conn *conn)
{
    conn->state = MVM__VSC_GONE;
    conn->core->conns--;
    mvm__list_remove(&conn->link);
    mvm__list_remove(&conn->bucket);
    mvm__list_remove(&conn->turn);
    mvm__list_remove(&conn->aging);
    if (conn->released)
        free_conn(conn);
}

void mvm__vsc_over(mvm__vsc_conn *conn, enum mvm__vsc_end end, bool reset)
{
    if (conn->state < MVM__VSC_RESETTING) {
        conn->end = end;
        conn->hungry = false;
        conn->due = 0;
        mvm__buf_free(&conn->out);
        mvm__vsc_tell(conn, MVM__VSC_NEWS_GONE);
        if (reset) {
            conn->state = MVM__VSC_RESETTING;
            mvm__vsc_due(conn, MVM__VSOCK_RST);
        }
    }
    if (!reset && conn->state != MVM__VSC_GONE)
        gone(conn);
}

void mvm__vsc_end_all(mvm__vsc *core, enum mvm__vsc_end end, bool known_only)
{
    mvm__list_each (link, &core->all) {
        mvm__vsc_conn *conn = mvm__container_of(link, mvm__vsc_conn, link);
        if (!known_only || conn->asked || conn->state != MVM__VSC_CONNECTING)
            mvm__vsc_over(conn, end, false);
    }
}

/* ---- what owners ask for ---------------------------------------------------------------- */

static uint32_t free_port(mvm__vsc *core, uint64_t cid, uint32_t guest_port)
{
    /* Ends: there are fewer connections than ports. */
    do {
        if (++core->next_port < 49152 || core->next_port == UINT32_MAX)
            core->next_port = 49152;
    } while (mvm__vsc_find(core, cid, core->next_port, guest_port));
    return core->next_port;
}

mvm__vsc_conn *mvm__vsc_connect(mvm__vsc *core, uint64_t cid, uint32_t port, uint32_t guest_port,
                                mvm_err *err)
{
    if (core->conns >= MVM__VSC_CONNS) {
        mvm_fail(err, MVM_ESTATE, "the machine has %u vsock connections, more are not possible",
                 core->conns);
        return NULL;
    }
    if (port == 0)
        port = free_port(core, cid, guest_port);
    if (mvm__vsc_find(core, cid, port, guest_port)) {
        mvm_fail(err, MVM_ESTATE, "port %u is connected to port %u already", port, guest_port);
        return NULL;
    }
    mvm__vsc_conn *conn = mvm__vsc_add(core, cid, port, guest_port, MVM__VSC_CONNECTING);
    mvm__vsc_due(conn, MVM__VSOCK_REQUEST);
    return conn;
}

void mvm__vsc_accept(mvm__vsc_conn *conn)
{
    if (conn->state != MVM__VSC_ASKED)
        return;
    conn->state = MVM__VSC_OPEN;
    conn->core->opened++;
    mvm__vsc_due(conn, MVM__VSOCK_RESPONSE);
}

size_t mvm__vsc_send(mvm__vsc_conn *conn, mvm__buf *from, bool all)
{
    size_t held = mvm__buf_len(&conn->out), len = mvm__buf_len(from);

    if (conn->state != MVM__VSC_OPEN || conn->guest_shut & MVM__VSOCK_NO_RECV) {
        mvm__buf_consume(from, len); /* nobody will ever read it */
        return len;
    }
    if (!all) {
        size_t room = held < MVM__VSC_OUT ? MVM__VSC_OUT - held : 0;
        conn->hungry = len > room;
        len = MVM_MIN(len, room);
    }
    if (held == 0 && len == mvm__buf_len(from)) {
        mvm__buf empty = conn->out;
        conn->out = *from;
        *from = empty;
    } else {
        mvm__buf_append(&conn->out, mvm__buf_ptr(from), len);
        mvm__buf_consume(from, len);
    }
    mvm__vsc_turn(conn);
    return len;
}

/*
 * Each update costs the guest an interrupt. Linux has no more on the way than the window that it
 * gives us, whatever ours is.
 */
void mvm__vsc_consumed(mvm__vsc_conn *conn, size_t len)
{
    uint32_t window = MVM_MIN(conn->window, conn->guest_window);

    conn->consumed += (uint32_t)len;
    if (conn->state == MVM__VSC_OPEN && !(conn->guest_shut & MVM__VSOCK_NO_SEND) &&
        conn->consumed - conn->told >= window / 2)
        mvm__vsc_due(conn, MVM__VSOCK_CREDIT_UPDATE);
}

void mvm__vsc_shutdown(mvm__vsc_conn *conn)
{
    conn->shut |= MVM__VSOCK_NO_SEND;
    if (conn->state == MVM__VSC_OPEN)
        mvm__vsc_turn(conn);
}

/* The guest gets some time to answer, and more whenever it takes what is queued. */
static void age(mvm__vsc_conn *conn)
{
    conn->deadline = conn->core->now + MVM__VSC_LINGER;
    mvm__list_remove(&conn->aging);
    mvm__list_append(&conn->core->aging, &conn->aging);
}

void mvm__vsc_release(mvm__vsc_conn *conn)
{
    conn->released = true;
    mvm__list_remove(&conn->todo);
    mvm__buf_free(&conn->in);
    conn->consumed = conn->received;
    switch (conn->state) {
    case MVM__VSC_CONNECTING:
        mvm__vsc_over(conn, MVM__VSC_END_CLOSED, conn->asked);
        break;
    case MVM__VSC_ASKED:
        conn->core->refused++;
        mvm__vsc_over(conn, MVM__VSC_END_CLOSED, true);
        break;
    case MVM__VSC_OPEN:
        conn->shut = MVM__VSOCK_NEITHER;
        age(conn);
        mvm__vsc_turn(conn);
        break;
    case MVM__VSC_RESETTING:
        break;
    case MVM__VSC_GONE:
        free_conn(conn);
        break;
    }
}

/* ---- what is to be sent ------------------------------------------------------------------- */

static size_t sendable(const mvm__vsc_conn *conn)
{
    uint32_t used = conn->sent - conn->guest_consumed;
    uint32_t credit = used < conn->guest_window ? conn->guest_window - used : 0;

    return MVM_MIN(mvm__buf_len(&conn->out), credit);
}

static bool shutdown_due(const mvm__vsc_conn *conn)
{
    return conn->shut & ~conn->shut_sent && mvm__buf_len(&conn->out) == 0;
}

bool mvm__vsc_has_packet(const mvm__vsc_conn *conn)
{
    if (conn->due)
        return true;
    return conn->state == MVM__VSC_OPEN && (sendable(conn) > 0 || shutdown_due(conn));
}

void mvm__vsc_next_packet(mvm__vsc_conn *conn, size_t room, mvm__vsock_header *header)
{
    *header = (mvm__vsock_header){
        .src_cid = conn->cid,
        .dst_cid = conn->core->guest_cid,
        .src_port = conn->port,
        .dst_port = conn->guest_port,
        .type = MVM__VSOCK_STREAM,
        .buf_alloc = conn->window,
        .fwd_cnt = conn->consumed,
    };
    if (conn->due & BIT(MVM__VSOCK_RST)) {
        header->op = MVM__VSOCK_RST;
    } else if (conn->due & BIT(MVM__VSOCK_REQUEST)) {
        header->op = MVM__VSOCK_REQUEST;
    } else if (conn->due & BIT(MVM__VSOCK_RESPONSE)) {
        header->op = MVM__VSOCK_RESPONSE;
    } else if (conn->state == MVM__VSC_OPEN && sendable(conn) > 0) {
        header->op = MVM__VSOCK_RW;
        header->len = (uint32_t)MVM_MIN(sendable(conn), room);
    } else if (conn->state == MVM__VSC_OPEN && shutdown_due(conn)) {
        header->op = MVM__VSOCK_SHUTDOWN;
        header->flags = conn->shut;
    } else {
        header->op = MVM__VSOCK_CREDIT_UPDATE;
    }
}

void mvm__vsc_packet_sent(mvm__vsc_conn *conn, const mvm__vsock_header *header)
{
    conn->due &= ~(BIT(header->op) | BIT(MVM__VSOCK_CREDIT_UPDATE)); /* each tells the credit */
    conn->told = header->fwd_cnt;
    switch (header->op) {
    case MVM__VSOCK_RST:
        gone(conn);
        return;
    case MVM__VSOCK_REQUEST:
        conn->asked = true;
        break;
    case MVM__VSOCK_SHUTDOWN:
        conn->shut_sent = header->flags;
        break;
    case MVM__VSOCK_RW:
        conn->sent += header->len;
        conn->core->to_guest += header->len;
        mvm__buf_consume(&conn->out, header->len);
        if (conn->released)
            age(conn);
        if (conn->hungry && mvm__buf_len(&conn->out) <= MVM__VSC_OUT / 2) {
            conn->hungry = false;
            mvm__vsc_tell(conn, MVM__VSC_NEWS_ROOM);
        }
        break;
    default:
        break;
    }
    if (mvm__vsc_has_packet(conn))
        mvm__vsc_turn(conn);
}
