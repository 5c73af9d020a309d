/* SPDX-License-Identifier: MIT */
/*
 * The vhost-user back end: each request of the front end as a change of state. A ring runs when
 * its parts are known, its bell is there and it is enabled; GET_VRING_BASE stops it. The memory may
 * be handed over anew at any time: rings that run are then found again in it.
 */
#include "device/vhost.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/base.h"

#define PROTOCOL (MVM__VHU_P_MQ | MVM__VHU_P_REPLY_ACK | MVM__VHU_P_CONFIG)

static void set_fd(int *place, int fd)
{
    if (*place >= 0)
        close(*place);
    *place = fd;
}

/* A bell: one that can't be rung, or that nobody rang after all, must not stop its user. */
static void set_bell(int *place, const mvm__vhu_msg *msg, int *fds)
{
    int fd = msg->nfds ? mvm__steal_fd(fds[0]) : -1;

    if (fd >= 0)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    set_fd(place, fd);
}

void mvm__vhost_init(mvm__vhost *h, uint64_t features, const void *config, uint32_t config_len)
{
    *h = (mvm__vhost){.config = config, .config_len = config_len};
    h->offered = features | MVM__VIRTIO_VERSION_1 | MVM__VIRTIO_RING_EVENT_IDX |
                 MVM__VIRTIO_RING_INDIRECT | MVM__VHU_F_PROTOCOL;
    for (unsigned i = 0; i < MVM__VHOST_RINGS; i++)
        h->ring[i].kick = h->ring[i].call = -1;
}

void mvm__vhost_free(mvm__vhost *h)
{
    for (unsigned i = 0; i < MVM__VHOST_RINGS; i++) {
        set_fd(&h->ring[i].kick, -1);
        set_fd(&h->ring[i].call, -1);
        h->ring[i].running = false;
    }
    mvm__vhost_unmap(&h->memory);
}

bool mvm__vhost_up(const mvm__vhost *h)
{
    for (unsigned i = 0; i < MVM__VHOST_RINGS; i++)
        if (!h->ring[i].running)
            return false;
    return true;
}

void mvm__vhost_flush(mvm__vhost_ring *ring)
{
    uint64_t one = 1;

    /* An event counter that is full has been rung already. */
    if (mvm__vring_publish(&ring->v) && ring->call >= 0)
        (void)!write(ring->call, &one, sizeof(one));
}

/* ---- rings ------------------------------------------------------------------------------ */

static void *part(mvm__vhost *h, uint64_t addr, uint64_t size)
{
    uint64_t len = size;
    void *at = mvm__vhost_user_at(&h->memory, addr, &len);

    return len == size ? at : NULL;
}

/* Finds the ring's parts in the memory. */
static int place_ring(mvm__vhost *h, mvm__vhost_ring *ring, mvm_err *err)
{
    void *desc = part(h, ring->desc, mvm__vring_desc_size(ring->num));
    void *avail = part(h, ring->avail, mvm__vring_avail_size(ring->num));
    void *used = part(h, ring->used, mvm__vring_used_size(ring->num));

    if (!desc || !avail || !used)
        return mvm_fail(err, MVM_EBACKEND, "ring %d is outside of the guest's memory",
                        (int)(ring - h->ring));
    ring->v.desc = desc;
    ring->v.avail = avail;
    ring->v.used = used;
    return 0;
}

static int begin_ring(mvm__vhost *h, mvm__vhost_ring *ring, mvm_err *err)
{
    ring->v = (mvm__vring){
        .num = (uint16_t)ring->num,
        .event_idx = h->features & MVM__VIRTIO_RING_EVENT_IDX,
        .indirect = h->features & MVM__VIRTIO_RING_INDIRECT,
        .at = mvm__vhost_guest_at,
        .ud = &h->memory,
    };
    int rc = place_ring(h, ring, err);
    if (rc)
        return rc;
    const char *fault =
        h->passive ? mvm__vring_join(&ring->v, ring->base) : mvm__vring_begin(&ring->v, ring->base);
    if (fault)
        return mvm_fail(err, MVM_EGUEST, "the guest set up %s", fault);
    if (!ring->stopped_once || ring->old_avail != ring->base ||
        ring->old_used != ring->v.next_used || ring->old_desc != ring->desc)
        h->anew = true;
    ring->running = true;
    return 0;
}

