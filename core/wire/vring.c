/* SPDX-License-Identifier: MIT */
/*
 * Split rings. All fields are little endian, as are the machines that this runs on. Descriptors
 * are copied before they are looked at: the driver may rewrite them at any moment.
 */
#include "wire/vring.h"

#include <stddef.h>
#include <string.h>

#define DESC_NEXT          1u
#define DESC_WRITE         2u
#define DESC_INDIRECT      4u
#define USED_NO_NOTIFY     1u
#define AVAIL_NO_INTERRUPT 1u

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "rings are little endian");

typedef struct desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
} desc;

/* One table of descriptors: the ring's own, or an indirect one. */
typedef struct table {
    const uint8_t *at;
    uint32_t num;
} table;

/* ---- fields that the driver writes, or reads ---------------------------------------- */

static uint16_t load(const void *part, size_t offset)
{
    return __atomic_load_n((const uint16_t *)(const void *)((const char *)part + offset),
                           __ATOMIC_ACQUIRE);
}

static void store(void *part, size_t offset, uint16_t value)
{
    __atomic_store_n((uint16_t *)(void *)((char *)part + offset), value, __ATOMIC_RELEASE);
}

static uint16_t avail_idx(const mvm__vring *ring)
{
    return load(ring->avail, 2);
}

static uint16_t used_event(const mvm__vring *ring)
{
    return load(ring->avail, 4 + 2u * ring->num);
}

static void set_avail_event(mvm__vring *ring, uint16_t value)
{
    store(ring->used, 4 + 8u * ring->num, value);
}

/* ---- taking buffers ------------------------------------------------------------------- */

const char *mvm__vring_join(mvm__vring *ring, uint16_t base)
{
    if (ring->num == 0 || ring->num > MVM__VRING_SIZE_MAX || (ring->num & (ring->num - 1)))
        return "a ring whose size is not a power of two up to 1024";
    if ((uintptr_t)ring->desc % 16 || (uintptr_t)ring->avail % 2 || (uintptr_t)ring->used % 4)
        return "a ring that is not aligned";
    ring->last_avail = base;
    ring->next_used = load(ring->used, 2);
    ring->published = ring->notified = ring->next_used;
    return NULL;
}

const char *mvm__vring_begin(mvm__vring *ring, uint16_t base)
{
    const char *fault = mvm__vring_join(ring, base);

    if (!fault)
        mvm__vring_want_kicks(ring, true);
    return fault;
}

static const char *add_piece(const mvm__vring *ring, mvm__vring_chain *chain, const desc *d)
{
    bool write = d->flags & DESC_WRITE;
    uint64_t addr = d->addr, left = d->len;

    if (!write && chain->nwrite > 0)
        return "a buffer to be read after one to be written";
    if (addr + left < addr)
        return "a buffer beyond the end of the address space";
    while (left > 0) {
        uint64_t len = left;
        void *p = ring->at(ring->ud, addr, &len);
        if (!p || len == 0 || len > left)
            return "a buffer outside of its memory";
        if (chain->nread + chain->nwrite == MVM__VRING_PIECES)
            return "a buffer in too many pieces";
        chain->piece[chain->nread + chain->nwrite] = (struct iovec){p, (size_t)len};
        *(write ? &chain->nwrite : &chain->nread) += 1;
        *(write ? &chain->write_len : &chain->read_len) += len;
        addr += len;
        left -= len;
    }
    return NULL;
}

/* The table that `d` leads to, as it is seen through the memory: it has to be in one part. */
static const char *open_indirect(const mvm__vring *ring, const desc *d, table *out)
{
    uint64_t len = d->len;

    if (!ring->indirect)
        return "an indirect table that was not negotiated";
    if (d->flags & DESC_NEXT)
        return "an indirect table with a successor";
    if (d->len == 0 || d->len % sizeof(desc) || d->len / sizeof(desc) > ring->num)
        return "an indirect table of an impossible size";
    if (d->addr + len < d->addr)
        return "an indirect table beyond the end of the address space";
    out->at = ring->at(ring->ud, d->addr, &len);
    if (!out->at || len < d->len)
        return "an indirect table outside of its memory";
    out->num = d->len / (uint32_t)sizeof(desc);
    return NULL;
}

