/* SPDX-License-Identifier: MIT */
/* vhost-user requests and replies. Pure: a table of the requests says what each carries. */
#include "wire/vhost_user.h"

#include <string.h>

#include "base/base.h"

#define FLAGS_VERSION    1u
#define FLAGS_REPLY      (1u << 2)
#define FLAGS_NEED_REPLY (1u << 3)
#define RING_NO_FD       (1u << 8) /* beside the index, in KICK, CALL and ERR */

enum shape { NOTHING, U64, STATE, ADDR, MEMORY, RING_FD, CONFIG };

static const struct request {
    uint32_t number;
    enum shape shape;
    const char *name;
} g_requests[] = {
    {MVM__VHU_GET_FEATURES, NOTHING, "GET_FEATURES"},
    {MVM__VHU_SET_FEATURES, U64, "SET_FEATURES"},
    {MVM__VHU_SET_OWNER, NOTHING, "SET_OWNER"},
    {MVM__VHU_RESET_OWNER, NOTHING, "RESET_OWNER"},
    {MVM__VHU_SET_MEM_TABLE, MEMORY, "SET_MEM_TABLE"},
    {MVM__VHU_SET_VRING_NUM, STATE, "SET_VRING_NUM"},
    {MVM__VHU_SET_VRING_ADDR, ADDR, "SET_VRING_ADDR"},
    {MVM__VHU_SET_VRING_BASE, STATE, "SET_VRING_BASE"},
    {MVM__VHU_GET_VRING_BASE, STATE, "GET_VRING_BASE"},
    {MVM__VHU_SET_VRING_KICK, RING_FD, "SET_VRING_KICK"},
    {MVM__VHU_SET_VRING_CALL, RING_FD, "SET_VRING_CALL"},
    {MVM__VHU_SET_VRING_ERR, RING_FD, "SET_VRING_ERR"},
    {MVM__VHU_GET_PROTOCOL_FEATURES, NOTHING, "GET_PROTOCOL_FEATURES"},
    {MVM__VHU_SET_PROTOCOL_FEATURES, U64, "SET_PROTOCOL_FEATURES"},
    {MVM__VHU_GET_QUEUE_NUM, NOTHING, "GET_QUEUE_NUM"},
    {MVM__VHU_SET_VRING_ENABLE, STATE, "SET_VRING_ENABLE"},
    {MVM__VHU_GET_CONFIG, CONFIG, "GET_CONFIG"},
    {MVM__VHU_SET_CONFIG, CONFIG, "SET_CONFIG"},
};

static const struct request *find(uint32_t number)
{
    for (size_t i = 0; i < MVM_COUNT(g_requests); i++)
        if (g_requests[i].number == number)
            return &g_requests[i];
    return NULL;
}

const char *mvm__vhu_name(uint32_t request)
{
    const struct request *r = find(request);

    return r ? r->name : "request";
}

static uint32_t u32_at(const uint8_t *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, sizeof(value));
    return value;
}

static uint64_t u64_at(const uint8_t *bytes)
{
    uint64_t value;

    memcpy(&value, bytes, sizeof(value));
    return value;
}

/* ---- requests ---------------------------------------------------------------------- */

const char *mvm__vhu_parse_header(const uint8_t bytes[MVM__VHU_HEADER], mvm__vhu_header *header)
{
    uint32_t flags = u32_at(bytes + 4);

    header->request = u32_at(bytes);
    header->len = u32_at(bytes + 8);
    header->need_reply = flags & FLAGS_NEED_REPLY;
    if ((flags & 3) != FLAGS_VERSION)
        return "a request of another version of the protocol";
    if (flags & FLAGS_REPLY)
        return "a reply instead of a request";
    if (header->len > MVM__VHU_PAYLOAD_MAX)
        return "a request with a payload that is too long";
    return NULL;
}

