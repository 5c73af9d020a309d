/* SPDX-License-Identifier: MIT */
/*
 * A ring in memory that is nothing but the input: size, base and features from its first bytes,
 * descriptors, indices and buffers from the rest. Every piece of every chain has to lie in the
 * memory, and the walk has to end.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "wire/vring.h"

#define GUEST 0x1000u
#define EXTRA 256u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct memory {
    uint8_t *at;
    size_t len, seam; /* the second part is found apart from the first */
} memory;

static void *guest_at(void *ud, uint64_t addr, uint64_t *len)
{
    const memory *m = ud;
    uint64_t offset = addr - GUEST;

    if (offset >= m->len)
        return NULL;
    *len = MVM_MIN(*len, (offset < m->seam ? m->seam : m->len) - offset);
    return m->at + offset;
}

static void touch(const mvm__vring_chain *chain)
{
    uint64_t read = 0, write = 0;

    for (unsigned i = 0; i < chain->nread + chain->nwrite; i++) {
        volatile uint8_t *at = chain->piece[i].iov_base;
        size_t len = chain->piece[i].iov_len;
        if (i < chain->nread) {
            read += len;
            (void)at[0];
            (void)at[len - 1];
        } else {
            write += len;
            at[0] = at[len - 1] = 7;
        }
    }
    if (read != chain->read_len || write != chain->write_len)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static mvm__vring_chain chain;
    const char *fault = NULL;

    if (size < 4)
        return 0;
    uint16_t num = (uint16_t)(1u << (data[0] & 7));
    memory m = {.len = 16u * num + 6 + 2u * num + 8 + 8u * num + 8 + EXTRA};
    m.seam = data[1] & 1 ? m.len - EXTRA / 2 : m.len;
    m.at = aligned_alloc(16, (m.len + 15) / 16 * 16);
    m.len = (m.len + 15) / 16 * 16;
    if (m.seam > m.len || !(data[1] & 1))
        m.seam = m.len;
    memset(m.at, 0, m.len);
    memcpy(m.at, data + 4, MVM_MIN(size - 4, m.len));
    mvm__vring ring = {.num = num,
                       .event_idx = data[1] & 2,
                       .indirect = data[1] & 4,
                       .desc = m.at,
                       .avail = m.at + 16u * num,
                       .used = m.at + 16u * num + (6 + 2u * num + 3) / 4 * 4,
                       .at = guest_at,
                       .ud = &m};
    if (mvm__vring_begin(&ring, (uint16_t)(data[2] | data[3] << 8)))
        abort();
    for (int i = 0; i < 200; i++) { /* what it writes may make more available */
        int rc = mvm__vring_next(&ring, &chain, &fault);
        if (rc < 0 && !fault)
            abort();
        if (rc < 0)
            break;
        if (rc == 0) {
            if (!mvm__vring_want_kicks(&ring, true))
                break;
            continue;
        }
        touch(&chain);
        mvm__vring_give(&ring, chain.head, (uint32_t)chain.write_len);
        if (i % 3 == 0)
            mvm__vring_publish(&ring);
    }
    mvm__vring_publish(&ring);
    free(m.at);
    return 0;
}