static void stop_ring(mvm__vhost_ring *ring)
{
    if (!ring->running)
        return;
    mvm__vhost_flush(ring);
    ring->running = false;
    ring->base = ring->v.last_avail;
    ring->stopped_once = true;
    ring->old_avail = ring->v.last_avail;
    ring->old_used = ring->v.next_used;
    ring->old_desc = ring->desc;
}

/* Begins and stops rings as the state has it. */
static int settle(mvm__vhost *h, mvm_err *err)
{
    for (unsigned i = 0; i < MVM__VHOST_RINGS; i++) {
        mvm__vhost_ring *ring = &h->ring[i];
        bool enabled = ring->enabled || !(h->features & MVM__VHU_F_PROTOCOL);
        bool runs = enabled && ring->kick >= 0 && ring->num && ring->desc && h->memory.n;
        int rc = 0;
        if (runs && !ring->running)
            rc = begin_ring(h, ring, err);
        else if (!runs)
            stop_ring(ring);
        if (rc)
            return rc;
    }
    return 0;
}

static int set_memory(mvm__vhost *h, const mvm__vhu_msg *msg, const int *fds, mvm_err *err)
{
    int rc = mvm__vhost_map(&h->memory, msg, fds, err);

    for (unsigned i = 0; i < MVM__VHOST_RINGS && !rc; i++)
        if (h->ring[i].running)
            rc = place_ring(h, &h->ring[i], err);
    if (rc)
        for (unsigned i = 0; i < MVM__VHOST_RINGS; i++)
            h->ring[i].running = false; /* their places are gone */
    return rc;
}

/* ---- requests ----------------------------------------------------------------------------- */

static int refuse(const mvm__vhu_msg *msg, const char *why, mvm_err *err)
{
    return mvm_fail(err, MVM_EBACKEND, "QEMU sent %s %s", mvm__vhu_name(msg->request), why);
}

static int set_features(mvm__vhost *h, const mvm__vhu_msg *msg, mvm_err *err)
{
    if (msg->u.u64 & ~h->offered)
        return refuse(msg, "with features that were not offered", err);
    if (!(msg->u.u64 & MVM__VIRTIO_VERSION_1))
        return refuse(msg, "of a legacy driver", err);
    h->features = msg->u.u64;
    return 0;
}

static int ring_request(mvm__vhost *h, const mvm__vhu_msg *msg, int *fds, mvm_err *err)
{
    mvm__vhost_ring *ring = &h->ring[msg->u.state.index];
    uint32_t num = msg->u.state.num;
    bool setup = msg->request <= MVM__VHU_SET_VRING_BASE;

    if (setup && ring->running)
        return refuse(msg, "for a ring that runs", err);
    switch (msg->request) {
    case MVM__VHU_SET_VRING_NUM:
        if (num == 0 || num > MVM__VRING_SIZE_MAX || (num & (num - 1)))
            return refuse(msg, "with a size that is not a power of two up to 1024", err);
        ring->num = num;
        break;
    case MVM__VHU_SET_VRING_BASE:
        if (num > UINT16_MAX)
            return refuse(msg, "with an impossible index", err);
        ring->base = (uint16_t)num;
        break;
    case MVM__VHU_SET_VRING_KICK:
        set_bell(&ring->kick, msg, fds);
        break;
    case MVM__VHU_SET_VRING_CALL:
        set_bell(&ring->call, msg, fds);
        break;
    case MVM__VHU_SET_VRING_ENABLE:
        ring->enabled = num != 0;
        break;
    default:
        break; /* SET_VRING_ERR: errors end the device, which QEMU hears of by the socket */
    }
    return settle(h, err);
}

static int set_addr(mvm__vhost *h, const mvm__vhu_msg *msg, mvm_err *err)
{
    mvm__vhost_ring *ring = &h->ring[msg->u.addr.index];

    if (ring->running)
        return refuse(msg, "for a ring that runs", err);
    ring->desc = msg->u.addr.desc;
    ring->avail = msg->u.addr.avail;
    ring->used = msg->u.addr.used;
    return settle(h, err);
}

/* The ring stops, and is set up wholly before it runs again. */
static size_t get_base(mvm__vhost *h, const mvm__vhu_msg *msg, uint8_t *reply)
{
    mvm__vhost_ring *ring = &h->ring[msg->u.state.index];

    stop_ring(ring);
    set_fd(&ring->kick, -1);
    ring->desc = ring->avail = ring->used = 0;
    return mvm__vhu_reply_state(reply, msg->request, msg->u.state.index, ring->base);
}

