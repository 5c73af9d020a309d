/* SPDX-License-Identifier: MIT */
/*
 * An image from anywhere: whatever its header says, what is taken from it is bounded, and growing
 * it makes a header that says the new size and is as sound as the old one.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/qcow2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t head[MVM_QCOW2_HEADER] = {0};
    mvm_qcow2 image, grown;

    memcpy(head, data, size < sizeof(head) ? size : sizeof(head));
    const char *wrong = mvm_qcow2_parse(head, &image);
    if (wrong) {
        require(wrong[0] != '\0');
        return 0;
    }
    int64_t room = mvm_qcow2_room(&image);
    require(image.size >= 0 && room >= 0);
    if (room < image.size || image.encrypted)
        return 0;
    uint32_t entries = mvm_qcow2_resized(&image, room, head + MVM_QCOW2_SIZE_AT);
    require(entries >= image.l1_entries && entries <= (32u << 20) / 8);
    require(mvm_qcow2_parse(head, &grown) == NULL);
    require(grown.size == room && grown.l1_entries == entries &&
            grown.l1_offset == image.l1_offset);
    require(mvm_qcow2_room(&grown) == room);
    return 0;
}
