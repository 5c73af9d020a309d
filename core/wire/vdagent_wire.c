/* SPDX-License-Identifier: MIT */
/*
 * The Spice agent protocol. All numbers are little-endian. A chunk is { port, size } and so many
 * bytes of that port's messages; a message is { protocol, type, opaque (8 bytes), size } and its
 * data. To the guest a chunk is at most 2048 bytes and holds (a part of) one message, as its daemon
 * wants it; the daemon itself sends chunks of any size. Pure.
 */
#include "wire/vdagent_wire.h"

#include <string.h>

#include "base/base.h"

enum { CLIENT_PORT = 1, SERVER_PORT = 2, PROTOCOL = 1, CHUNK_HEAD = 8, MESSAGE_HEAD = 20 };
enum { CHUNK_MAX = 2048 }; /* to the guest, without its header */

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put32(uint8_t *p, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> 8 * i);
}

/* ---- reading ---------------------------------------------------------------------------- */

static bool is_kept(uint32_t type)
{
    return type == MVM__VDAGENT_CLIPBOARD || type == MVM__VDAGENT_ANNOUNCE ||
           type == MVM__VDAGENT_GRAB || type == MVM__VDAGENT_REQUEST ||
           type == MVM__VDAGENT_RELEASE;
}

/* How long the data of a message of this type may be to be kept. */
static uint32_t limit_of(uint32_t type)
{
    if (!is_kept(type))
        return 0;
    return type == MVM__VDAGENT_CLIPBOARD ? MVM__VDAGENT_TEXT_MAX + 8 : MVM__VDAGENT_SMALL_MAX;
}

static int broken(mvm__vdagent_reader *r, const char *why)
{
    r->broken = why;
    mvm__buf_free(&r->data);
    return -1;
}

static int begin_chunk(mvm__vdagent_reader *r)
{
    r->port = get32(r->head);
    r->chunk = get32(r->head + 4);
    if (r->port != CLIENT_PORT && r->port != SERVER_PORT)
        return broken(r, "a chunk for a port that does not exist");
    if (r->chunk == 0)
        r->head_len = 0;
    return 0;
}

static int begin_message(mvm__vdagent_reader *r)
{
    if (get32(r->message) != PROTOCOL)
        return broken(r, "a message of another protocol");
    r->type = get32(r->message + 4);
    r->size = get32(r->message + 16);
    r->in_message = true;
    r->got = 0;
    mvm__buf_consume(&r->data, mvm__buf_len(&r->data));
    return 0;
}

/* The message is whole. 1: it is one to be looked at. */
static int end_message(mvm__vdagent_reader *r, mvm__vdagent_msg *out)
{
    r->in_message = false;
    r->got = 0;
    if (!is_kept(r->type))
        return 0;
    *out = (mvm__vdagent_msg){
        .type = r->type,
        .data = (const uint8_t *)mvm__buf_ptr(&r->data),
        .len = mvm__buf_len(&r->data),
        .dropped = r->size > limit_of(r->type),
    };
    return 1;
}

/* Takes some of the n > 0 bytes of the client's port. */
static int read_message(mvm__vdagent_reader *r, const uint8_t *data, size_t n, size_t *used,
                        mvm__vdagent_msg *out)
{
    if (!r->in_message) {
        *used = MVM_MIN(n, MESSAGE_HEAD - r->got);
        memcpy(r->message + r->got, data, *used);
        r->got += *used;
        if (r->got < MESSAGE_HEAD)
            return 0;
        if (begin_message(r) != 0)
            return -1;
    } else {
        *used = MVM_MIN(n, r->size - r->got);
        if (r->size <= limit_of(r->type))
            mvm__buf_append(&r->data, data, *used);
        r->got += *used;
    }
    return r->got == r->size ? end_message(r, out) : 0;
}

static int read_chunk(mvm__vdagent_reader *r, const uint8_t *data, size_t len, size_t *used,
                      mvm__vdagent_msg *out)
{
    size_t n = MVM_MIN(len, r->chunk);
    int rc = 0;

    *used = n;
    if (r->port == CLIENT_PORT)
        rc = read_message(r, data, n, used, out);
    r->chunk -= (uint32_t)*used;
    if (r->chunk == 0)
        r->head_len = 0;
    return rc;
}

int mvm__vdagent_read(mvm__vdagent_reader *reader, const void *data, size_t len, size_t *used,
                      mvm__vdagent_msg *out)
{
    const uint8_t *bytes = data;
    int rc = reader->broken ? -1 : 0;

    *used = 0;
    while (rc == 0 && *used < len) {
        size_t n;
        if (reader->head_len < CHUNK_HEAD) {
            n = MVM_MIN(len - *used, CHUNK_HEAD - reader->head_len);
            memcpy(reader->head + reader->head_len, bytes + *used, n);
            reader->head_len += n;
            if (reader->head_len == CHUNK_HEAD)
                rc = begin_chunk(reader);
        } else {
            rc = read_chunk(reader, bytes + *used, len - *used, &n, out);
        }
        *used += n;
    }
    return rc;
}

