/* SPDX-License-Identifier: MIT */
/*
 * Following virtiofsd, and failing requests in its place. A request of FUSE is a buffer of a header
 * and arguments to be read and, when it wants a reply, of room for that; an error is a reply of a
 * header alone. Those without room for one are only given back.
 */
#include "device/fs_relay_core.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"

#define PROTOCOL    (MVM__VHU_P_MQ | MVM__VHU_P_REPLY_ACK)
#define REPLY_FLAGS 5u /* version 1, a reply */
#define IN_HEADER   40u
#define OUT_HEADER  16u
#define BATCH       256

mvm__fsr *mvm__fsr_new(void)
{
    mvm__fsr *core = mvm__alloc(sizeof(*core));

    mvm__vhost_init(&core->vhost, 0, NULL, 0);
    core->vhost.passive = true;
    for (unsigned i = 0; i < MVM__VHOST_RINGS; i++)
        core->ring[i].watch.missed = true; /* nothing was seen yet */
    return core;
}

void mvm__fsr_free(mvm__fsr *core)
{
    mvm__vhost_free(&core->vhost);
    mvm__free(core);
}

/* ---- while virtiofsd lives -------------------------------------------------------------- */

static void look(mvm__fsr *core, unsigned i)
{
    mvm__vhost_ring *ring = &core->vhost.ring[i];

    if (!ring->running || core->ring[i].ours)
        return;
    mvm__vring_watch_look(&core->ring[i].watch, &ring->v);
    ring->v.last_avail = core->ring[i].watch.posted;
}

/* Rings may have begun or stopped. */
static void settle(mvm__fsr *core)
{
    for (unsigned i = 0; i < MVM__VHOST_RINGS; i++) {
        const mvm__vhost_ring *ring = &core->vhost.ring[i];
        bool began = ring->running && !core->ring[i].running;
        core->ring[i].running = ring->running;
        if (!ring->running)
            core->ring[i].ours = false;
        if (!began)
            continue;
        mvm__vring_watch_begin(&core->ring[i].watch, &ring->v, ring->base);
        look(core, i);
    }
}

int mvm__fsr_request(mvm__fsr *core, const mvm__vhu_header *header, const uint8_t *payload,
                     int *fds, unsigned nfds, mvm_err *err)
{
    for (unsigned i = 0; i < MVM__VHOST_RINGS; i++)
        look(core, i); /* the last time before it stops, perhaps */
    int rc = mvm__vhost_request(&core->vhost, header, payload, fds, nfds, core->reply,
                                &core->reply_len, err);
    settle(core);
    core->owed = !core->dead && core->reply_len > 0 ? header->request : 0;
    return rc;
}

/* Only what is understood here may be agreed on. */
static void mask(mvm__fsr *core, uint8_t *value)
{
    uint64_t features;

    memcpy(&features, value, sizeof(features));
    if (core->owed == MVM__VHU_GET_FEATURES) {
        features &= core->vhost.offered;
        core->vhost.offered = features;
        core->known = true;
    } else {
        features &= PROTOCOL;
    }
    memcpy(value, &features, sizeof(features));
}

int mvm__fsr_reply(mvm__fsr *core, uint8_t *message, mvm_err *err)
{
    uint32_t header[3];

    memcpy(header, message, sizeof(header));
    if (!core->owed || header[0] != core->owed || header[1] != REPLY_FLAGS ||
        header[2] + MVM__VHU_HEADER != core->reply_len)
        return mvm_fail(err, MVM_EBACKEND, "virtiofsd sent what is no reply to %s",
                        core->owed ? mvm__vhu_name(core->owed) : "anything");
    if (core->owed == MVM__VHU_GET_FEATURES || core->owed == MVM__VHU_GET_PROTOCOL_FEATURES)
        mask(core, message + MVM__VHU_HEADER);
    core->owed = 0;
    return 0;
}

static void ring_bell(const mvm__vhost_ring *ring)
{
    uint64_t one = 1;

    if (ring->call >= 0)
        (void)!write(ring->call, &one, sizeof(one));
}

void mvm__fsr_bell(mvm__fsr *core, unsigned i)
{
    ring_bell(&core->vhost.ring[i]); /* first: somebody waits for it */
    look(core, i);
}

/* ---- when it does not --------------------------------------------------------------------- */

