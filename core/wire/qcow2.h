/* SPDX-License-Identifier: MIT */
/*
 * The header of a qcow2 image (QEMU's docs/interop/qcow2.txt, versions 2 and 3): what has to be
 * known of one before QEMU may open it, and the change that makes its disk larger. Pure; any
 * thread.
 */
#ifndef MVM_WIRE_QCOW2_H
#define MVM_WIRE_QCOW2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that the reader wants; shorter files are padded with zeros. */
#define MVM_QCOW2_HEADER 104

typedef struct mvm_qcow2 {
    int64_t size; /* of the disk in it */
    unsigned cluster_bits;
    uint32_t l1_entries;
    uint64_t l1_offset;
    uint64_t l2_span; /* bytes of the disk behind one entry of the first-level table */
    bool backing;     /* the header names another image that this one is laid over */
    bool external;    /* ... or a file that has its data */
    bool encrypted;
    bool plain; /* nothing else in it depends on the size: no snapshots, no bitmaps, not corrupt */
} mvm_qcow2;

bool mvm_qcow2_magic(const uint8_t *head, size_t len);
/* NULL, or what is wrong with it, to follow the image's name: "is cut off". */
const char *mvm_qcow2_parse(const uint8_t head[MVM_QCOW2_HEADER], mvm_qcow2 *out);

/* The largest disk for which the clusters of its first-level table suffice. */
int64_t mvm_qcow2_room(const mvm_qcow2 *image);
/* The 16 bytes at offset 24 of a header that is to say `size`, and how many entries the first-level
 * table has then. Those that are new have to be zeroed before. */
#define MVM_QCOW2_SIZE_AT 24
uint32_t mvm_qcow2_resized(const mvm_qcow2 *image, int64_t size, uint8_t out[16]);

#endif
