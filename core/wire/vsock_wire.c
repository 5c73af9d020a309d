/* SPDX-License-Identifier: MIT */
/* Virtio socket packet headers. Pure. */
#include "wire/vsock_wire.h"

static uint64_t get(const uint8_t *at, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = bytes; i-- > 0;)
        value = value << 8 | at[i];
    return value;
}

static void put(uint8_t *at, unsigned bytes, uint64_t value)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

void mvm__vsock_decode(const uint8_t bytes[MVM__VSOCK_HEADER], mvm__vsock_header *header)
{
    *header = (mvm__vsock_header){
        .src_cid = get(bytes, 8),
        .dst_cid = get(bytes + 8, 8),
        .src_port = (uint32_t)get(bytes + 16, 4),
        .dst_port = (uint32_t)get(bytes + 20, 4),
        .len = (uint32_t)get(bytes + 24, 4),
        .type = (uint16_t)get(bytes + 28, 2),
        .op = (uint16_t)get(bytes + 30, 2),
        .flags = (uint32_t)get(bytes + 32, 4),
        .buf_alloc = (uint32_t)get(bytes + 36, 4),
        .fwd_cnt = (uint32_t)get(bytes + 40, 4),
    };
}

void mvm__vsock_encode(const mvm__vsock_header *header, uint8_t bytes[MVM__VSOCK_HEADER])
{
    put(bytes, 8, header->src_cid);
    put(bytes + 8, 8, header->dst_cid);
    put(bytes + 16, 4, header->src_port);
    put(bytes + 20, 4, header->dst_port);
    put(bytes + 24, 4, header->len);
    put(bytes + 28, 2, header->type);
    put(bytes + 30, 2, header->op);
    put(bytes + 32, 4, header->flags);
    put(bytes + 36, 4, header->buf_alloc);
    put(bytes + 40, 4, header->fwd_cnt);
}