void mvm__fsr_dead(mvm__fsr *core)
{
    core->dead = true;
    core->owed = 0;
    core->vhost.passive = false;
}

static int lie(mvm_err *err, const char *what)
{
    return mvm_fail(err, MVM_EGUEST, "the guest lost its share: it sent %s", what);
}

/* The first bytes of the pieces, of which there are enough. */
static void get_bytes(const struct iovec *piece, void *bytes, size_t len)
{
    for (size_t have = 0; have < len; piece++) {
        size_t here = MVM_MIN(piece->iov_len, len - have);
        memcpy((char *)bytes + have, piece->iov_base, here);
        have += here;
    }
}

static void put_bytes(const struct iovec *piece, const void *bytes, size_t len)
{
    for (size_t have = 0; have < len; piece++) {
        size_t here = MVM_MIN(piece->iov_len, len - have);
        memcpy(piece->iov_base, (const char *)bytes + have, here);
        have += here;
    }
}

/* The request in core->chain fails. NULL, or how the guest lies. */
static const char *answer(mvm__fsr *core, mvm__vring *ring)
{
    const mvm__vring_chain *chain = &core->chain;
    struct {
        uint32_t len;
        int32_t error;
        uint64_t unique;
    } reply = {OUT_HEADER, -EIO, 0};
    uint8_t request[IN_HEADER];

    if (chain->read_len < IN_HEADER)
        return "a request that is shorter than its header";
    if (chain->write_len > 0 && chain->write_len < OUT_HEADER)
        return "a request with too little room for the reply";
    if (chain->write_len > 0) {
        get_bytes(chain->piece, request, sizeof(request));
        memcpy(&reply.unique, request + 8, sizeof(reply.unique)); /* after its length and kind */
        put_bytes(chain->piece + chain->nread, &reply, sizeof(reply));
    }
    mvm__vring_give(ring, chain->head, chain->write_len > 0 ? OUT_HEADER : 0);
    core->failed++;
    return NULL;
}

/* Goes on where virtiofsd was: what it had taken and not given back comes first. */
static int take_over(mvm__fsr *core, unsigned i, mvm_err *err)
{
    mvm__vring *ring = &core->vhost.ring[i].v;
    const mvm__vring_watch *watch = &core->ring[i].watch;

    look(core, i);
    if (!mvm__vring_watch_sure(watch, ring))
        return mvm_fail(err, MVM_EBACKEND, "what virtiofsd had begun in ring %u is not known", i);
    const char *fault = mvm__vring_begin(ring, watch->posted);
    for (uint16_t head = 0; head < ring->num && !fault; head++) {
        if (!watch->out[head])
            continue;
        fault = mvm__vring_chain_at(ring, head, &core->chain);
        if (!fault)
            fault = answer(core, ring);
    }
    if (fault)
        return lie(err, fault);
    core->ring[i].ours = true;
    (void)mvm__vring_publish(ring);
    ring_bell(&core->vhost.ring[i]); /* in any case: virtiofsd may not have come to it */
    return 0;
}

static int serve_ring(mvm__fsr *core, unsigned i, bool *more, mvm_err *err)
{
    mvm__vring *ring = &core->vhost.ring[i].v;
    const char *fault;

    mvm__vring_want_kicks(ring, false);
    for (unsigned n = 0; n < BATCH; n++) {
        int rc = mvm__vring_next(ring, &core->chain, &fault);
        if (rc == 0) {
            *more |= mvm__vring_want_kicks(ring, true);
            mvm__vhost_flush(&core->vhost.ring[i]);
            return 0;
        }
        if (rc > 0)
            fault = answer(core, ring);
        if (fault)
            return lie(err, fault);
    }
    *more = true;
    mvm__vhost_flush(&core->vhost.ring[i]);
    return 0;
}

int mvm__fsr_serve(mvm__fsr *core, bool *more, mvm_err *err)
{
    int rc = 0;

    *more = false;
    for (unsigned i = 0; i < MVM__VHOST_RINGS && core->dead && !rc; i++) {
        if (!core->vhost.ring[i].running)
            continue;
        if (!core->ring[i].ours)
            rc = take_over(core, i, err);
        if (!rc)
            rc = serve_ring(core, i, more, err);
    }
    return rc;
}
