/* SPDX-License-Identifier: MIT */
/*
 * Serving the rings: packets out of the guest's buffers, packets for it into those that it offers.
 * Called under the lock of the device, by its thread or the loop's.
 */
#include "device/vsock_core.h"

#include <string.h>
#include <sys/random.h>

#include "base/base.h"

#define TO_GUEST   0
#define FROM_GUEST 1
#define BELL_AFTER 0.001 /* seconds */
#define BATCH      64    /* packets of the guest in one go: bounds how long the lock is held */

mvm__vsc *mvm__vsc_new(uint64_t guest_cid)
{
    mvm__vsc *core = mvm__alloc(sizeof(*core));

    core->guest_cid = guest_cid;
    core->bell_at = -1;
    memcpy(core->config, &guest_cid, sizeof(core->config));
    if (getrandom(&core->seed, sizeof(core->seed), 0) != sizeof(core->seed))
        core->seed = (uint64_t)(uintptr_t)core;
    mvm__vhost_init(&core->vhost, 0, core->config, sizeof(core->config));
    for (unsigned i = 0; i < MVM__VSC_BUCKETS; i++)
        mvm__list_init(&core->buckets[i]);
    mvm__list_init(&core->all);
    mvm__list_init(&core->turns);
    mvm__list_init(&core->todo);
    mvm__list_init(&core->aging);
    return core;
}

void mvm__vsc_free(mvm__vsc *core)
{
    mvm__vsc_end_all(core, MVM__VSC_END_CLOSED, false);
    mvm__vhost_free(&core->vhost);
    mvm__free(core);
}

void mvm__vsc_settle(mvm__vsc *core)
{
    bool up = mvm__vhost_up(&core->vhost);

    if (up && core->vhost.anew) {
        core->vhost.anew = false;
        core->nresets = 0;
        mvm__vsc_end_all(core, MVM__VSC_END_REBOOT, true);
    }
    /* Who could not answer because the machine was paused has its time again. */
    if (up && !core->was_up)
        mvm__list_each (link, &core->aging)
            mvm__container_of(link, mvm__vsc_conn, aging)->deadline = core->now + MVM__VSC_LINGER;
    if (!up)
        core->bell_at = -1; /* a ring that stops gives everything back */
    core->was_up = up;
}

double mvm__vsc_deadline(const mvm__vsc *core)
{
    if (!mvm__vhost_up(&core->vhost))
        return -1;
    if (core->bell_at >= 0 || mvm__list_empty(&core->aging))
        return core->bell_at; /* of both, the other may come that late */
    return mvm__container_of(core->aging.next, mvm__vsc_conn, aging)->deadline;
}

static int lie(mvm_err *err, const char *what)
{
    return mvm_fail(err, MVM_EGUEST, "the guest lost its vsock device: it sent %s", what);
}

/* ---- from the guest ------------------------------------------------------------------- */

/* The first bytes of the pieces, of which there are enough. */
static void take_header(const struct iovec *piece, uint8_t bytes[MVM__VSOCK_HEADER])
{
    for (size_t have = 0; have < MVM__VSOCK_HEADER; piece++) {
        size_t here = MVM_MIN(piece->iov_len, MVM__VSOCK_HEADER - have);
        memcpy(bytes + have, piece->iov_base, here);
        have += here;
    }
}

static int take_packet(mvm__vsc *core, mvm_err *err)
{
    const mvm__vring_chain *chain = &core->chain;
    uint8_t bytes[MVM__VSOCK_HEADER];
    mvm__vsock_header header;

    if (chain->nwrite > 0)
        return lie(err, "a packet in a buffer that is to be written");
    if (chain->read_len < MVM__VSOCK_HEADER)
        return lie(err, "a packet that is shorter than its header");
    take_header(chain->piece, bytes);
    mvm__read_once(bytes);
    mvm__vsock_decode(bytes, &header);
    if (header.len > chain->read_len - MVM__VSOCK_HEADER)
        return lie(err, "a packet that is longer than its buffer");
    mvm__vsc_packet(core, &header, chain->piece, MVM__VSOCK_HEADER);
    return 0;
}

static int serve_in(mvm__vsc *core, bool *more, mvm_err *err)
{
    mvm__vring *ring = &core->vhost.ring[FROM_GUEST].v;
    const char *fault;

    mvm__vring_want_kicks(ring, false);
    for (unsigned i = 0; i < BATCH; i++) {
        int rc = mvm__vring_next(ring, &core->chain, &fault);
        if (rc < 0)
            return lie(err, fault);
        if (rc == 0) {
            *more = mvm__vring_want_kicks(ring, true);
            return 0;
        }
        rc = take_packet(core, err);
        if (rc)
            return rc;
        mvm__vring_give(ring, core->chain.head, 0);
    }
    *more = true;
    return 0;
}

/*
 * What was taken is given back some at a time: the guest does not wait for it, and each of these
 * interrupts would cost it more than a packet.
 */
