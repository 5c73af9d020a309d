/* SPDX-License-Identifier: MIT */
/*
 * A peer that sends anything: frames are taken, fields of every kind read, and after garbage the
 * next HELLO is looked for. Nothing may be read outside of the bytes, everything makes progress,
 * and a frame that was taken is written back as it was.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/agent_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* Reads the payload as a row of fields whose kinds its own bytes choose. */
static void read_fields(const mvm_agent_frame *f)
{
    mvm_agent_reader r = {.data = f->payload, .len = f->len};
    size_t len;

    while (!r.bad && r.pos < r.len) {
        switch (f->payload[r.pos] % 5) {
        case 0:
            mvm_agent_get_u8(&r);
            break;
        case 1:
            mvm_agent_get_u16(&r);
            break;
        case 2:
            mvm_agent_get_u32(&r);
            break;
        case 3:
            mvm_agent_get_u64(&r);
            break;
        default: {
            const char *s = mvm_agent_get_str(&r, &len);
            require(s && !memchr(s, 0, len));
            require(r.bad ? len == 0 : (const uint8_t *)s + len == r.data + r.pos);
        }
        }
        require(r.pos <= r.len);
    }
}

static void check_frame(const uint8_t *data, long n, const mvm_agent_frame *f)
{
    uint8_t head[MVM_AGENT_HEADER];

    require(f->type >= MVM_AGENT_HELLO && f->type <= MVM_AGENT_TYPE_MAX && f->channel <= 2);
    require(f->len <= MVM_AGENT_PAYLOAD_MAX && (size_t)n == MVM_AGENT_HEADER + f->len);
    require(f->payload == data + MVM_AGENT_HEADER);
    mvm_agent_header(head, f->type, f->channel, f->stream, f->len);
    require(memcmp(head, data, sizeof(head)) == 0);
    read_fields(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t at = 0;

    while (at < size) {
        mvm_agent_frame f = {0};
        long n = mvm_agent_decode(data + at, size - at, &f);
        require(n <= (long)(size - at));
        if (n == 0)
            break;
        if (n > 0) {
            check_frame(data + at, n, &f);
            at += (size_t)n;
            continue;
        }
        size_t skip = mvm_agent_resync(data + at, size - at);
        require(skip > 0 && skip <= size - at); /* what is no frame is no HELLO */
        at += skip;
        if (size - at >= MVM_AGENT_HEADER) /* what was found is a frame, or the beginning of one */
            require(mvm_agent_decode(data + at, size - at, &f) >= 0);
    }
    return 0;
}
