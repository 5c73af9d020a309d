/* SPDX-License-Identifier: MIT */
/* Following a ring. What was given back is read first, so all of it is in what is read then. */
#include "wire/vring_watch.h"

static uint16_t index_of(const void *part)
{
    return __atomic_load_n((const uint16_t *)part + 1, __ATOMIC_ACQUIRE);
}

static void forget(mvm__vring_watch *watch, uint16_t at)
{
    *watch = (mvm__vring_watch){.posted = at, .used = at};
}

void mvm__vring_watch_begin(mvm__vring_watch *watch, const mvm__vring *ring, uint16_t base)
{
    if (index_of(ring->used) == base)
        forget(watch, base);
}

/* Between two looks a head may come and go several times: only the sums count. */
static void count(mvm__vring_watch *watch, const mvm__vring *ring, uint32_t head, int by)
{
    if (head < ring->num)
        watch->out[head] = (uint16_t)(watch->out[head] + by);
    else
        watch->missed = true;
}

static void take(mvm__vring_watch *watch, const mvm__vring *ring, uint16_t posted, uint16_t used)
{
    const uint16_t *heads = (const uint16_t *)ring->avail + 2;
    const uint32_t *elements = (const uint32_t *)ring->used + 1;

    for (; watch->posted != posted; watch->posted++) {
        uint16_t head = heads[watch->posted & (ring->num - 1u)];
        mvm__read_once(head);
        count(watch, ring, head, 1);
    }
    for (; watch->used != used; watch->used++) {
        uint32_t head = elements[2u * (watch->used & (ring->num - 1u))];
        mvm__read_once(head);
        count(watch, ring, head, -1);
    }
}

void mvm__vring_watch_look(mvm__vring_watch *watch, const mvm__vring *ring)
{
    uint16_t used = index_of(ring->used), posted = index_of(ring->avail);
    uint16_t first_posted = watch->posted, first_used = watch->used;

    if (used == posted) {
        forget(watch, posted);
        return;
    }
    if ((uint16_t)(posted - first_posted) <= ring->num &&
        (uint16_t)(used - first_used) <= ring->num)
        take(watch, ring, posted, used);
    else
        watch->missed = true;
    watch->posted = posted;
    watch->used = used;
    /* What was being read may have been written over: the next place is before its index. */
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if ((uint16_t)(index_of(ring->avail) - first_posted) >= ring->num ||
        (uint16_t)(index_of(ring->used) - first_used) >= ring->num)
        watch->missed = true;
}

bool mvm__vring_watch_sure(const mvm__vring_watch *watch, const mvm__vring *ring)
{
    uint32_t n = 0;

    if (watch->missed)
        return false;
    for (uint32_t head = 0; head < ring->num; head++) {
        if (watch->out[head] > 1)
            return false;
        n += watch->out[head];
    }
    return n == (uint16_t)(watch->posted - watch->used);
}
