/* SPDX-License-Identifier: MIT */
/* Reading the header of a qcow2 image. An image may come from anywhere: every number is bounded
 * before it is used. Pure; any thread. */
#include "wire/qcow2.h"

#include <string.h>

#define MAGIC        0x514649fbu /* "QFI\xfb" */
#define CORRUPT      (UINT64_C(1) << 1)
#define EXTERNAL     (UINT64_C(1) << 2)
#define EXTENDED_L2  (UINT64_C(1) << 4)
#define BITMAPS      UINT64_C(1) /* of the autoclear features */
#define L1_BYTES_MAX (32u << 20) /* QEMU takes no larger table */

static uint32_t be32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint64_t be64(const uint8_t *at)
{
    return (uint64_t)be32(at) << 32 | be32(at + 4);
}

static void put32(uint8_t *at, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(v >> (24 - 8 * i));
}

bool mvm_qcow2_magic(const uint8_t *head, size_t len)
{
    return len >= 4 && be32(head) == MAGIC;
}

const char *mvm_qcow2_parse(const uint8_t head[MVM_QCOW2_HEADER], mvm_qcow2 *out)
{
    uint32_t version = be32(head + 4);
    uint64_t size = be64(head + 24);
    uint64_t incompatible = version >= 3 ? be64(head + 72) : 0;
    uint64_t autoclear = version >= 3 ? be64(head + 88) : 0;

    *out = (mvm_qcow2){.cluster_bits = be32(head + 20), .l1_entries = be32(head + 36)};
    if (!mvm_qcow2_magic(head, MVM_QCOW2_HEADER))
        return "is not in qcow2 format";
    if (version != 2 && version != 3)
        return "is of a version of qcow2 that is not known";
    if (out->cluster_bits < 9 || out->cluster_bits > 21)
        return "has a qcow2 header with an impossible size of clusters";
    out->l2_span = UINT64_C(1) << (2 * out->cluster_bits - 3);
    if (incompatible & EXTENDED_L2)
        out->l2_span /= 2;
    if (size > INT64_MAX || out->l1_entries > L1_BYTES_MAX / 8 ||
        (size + out->l2_span - 1) / out->l2_span > out->l1_entries)
        return "has a qcow2 header with an impossible size";
    out->size = (int64_t)size;
    out->l1_offset = be64(head + 40);
    if (out->l1_offset >> 56 || out->l1_offset & ((1u << out->cluster_bits) - 1))
        return "has a qcow2 header with an impossible table";
    out->backing = be64(head + 8) != 0;
    out->external = (incompatible & EXTERNAL) != 0;
    out->encrypted = be32(head + 32) != 0;
    out->plain = be32(head + 60) == 0 && !(incompatible & CORRUPT) && !(autoclear & BITMAPS);
    return NULL;
}

int64_t mvm_qcow2_room(const mvm_qcow2 *image)
{
    uint64_t per_cluster = UINT64_C(1) << (image->cluster_bits - 3);
    uint64_t entries = (image->l1_entries + per_cluster - 1) / per_cluster * per_cluster;

    if (entries > L1_BYTES_MAX / 8)
        entries = L1_BYTES_MAX / 8;
    return entries > (uint64_t)INT64_MAX / image->l2_span ? INT64_MAX
                                                          : (int64_t)(entries * image->l2_span);
}

uint32_t mvm_qcow2_resized(const mvm_qcow2 *image, int64_t size, uint8_t out[16])
{
    uint32_t entries = (uint32_t)(((uint64_t)size + image->l2_span - 1) / image->l2_span);

    if (entries < image->l1_entries)
        entries = image->l1_entries;
    put32(out, (uint32_t)((uint64_t)size >> 32));
    put32(out + 4, (uint32_t)size);
    put32(out + 8, 0); /* not encrypted */
    put32(out + 12, entries);
    return entries;
}