void mvm__vdagent_free(mvm__vdagent_reader *reader)
{
    mvm__buf_free(&reader->data);
    *reader = (mvm__vdagent_reader){0};
}

/* ---- what a message says ------------------------------------------------------------------ */

static bool parse_announce(const mvm__vdagent_msg *msg, mvm__vdagent_event *out)
{
    if (msg->len < 4)
        return false;
    out->answer = get32(msg->data) != 0;
    out->caps = msg->len >= 8 ? get32(msg->data + 4) : 0;
    return true;
}

bool mvm__vdagent_parse(const mvm__vdagent_msg *msg, bool selections, mvm__vdagent_event *out)
{
    const uint8_t *p = msg->data;
    size_t len = msg->len, min = selections ? 4 : 0;

    *out = (mvm__vdagent_event){.selection = MVM__VDAGENT_SEL_CLIPBOARD};
    if (msg->type == MVM__VDAGENT_ANNOUNCE)
        return parse_announce(msg, out);
    if (len < min)
        return false;
    if (selections)
        out->selection = p[0];
    p += min;
    len -= min;
    switch (msg->type) {
    case MVM__VDAGENT_GRAB:
        for (; len >= 4; p += 4, len -= 4)
            out->has_text = out->has_text || get32(p) == MVM__VDAGENT_UTF8;
        return true;
    case MVM__VDAGENT_RELEASE:
        return true;
    default: /* REQUEST, CLIPBOARD */
        if (len < 4)
            return false;
        out->kind = get32(p);
        out->text = (const char *)p + 4;
        out->len = len - 4;
        return true;
    }
}

/* ---- writing ------------------------------------------------------------------------------ */

/* The message's bytes are `head`, which begins with room for the message's header, and `text`. */
static void put_message(mvm__buf *out, uint32_t type, uint8_t *head, size_t head_len,
                        const char *text, size_t len)
{
    size_t total = head_len + len, at = 0;

    memset(head, 0, MESSAGE_HEAD);
    put32(head, PROTOCOL);
    put32(head + 4, type);
    put32(head + 16, (uint32_t)(total - MESSAGE_HEAD));
    while (at < total) {
        uint8_t chunk[CHUNK_HEAD];
        size_t n = MVM_MIN(total - at, CHUNK_MAX), from_head = 0;
        put32(chunk, CLIENT_PORT);
        put32(chunk + 4, (uint32_t)n);
        mvm__buf_append(out, chunk, sizeof(chunk));
        if (at < head_len) {
            from_head = MVM_MIN(n, head_len - at);
            mvm__buf_append(out, head + at, from_head);
        }
        if (n > from_head)
            mvm__buf_append(out, text + (at + from_head - head_len), n - from_head);
        at += n;
    }
}

void mvm__vdagent_put_announce(mvm__buf *out, bool ask)
{
    uint8_t head[MESSAGE_HEAD + 8];

    put32(head + MESSAGE_HEAD, ask);
    put32(head + MESSAGE_HEAD + 4,
          1u << MVM__VDAGENT_CAP_BY_DEMAND | 1u << MVM__VDAGENT_CAP_SELECTION);
    put_message(out, MVM__VDAGENT_ANNOUNCE, head, sizeof(head), NULL, 0);
}

/* Selection, when there are any, and kind, when the type has one, then the text. */
static void put_selected(mvm__buf *out, uint32_t type, bool selections, uint8_t selection,
                         int64_t kind, const char *text, size_t len)
{
    uint8_t head[MESSAGE_HEAD + 8];
    size_t at = MESSAGE_HEAD;

    if (selections) {
        put32(head + at, selection);
        at += 4;
    }
    if (kind >= 0) {
        put32(head + at, (uint32_t)kind);
        at += 4;
    }
    put_message(out, type, head, at, text, len);
}

void mvm__vdagent_put_grab(mvm__buf *out, bool selections)
{
    put_selected(out, MVM__VDAGENT_GRAB, selections, MVM__VDAGENT_SEL_CLIPBOARD, MVM__VDAGENT_UTF8,
                 NULL, 0);
}

void mvm__vdagent_put_release(mvm__buf *out, bool selections)
{
    put_selected(out, MVM__VDAGENT_RELEASE, selections, MVM__VDAGENT_SEL_CLIPBOARD, -1, NULL, 0);
}

void mvm__vdagent_put_request(mvm__buf *out, bool selections)
{
    put_selected(out, MVM__VDAGENT_REQUEST, selections, MVM__VDAGENT_SEL_CLIPBOARD,
                 MVM__VDAGENT_UTF8, NULL, 0);
}

void mvm__vdagent_put_data(mvm__buf *out, bool selections, uint8_t selection, uint32_t kind,
                           const char *text, size_t len)
{
    put_selected(out, MVM__VDAGENT_CLIPBOARD, selections, selection, kind, text,
                 kind == MVM__VDAGENT_NONE ? 0 : len);
}
