/* SPDX-License-Identifier: MIT */
/*
 * The codec of the agent's frames: headers, payload fields, and the search for
 * the next HELLO after bytes that are no frame. Pure and without allocation;
 * both the host and the guest's agent are built from it. Any thread.
 */
#include "wire/agent_wire.h"

#include <string.h>

#define CHANNEL_MAX   2u
#define HELLO_PAYLOAD 20u

/* The 20 bytes that every HELLO begins with: its header and its magic. */
static const uint8_t hello_start[] = {
    'M', 'V', MVM_AGENT_HELLO, 0, 0, 0, 0, 0, HELLO_PAYLOAD, 0, 0, 0, 'm', 'a', 'c', 'v', 'm', 'a',
    'g', 't'};

static uint32_t load32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void store32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

/* Looks at as much of the header as there is, so that garbage is known by its first byte. */
static bool header_is_bad(const uint8_t *data, size_t len)
{
    if (len > 0 && data[0] != 'M')
        return true;
    if (len > 1 && data[1] != 'V')
        return true;
    if (len > 2 && (data[2] < MVM_AGENT_HELLO || data[2] > MVM_AGENT_TYPE_MAX))
        return true;
    if (len > 3 && data[3] > CHANNEL_MAX)
        return true;
    return len >= MVM_AGENT_HEADER && load32(data + 8) > MVM_AGENT_PAYLOAD_MAX;
}

long mvm_agent_decode(const uint8_t *data, size_t len, mvm_agent_frame *frame)
{
    if (header_is_bad(data, len))
        return -1;
    if (len < MVM_AGENT_HEADER)
        return 0;
    uint32_t payload = load32(data + 8);
    if (len - MVM_AGENT_HEADER < payload)
        return 0;
    *frame = (mvm_agent_frame){
        .type = data[2],
        .channel = data[3],
        .stream = load32(data + 4),
        .payload = data + MVM_AGENT_HEADER,
        .len = payload,
    };
    return (long)(MVM_AGENT_HEADER + payload);
}

size_t mvm_agent_resync(const uint8_t *data, size_t len)
{
    size_t at = 0;

    while (at < len) {
        const uint8_t *m = memchr(data + at, 'M', len - at);
        if (!m)
            return len;
        at = (size_t)(m - data);
        size_t n = len - at < sizeof hello_start ? len - at : sizeof hello_start;
        if (memcmp(m, hello_start, n) == 0)
            return at;
        at++;
    }
    return at;
}

void mvm_agent_header(uint8_t out[MVM_AGENT_HEADER], uint8_t type, uint8_t channel, uint32_t stream,
                      uint32_t len)
{
    out[0] = 'M';
    out[1] = 'V';
    out[2] = type;
    out[3] = channel;
    store32(out + 4, stream);
    store32(out + 8, len);
}

/* The next n bytes of the payload, or NULL when it is too short. */
static const uint8_t *take(mvm_agent_reader *r, size_t n)
{
    if (r->bad || r->len - r->pos < n) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *p = r->data + r->pos;
    r->pos += n;
    return p;
}

uint8_t mvm_agent_get_u8(mvm_agent_reader *r)
{
    const uint8_t *p = take(r, 1);
    return p ? p[0] : 0;
}

uint16_t mvm_agent_get_u16(mvm_agent_reader *r)
{
    const uint8_t *p = take(r, 2);
    return p ? (uint16_t)(p[0] | p[1] << 8) : 0;
}

uint32_t mvm_agent_get_u32(mvm_agent_reader *r)
{
    const uint8_t *p = take(r, 4);
    return p ? load32(p) : 0;
}

uint64_t mvm_agent_get_u64(mvm_agent_reader *r)
{
    const uint8_t *p = take(r, 8);
    return p ? (uint64_t)load32(p) | (uint64_t)load32(p + 4) << 32 : 0;
}

const char *mvm_agent_get_str(mvm_agent_reader *r, size_t *len)
{
    size_t n = mvm_agent_get_u16(r);
    const uint8_t *p = take(r, n);

    if (p && n > 0 && memchr(p, 0, n)) {
        r->bad = true;
        p = NULL;
    }
    *len = p ? n : 0;
    return p ? (const char *)p : "";
}

/* Room for n bytes in the payload, or NULL when they don't fit. */
static uint8_t *room(mvm_agent_writer *w, size_t n)
{
    if (w->bad || w->cap - w->len < n) {
        w->bad = true;
        return NULL;
    }
    uint8_t *p = w->data + w->len;
    w->len += n;
    return p;
}

void mvm_agent_put_u8(mvm_agent_writer *w, uint8_t v)
{
    uint8_t *p = room(w, 1);
    if (p)
        p[0] = v;
}

void mvm_agent_put_u16(mvm_agent_writer *w, uint16_t v)
{
    uint8_t *p = room(w, 2);
    if (p) {
        p[0] = (uint8_t)v;
        p[1] = (uint8_t)(v >> 8);
    }
}

void mvm_agent_put_u32(mvm_agent_writer *w, uint32_t v)
{
    uint8_t *p = room(w, 4);
    if (p)
        store32(p, v);
}

void mvm_agent_put_u64(mvm_agent_writer *w, uint64_t v)
{
    uint8_t *p = room(w, 8);
    if (p) {
        store32(p, (uint32_t)v);
        store32(p + 4, (uint32_t)(v >> 32));
    }
}

void mvm_agent_put_str(mvm_agent_writer *w, const char *s, size_t len)
{
    uint8_t *p = len <= UINT16_MAX && !w->bad ? room(w, 2 + len) : NULL;

    if (!p) {
        w->bad = true;
        return;
    }
    p[0] = (uint8_t)len;
    p[1] = (uint8_t)(len >> 8);
    if (len > 0)
        memcpy(p + 2, s, len);
}