static const char *parse_memory(const uint8_t *at, uint32_t len, mvm__vhu_msg *msg)
{
    if (len < 8)
        return "a table of memory that is cut off";
    uint32_t n = u32_at(at);
    if (n > MVM__VHU_REGIONS)
        return "a table of memory with too many regions";
    if (len < 8 + n * 32)
        return "a table of memory that is cut off";
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *r = at + 8 + (size_t)i * 32;
        msg->u.memory.region[i] =
            (mvm__vhu_region){u64_at(r), u64_at(r + 8), u64_at(r + 16), u64_at(r + 24)};
    }
    msg->u.memory.n = n;
    msg->nfds = n;
    return NULL;
}

static const char *parse_config(const uint8_t *at, uint32_t len, mvm__vhu_msg *msg)
{
    if (len < 12)
        return "a request for configuration that is cut off";
    msg->u.config.offset = u32_at(at);
    msg->u.config.size = u32_at(at + 4);
    if (msg->u.config.size > MVM__VHU_CONFIG_MAX || len != 12 + msg->u.config.size)
        return "a request for configuration of the wrong length";
    return NULL;
}

static const char *parse_payload(enum shape shape, const uint8_t *at, uint32_t len,
                                 mvm__vhu_msg *msg)
{
    static const uint32_t exact[] = {
        [NOTHING] = 0, [U64] = 8, [STATE] = 8, [ADDR] = 40, [RING_FD] = 8};

    if (shape == MEMORY)
        return parse_memory(at, len, msg);
    if (shape == CONFIG)
        return parse_config(at, len, msg);
    if (len != exact[shape])
        return "a request of the wrong length";
    if (shape == U64) {
        msg->u.u64 = u64_at(at);
    } else if (shape == STATE) {
        msg->u.state.index = u32_at(at);
        msg->u.state.num = u32_at(at + 4);
    } else if (shape == ADDR) {
        msg->u.addr.index = u32_at(at);
        msg->u.addr.flags = u32_at(at + 4);
        msg->u.addr.desc = u64_at(at + 8);
        msg->u.addr.used = u64_at(at + 16);
        msg->u.addr.avail = u64_at(at + 24);
    } else if (shape == RING_FD) {
        msg->u.state.index = (uint32_t)(u64_at(at) & 0xff);
        msg->nfds = u64_at(at) & RING_NO_FD ? 0 : 1;
    }
    return NULL;
}

const char *mvm__vhu_parse(const mvm__vhu_header *header, const uint8_t *payload, mvm__vhu_msg *msg)
{
    const struct request *r = find(header->request);

    *msg = (mvm__vhu_msg){.request = header->request, .need_reply = header->need_reply};
    if (!r)
        return "a request that this device does not know";
    return parse_payload(r->shape, payload, header->len, msg);
}

/* ---- replies ------------------------------------------------------------------------- */

static size_t reply(uint8_t *out, uint32_t request, uint32_t len)
{
    uint32_t header[3] = {request, FLAGS_VERSION | FLAGS_REPLY, len};

    memcpy(out, header, sizeof(header));
    return sizeof(header) + len;
}

size_t mvm__vhu_reply_u64(uint8_t *out, uint32_t request, uint64_t value)
{
    memcpy(out + MVM__VHU_HEADER, &value, sizeof(value));
    return reply(out, request, sizeof(value));
}

size_t mvm__vhu_reply_state(uint8_t *out, uint32_t request, uint32_t index, uint32_t num)
{
    uint32_t state[2] = {index, num};

    memcpy(out + MVM__VHU_HEADER, state, sizeof(state));
    return reply(out, request, sizeof(state));
}

size_t mvm__vhu_reply_config(uint8_t *out, uint32_t offset, uint32_t size, const void *bytes)
{
    uint32_t head[3] = {offset, size, 0};

    memcpy(out + MVM__VHU_HEADER, head, sizeof(head));
    memcpy(out + MVM__VHU_HEADER + sizeof(head), bytes, size);
    return reply(out, MVM__VHU_GET_CONFIG, (uint32_t)sizeof(head) + size);
}