static const char *walk(const mvm__vring *ring, mvm__vring_chain *chain)
{
    table t = {ring->desc, ring->num};
    uint32_t index = chain->head;
    bool inside = false;

    /* The ring's own descriptor of an indirect table is not counted: a table may be as long as the
     * ring. */
    for (uint32_t seen = 0; seen < ring->num;) {
        desc d;
        const char *fault;
        if (index >= t.num)
            return "a descriptor beyond the end of its table";
        memcpy(&d, t.at + (size_t)index * sizeof(d), sizeof(d));
        mvm__read_once(d);
        if (d.flags & DESC_INDIRECT) {
            fault = inside || seen > 0 ? "a misplaced indirect table" : open_indirect(ring, &d, &t);
            if (fault)
                return fault;
            inside = true;
            index = 0;
            continue;
        }
        if ((fault = add_piece(ring, chain, &d)) != NULL)
            return fault;
        if (!(d.flags & DESC_NEXT))
            return NULL;
        index = d.next;
        seen++;
    }
    return "a chain of descriptors that is a loop";
}

const char *mvm__vring_chain_at(const mvm__vring *ring, uint16_t head, mvm__vring_chain *chain)
{
    chain->head = head;
    chain->nread = chain->nwrite = 0;
    chain->read_len = chain->write_len = 0;
    if (head >= ring->num)
        return "a chain that begins beyond the end of the ring";
    return walk(ring, chain);
}

int mvm__vring_next(mvm__vring *ring, mvm__vring_chain *chain, const char **fault)
{
    uint16_t ahead = (uint16_t)(avail_idx(ring) - ring->last_avail);

    if (ahead == 0)
        return 0;
    if (ahead > ring->num) {
        *fault = "an index that is more than the ring ahead";
        return -1;
    }
    uint16_t head = load(ring->avail, 4 + 2u * (ring->last_avail & (ring->num - 1u)));
    *fault = mvm__vring_chain_at(ring, head, chain);
    if (*fault)
        return -1;
    ring->last_avail++;
    return 1;
}

/* ---- giving them back ------------------------------------------------------------------- */

void mvm__vring_give(mvm__vring *ring, uint16_t head, uint32_t written)
{
    uint32_t element[2] = {head, written};

    memcpy((char *)ring->used + 4 + 8u * (ring->next_used & (ring->num - 1u)), element,
           sizeof(element));
    ring->next_used++;
}

bool mvm__vring_publish(mvm__vring *ring)
{
    if (ring->published != ring->next_used) {
        store(ring->used, 2, ring->next_used);
        ring->published = ring->next_used;
    }
    if (ring->notified == ring->published)
        return false;
    uint16_t before = ring->notified, now = ring->published;
    ring->notified = now;
    /* The driver writes what it wants to hear of, then looks at the index: the other way round
     * here, so that one of the two sees the other's. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!ring->event_idx)
        return !(load(ring->avail, 0) & AVAIL_NO_INTERRUPT);
    return (uint16_t)(now - used_event(ring) - 1) < (uint16_t)(now - before);
}

bool mvm__vring_want_kicks(mvm__vring *ring, bool wanted)
{
    if (!ring->event_idx) {
        if (wanted != ring->kicks || wanted)
            store(ring->used, 0, wanted ? 0 : USED_NO_NOTIFY);
    } else if (wanted) {
        set_avail_event(ring, ring->last_avail);
    }
    ring->kicks = wanted;
    if (!wanted)
        return false;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return avail_idx(ring) != ring->last_avail;
}
