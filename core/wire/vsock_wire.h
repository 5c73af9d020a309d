/* SPDX-License-Identifier: MIT */
/*
 * The header of a virtio socket packet: 44 bytes, little endian, before the payload. Pure: bytes
 * in, struct out and back. What a guest put there is the caller's to judge.
 */
#ifndef MVM_WIRE_VSOCK_WIRE_H
#define MVM_WIRE_VSOCK_WIRE_H

#include <stdint.h>

#define MVM__VSOCK_HEADER 44u
#define MVM__VSOCK_STREAM 1u /* the only type of socket here */

enum mvm__vsock_op {
    MVM__VSOCK_REQUEST = 1,
    MVM__VSOCK_RESPONSE = 2,
    MVM__VSOCK_RST = 3,
    MVM__VSOCK_SHUTDOWN = 4,
    MVM__VSOCK_RW = 5,
    MVM__VSOCK_CREDIT_UPDATE = 6,
    MVM__VSOCK_CREDIT_REQUEST = 7,
};

/* flags of a SHUTDOWN: what its sender will not do any more */
#define MVM__VSOCK_NO_RECV 1u
#define MVM__VSOCK_NO_SEND 2u
#define MVM__VSOCK_NEITHER 3u

typedef struct mvm__vsock_header {
    uint64_t src_cid, dst_cid;
    uint32_t src_port, dst_port;
    uint32_t len;
    uint16_t type, op;
    uint32_t flags;
    uint32_t buf_alloc, fwd_cnt;
} mvm__vsock_header;

void mvm__vsock_decode(const uint8_t bytes[MVM__VSOCK_HEADER], mvm__vsock_header *header);
void mvm__vsock_encode(const mvm__vsock_header *header, uint8_t bytes[MVM__VSOCK_HEADER]);

#endif
