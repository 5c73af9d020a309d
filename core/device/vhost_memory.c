/* SPDX-License-Identifier: MIT */
/*
 * The guest's memory as the front end hands it over: files that are mapped here, found by the
 * guest's addresses (descriptors) or the front end's own (rings). Runs where its user runs.
 */
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/base.h"
#include "device/vhost.h"

void mvm__vhost_unmap(mvm__vhost_memory *m)
{
    for (unsigned i = 0; i < m->n; i++)
        munmap(m->region[i].map, m->region[i].map_len);
    m->n = 0;
}

static bool overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
    return a < b + b_len && b < a + a_len; /* neither wraps: checked before */
}

static int check_region(const mvm__vhu_msg *table, unsigned i, int fd, mvm_err *err)
{
    const mvm__vhu_region *r = &table->u.memory.region[i];
    struct stat st;

    if (r->size == 0 || r->guest_addr + r->size < r->guest_addr ||
        r->user_addr + r->size < r->user_addr || r->offset + r->size < r->offset ||
        r->offset + r->size > INT64_MAX)
        return mvm_fail(err, MVM_EBACKEND, "memory region %u has an impossible place or size", i);
    for (unsigned j = 0; j < i; j++) {
        const mvm__vhu_region *other = &table->u.memory.region[j];
        if (overlap(r->guest_addr, r->size, other->guest_addr, other->size) ||
            overlap(r->user_addr, r->size, other->user_addr, other->size))
            return mvm_fail(err, MVM_EBACKEND, "memory regions %u and %u overlap", j, i);
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return mvm_fail(err, MVM_EBACKEND, "what is behind memory region %u is no file", i);
    if ((uint64_t)st.st_size < r->offset + r->size)
        return mvm_fail(err, MVM_EBACKEND, "the file behind memory region %u is too short", i);
    return 0;
}

int mvm__vhost_map(mvm__vhost_memory *m, const mvm__vhu_msg *table, const int *fds, mvm_err *err)
{
    mvm__vhost_unmap(m);
    for (unsigned i = 0; i < table->u.memory.n; i++) {
        const mvm__vhu_region *r = &table->u.memory.region[i];
        int rc = check_region(table, i, fds[i], err);
        if (rc)
            return rc;
        /* From the file's begin, as the offset need not suit the pages of what is behind it. */
        size_t len = (size_t)(r->offset + r->size);
        void *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fds[i], 0);
        if (map == MAP_FAILED)
            return mvm_fail(err, MVM_EBACKEND, "memory region %u can't be mapped: %m", i);
        madvise(map, len, MADV_DONTDUMP);
        m->region[m->n++] = (mvm__vhost_region){r->guest_addr,           r->user_addr, r->size,
                                                (char *)map + r->offset, map,          len};
    }
    return 0;
}

void *mvm__vhost_guest_at(void *ud, uint64_t addr, uint64_t *len)
{
    const mvm__vhost_memory *m = ud;

    for (unsigned i = 0; i < m->n; i++) {
        const mvm__vhost_region *r = &m->region[i];
        uint64_t offset = addr - r->guest_addr; /* huge when below */
        if (offset < r->size) {
            *len = MVM_MIN(*len, r->size - offset);
            return r->at + offset;
        }
    }
    return NULL;
}

void *mvm__vhost_user_at(void *ud, uint64_t addr, uint64_t *len)
{
    const mvm__vhost_memory *m = ud;

    for (unsigned i = 0; i < m->n; i++) {
        const mvm__vhost_region *r = &m->region[i];
        uint64_t offset = addr - r->user_addr;
        if (offset < r->size) {
            *len = MVM_MIN(*len, r->size - offset);
            return r->at + offset;
        }
    }
    return NULL;
}
