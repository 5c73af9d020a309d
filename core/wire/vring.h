/* SPDX-License-Identifier: MIT */
/*
 * The device's side of a virtio split ring. Pure: it knows memory only through the caller's
 * translation. The driver is hostile and runs at the same time, so every field that it may write
 * is read once, and used only after it was checked. A fault ends the ring for good.
 */
#ifndef MVM_WIRE_VRING_H
#define MVM_WIRE_VRING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define MVM__VRING_SIZE_MAX 1024u /* entries */
/* Pieces of one chain: as many as descriptors, and some for memory that is in parts. */
#define MVM__VRING_PIECES (MVM__VRING_SIZE_MAX + 16u)

/* After a copy out of shared memory: the compiler may not go back there for what it needs of it. */
#define mvm__read_once(copy) __asm__ volatile("" : "+m"(copy))

/* The driver's address `addr` as a pointer, good for *len bytes: *len may come out smaller, not 0.
 * NULL: there is no memory. */
typedef void *(*mvm__vring_at)(void *ud, uint64_t addr, uint64_t *len);

typedef struct mvm__vring {
    uint16_t num; /* entries: a power of two, at most MVM__VRING_SIZE_MAX */
    bool event_idx, indirect;
    const void *desc; /* 16 * num bytes, aligned to 16 */
    void *avail;      /* 6 + 2 * num bytes, aligned to 2 */
    void *used;       /* 6 + 8 * num bytes, aligned to 4 */
    mvm__vring_at at;
    void *ud;
    uint16_t last_avail; /* the next to be taken */
    uint16_t next_used;  /* the next to be given back */
    uint16_t published, notified;
    bool kicks; /* the driver was asked to tell of new buffers */
} mvm__vring;

typedef struct mvm__vring_chain {
    uint16_t head;
    unsigned nread, nwrite; /* pieces: first those to be read, then those to be written */
    uint64_t read_len, write_len;
    struct iovec piece[MVM__VRING_PIECES];
} mvm__vring_chain;

/* How many bytes each part takes, for who finds their places in memory. */
static inline uint64_t mvm__vring_desc_size(uint32_t num)
{
    return 16ull * num;
}

static inline uint64_t mvm__vring_avail_size(uint32_t num)
{
    return 6 + 2ull * num;
}

static inline uint64_t mvm__vring_used_size(uint32_t num)
{
    return 6 + 8ull * num;
}

/* Takes up a ring whose num, parts, features and translation are filled in, going on at `base`;
 * what was given back before is known from the ring itself. NULL, or what is wrong with it. */
const char *mvm__vring_begin(mvm__vring *ring, uint16_t base);
/* The same for who only looks on while another serves it: nothing is written. */
const char *mvm__vring_join(mvm__vring *ring, uint16_t base);
/* 1: *chain is the driver's next buffer. 0: there is none. -1: the driver lies, *fault says how. */
int mvm__vring_next(mvm__vring *ring, mvm__vring_chain *chain, const char **fault);
/* The buffer that begins at `head`, for who knows that the driver has posted it. NULL, or how the
 * driver lies. */
const char *mvm__vring_chain_at(const mvm__vring *ring, uint16_t head, mvm__vring_chain *chain);
/* Gives a buffer back, `written` bytes of it filled; the driver sees it after publish. */
void mvm__vring_give(mvm__vring *ring, uint16_t head, uint32_t written);
/* true: something was given back and the driver wants to be told. */
bool mvm__vring_publish(mvm__vring *ring);
/* Asks the driver to tell of new buffers, or not to bother. true: there are some already. */
bool mvm__vring_want_kicks(mvm__vring *ring, bool wanted);

#endif