static size_t get_config(const mvm__vhost *h, const mvm__vhu_msg *msg, uint8_t *reply)
{
    uint8_t bytes[MVM__VHU_CONFIG_MAX] = {0};
    uint32_t offset = msg->u.config.offset, size = msg->u.config.size;

    for (uint32_t i = 0; i < size && (uint64_t)offset + i < h->config_len; i++)
        bytes[i] = h->config[offset + i];
    return mvm__vhu_reply_config(reply, offset, size, bytes);
}

static bool about_ring(const mvm__vhu_msg *msg)
{
    return (msg->request >= MVM__VHU_SET_VRING_NUM && msg->request <= MVM__VHU_SET_VRING_ERR) ||
           msg->request == MVM__VHU_SET_VRING_ENABLE;
}

/* Requests that answer with a value set *reply_len. */
static int dispatch(mvm__vhost *h, const mvm__vhu_msg *msg, int *fds, uint8_t *reply,
                    size_t *reply_len, mvm_err *err)
{
    switch (msg->request) {
    case MVM__VHU_GET_FEATURES:
        *reply_len = mvm__vhu_reply_u64(reply, msg->request, h->offered);
        return 0;
    case MVM__VHU_SET_FEATURES:
        return set_features(h, msg, err);
    case MVM__VHU_GET_PROTOCOL_FEATURES:
        *reply_len = mvm__vhu_reply_u64(reply, msg->request, PROTOCOL);
        return 0;
    case MVM__VHU_SET_PROTOCOL_FEATURES:
        if (msg->u.u64 & ~PROTOCOL)
            return refuse(msg, "with features that were not offered", err);
        h->ack_protocol = msg->u.u64 & MVM__VHU_P_REPLY_ACK;
        return 0;
    case MVM__VHU_GET_QUEUE_NUM:
        *reply_len = mvm__vhu_reply_u64(reply, msg->request, MVM__VHOST_RINGS);
        return 0;
    case MVM__VHU_GET_CONFIG:
        *reply_len = get_config(h, msg, reply);
        return 0;
    case MVM__VHU_SET_MEM_TABLE:
        return set_memory(h, msg, fds, err);
    case MVM__VHU_SET_VRING_ADDR:
        return set_addr(h, msg, err);
    case MVM__VHU_GET_VRING_BASE:
        *reply_len = get_base(h, msg, reply);
        return 0;
    case MVM__VHU_SET_OWNER:
        return 0;
    case MVM__VHU_RESET_OWNER: /* obsolete; says what GET_VRING_BASE says of every ring */
        for (unsigned i = 0; i < MVM__VHOST_RINGS; i++) {
            stop_ring(&h->ring[i]);
            h->ring[i].enabled = false;
        }
        return 0;
    case MVM__VHU_SET_CONFIG:
        return refuse(msg, "though nothing there can be set", err);
    default:
        return ring_request(h, msg, fds, err);
    }
}

static int check(const mvm__vhu_msg *msg, unsigned nfds, mvm_err *err)
{
    uint32_t index =
        msg->request == MVM__VHU_SET_VRING_ADDR ? msg->u.addr.index : msg->u.state.index;

    if (nfds != msg->nfds)
        return refuse(msg, "with the wrong number of file descriptors", err);
    if (about_ring(msg) && index >= MVM__VHOST_RINGS)
        return refuse(msg, "for a ring that there is not", err);
    return 0;
}

int mvm__vhost_request(mvm__vhost *h, const mvm__vhu_header *header, const uint8_t *payload,
                       int *fds, unsigned nfds, uint8_t *reply, size_t *reply_len, mvm_err *err)
{
    mvm__vhu_msg msg;
    const char *fault = mvm__vhu_parse(header, payload, &msg);
    int rc;

    *reply_len = 0;
    if (fault)
        rc = mvm_fail(err, MVM_EBACKEND, "QEMU sent %s (%s, number %u)", fault,
                      mvm__vhu_name(header->request), header->request);
    else
        rc = check(&msg, nfds, err);
    if (!rc)
        rc = dispatch(h, &msg, fds, reply, reply_len, err);
    if (!rc && *reply_len == 0 && msg.need_reply && h->ack_protocol)
        *reply_len = mvm__vhu_reply_u64(reply, msg.request, 0);
    for (unsigned i = 0; i < nfds; i++)
        set_fd(&fds[i], -1);
    return rc;
}
