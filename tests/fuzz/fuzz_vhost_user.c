/* SPDX-License-Identifier: MIT */
/*
 * Requests of a vhost-user front end: header and payload as they come. What is parsed keeps within
 * its bounds, and what is replied within those of a reply.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/vhost_user.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check(const mvm__vhu_msg *msg)
{
    require(msg->nfds <= MVM__VHU_REGIONS);
    require(mvm__vhu_name(msg->request)[0] != 'r');
    if (msg->request == MVM__VHU_SET_MEM_TABLE)
        require(msg->u.memory.n <= MVM__VHU_REGIONS && msg->nfds == msg->u.memory.n);
    if (msg->request == MVM__VHU_GET_CONFIG) {
        uint8_t bytes[MVM__VHU_CONFIG_MAX] = {0}, reply[MVM__VHU_REPLY_MAX];
        require(msg->u.config.size <= MVM__VHU_CONFIG_MAX);
        require(mvm__vhu_reply_config(reply, msg->u.config.offset, msg->u.config.size, bytes) <=
                sizeof(reply));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    while (size >= MVM__VHU_HEADER) {
        mvm__vhu_header header;
        mvm__vhu_msg msg;
        if (mvm__vhu_parse_header(data, &header))
            return 0;
        data += MVM__VHU_HEADER;
        size -= MVM__VHU_HEADER;
        require(header.len <= MVM__VHU_PAYLOAD_MAX);
        if (header.len > size)
            return 0;
        uint8_t *payload = malloc(header.len); /* exact, so that one byte too far is noticed */
        memcpy(payload, data, header.len);
        const char *fault = mvm__vhu_parse(&header, payload, &msg);
        free(payload);
        if (fault)
            return 0;
        check(&msg);
        data += header.len;
        size -= header.len;
    }
    return 0;
}