static void give_back(mvm__vsc *core)
{
    mvm__vhost_ring *ring = &core->vhost.ring[FROM_GUEST];
    uint16_t owed = (uint16_t)(ring->v.next_used - ring->v.published);

    if (owed == 0)
        return;
    if (core->bell_at < 0)
        core->bell_at = core->now + BELL_AFTER;
    if (owed < ring->v.num / 4 && core->now < core->bell_at)
        return;
    mvm__vhost_flush(ring);
    core->bell_at = -1;
}

/* ---- to the guest ----------------------------------------------------------------------- */

static void put_bytes(const struct iovec *piece, size_t skip, const void *data, size_t len)
{
    const char *from = data;

    for (; len > 0; piece++) {
        size_t here = piece->iov_len > skip ? MVM_MIN(piece->iov_len - skip, len) : 0;
        if (here == 0) {
            skip -= piece->iov_len;
            continue;
        }
        memcpy((char *)piece->iov_base + skip, from, here);
        from += here;
        len -= here;
        skip = 0;
    }
}

/* The next connection that has something to send; those that have not leave the round. */
static mvm__vsc_conn *next_turn(mvm__vsc *core)
{
    for (mvm__link *link; (link = mvm__list_shift(&core->turns)) != NULL;) {
        mvm__vsc_conn *conn = mvm__container_of(link, mvm__vsc_conn, turn);
        if (mvm__vsc_has_packet(conn))
            return conn;
    }
    return NULL;
}

static void put_reset(mvm__vsc *core)
{
    const mvm__vsc_address *to = &core->resets[core->first_reset];
    mvm__vsock_header header = {
        .src_cid = to->cid,
        .dst_cid = core->guest_cid,
        .src_port = to->port,
        .dst_port = to->guest_port,
        .type = MVM__VSOCK_STREAM,
        .op = MVM__VSOCK_RST,
    };
    uint8_t bytes[MVM__VSOCK_HEADER];

    mvm__vsock_encode(&header, bytes);
    put_bytes(core->chain.piece, 0, bytes, sizeof(bytes));
    core->first_reset = (core->first_reset + 1) % MVM__VSC_RESETS;
    core->nresets--;
}

static uint32_t put_packet(mvm__vsc *core, mvm__vsc_conn *conn)
{
    uint8_t bytes[MVM__VSOCK_HEADER];
    mvm__vsock_header header;

    mvm__vsc_next_packet(conn, core->chain.write_len - MVM__VSOCK_HEADER, &header);
    mvm__vsock_encode(&header, bytes);
    put_bytes(core->chain.piece, 0, bytes, sizeof(bytes));
    if (header.len > 0)
        put_bytes(core->chain.piece, MVM__VSOCK_HEADER, mvm__buf_ptr(&conn->out), header.len);
    mvm__vsc_packet_sent(conn, &header);
    return MVM__VSOCK_HEADER + header.len;
}

/* 1: the chain is a buffer for a packet. 0: there is none. */
static int take_buffer(mvm__vsc *core, mvm_err *err)
{
    mvm__vring *ring = &core->vhost.ring[TO_GUEST].v;
    const char *fault;

    mvm__vring_want_kicks(ring, false);
    do {
        int rc = mvm__vring_next(ring, &core->chain, &fault);
        if (rc < 0)
            return lie(err, fault);
        if (rc > 0 && core->chain.nread > 0)
            return lie(err, "a buffer to receive in that is to be read");
        if (rc > 0 && core->chain.write_len <= MVM__VSOCK_HEADER)
            return lie(err, "a buffer to receive in that is too small");
        if (rc > 0)
            return 1;
    } while (mvm__vring_want_kicks(ring, true));
    return 0;
}

int mvm__vsc_serve_out(mvm__vsc *core, mvm_err *err)
{
    mvm__vhost_ring *ring = &core->vhost.ring[TO_GUEST];
    int rc = 0;

    if (!mvm__vhost_up(&core->vhost))
        return 0;
    for (;;) {
        mvm__vsc_conn *conn = core->nresets > 0 ? NULL : next_turn(core);
        uint32_t len = MVM__VSOCK_HEADER;
        if (!conn && core->nresets == 0)
            break;
        rc = take_buffer(core, err);
        if (rc <= 0) {
            if (conn)
                mvm__vsc_turn(conn);
            break;
        }
        if (conn)
            len = put_packet(core, conn);
        else
            put_reset(core);
        mvm__vring_give(&ring->v, core->chain.head, len);
    }
    mvm__vhost_flush(ring);
    return rc < 0 ? rc : 0;
}

static void expire(mvm__vsc *core)
{
    while (!mvm__list_empty(&core->aging)) {
        mvm__vsc_conn *conn = mvm__container_of(core->aging.next, mvm__vsc_conn, aging);
        if (conn->deadline > core->now)
            return;
        mvm__list_remove(&conn->aging);
        mvm__vsc_over(conn, MVM__VSC_END_CLOSED, true);
    }
}

int mvm__vsc_serve(mvm__vsc *core, bool *more, mvm_err *err)
{
    *more = false;
    if (!mvm__vhost_up(&core->vhost))
        return 0;
    expire(core);
    int rc = serve_in(core, more, err);
    give_back(core);
    return rc ? rc : mvm__vsc_serve_out(core, err);
}
