/* SPDX-License-Identifier: MIT */
/*
 * vhost-user on the wire, seen from the back end: the requests of a front end in, replies out.
 * Pure; numbers are in the machine's own byte order, as the protocol wants it. Every request must
 * have exactly the length of its kind. Only what a device with a few split rings needs is known.
 */
#ifndef MVM_WIRE_VHOST_USER_H
#define MVM_WIRE_VHOST_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MVM__VHU_HEADER      12u
#define MVM__VHU_PAYLOAD_MAX 512u
#define MVM__VHU_REGIONS     8u
#define MVM__VHU_CONFIG_MAX  256u
#define MVM__VHU_REPLY_MAX   (MVM__VHU_HEADER + 12u + MVM__VHU_CONFIG_MAX)

/* Feature bits beside the device's own. */
#define MVM__VIRTIO_RING_INDIRECT  (1ull << 28)
#define MVM__VIRTIO_RING_EVENT_IDX (1ull << 29)
#define MVM__VHU_F_PROTOCOL        (1ull << 30) /* protocol features are negotiated */
#define MVM__VIRTIO_VERSION_1      (1ull << 32)

/* Protocol features. */
#define MVM__VHU_P_MQ        (1ull << 0)
#define MVM__VHU_P_REPLY_ACK (1ull << 3)
#define MVM__VHU_P_CONFIG    (1ull << 9)

enum mvm__vhu_request {
    MVM__VHU_GET_FEATURES = 1,
    MVM__VHU_SET_FEATURES = 2,
    MVM__VHU_SET_OWNER = 3,
    MVM__VHU_RESET_OWNER = 4,
    MVM__VHU_SET_MEM_TABLE = 5,
    MVM__VHU_SET_VRING_NUM = 8,
    MVM__VHU_SET_VRING_ADDR = 9,
    MVM__VHU_SET_VRING_BASE = 10,
    MVM__VHU_GET_VRING_BASE = 11,
    MVM__VHU_SET_VRING_KICK = 12,
    MVM__VHU_SET_VRING_CALL = 13,
    MVM__VHU_SET_VRING_ERR = 14,
    MVM__VHU_GET_PROTOCOL_FEATURES = 15,
    MVM__VHU_SET_PROTOCOL_FEATURES = 16,
    MVM__VHU_GET_QUEUE_NUM = 17,
    MVM__VHU_SET_VRING_ENABLE = 18,
    MVM__VHU_GET_CONFIG = 24,
    MVM__VHU_SET_CONFIG = 25,
};

typedef struct mvm__vhu_header {
    uint32_t request, len; /* of the payload, at most MVM__VHU_PAYLOAD_MAX */
    bool need_reply;
} mvm__vhu_header;

typedef struct mvm__vhu_region {
    uint64_t guest_addr, size, user_addr, offset; /* offset: in the file behind it */
} mvm__vhu_region;

typedef struct mvm__vhu_msg {
    uint32_t request;
    bool need_reply;
    unsigned nfds; /* file descriptors that have to come with it */
    union {
        uint64_t u64; /* features */
        struct {
            uint32_t index, num;
        } state; /* NUM, BASE, ENABLE; of KICK, CALL, ERR only the index */
        struct {
            uint32_t index, flags;
            uint64_t desc, used, avail; /* in the front end's address space */
        } addr;
        struct {
            unsigned n;
            mvm__vhu_region region[MVM__VHU_REGIONS];
        } memory;
        struct {
            uint32_t offset, size;
        } config;
    } u;
} mvm__vhu_msg;

/* Both return NULL, or what is wrong ("a request with ..."). parse takes header->len bytes. */
const char *mvm__vhu_parse_header(const uint8_t bytes[MVM__VHU_HEADER], mvm__vhu_header *header);
const char *mvm__vhu_parse(const mvm__vhu_header *header, const uint8_t *payload,
                           mvm__vhu_msg *msg);
const char *mvm__vhu_name(uint32_t request); /* "SET_FEATURES"; "request" for others */

/* Replies; `out` has room for MVM__VHU_REPLY_MAX bytes. They return the length. */
size_t mvm__vhu_reply_u64(uint8_t *out, uint32_t request, uint64_t value);
size_t mvm__vhu_reply_state(uint8_t *out, uint32_t request, uint32_t index, uint32_t num);
/* size <= MVM__VHU_CONFIG_MAX bytes of configuration space from `offset` */
size_t mvm__vhu_reply_config(uint8_t *out, uint32_t offset, uint32_t size, const void *bytes);

#endif
