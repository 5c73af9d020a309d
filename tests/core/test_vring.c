/* SPDX-License-Identifier: MIT */
/* Split rings from the device's side: honest drivers, notification, and indices that wrap. What a
 * liar meets is in test_vsock_device_lies.c and the fuzzers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "wire/vring.h"

#define NUM   4u
#define GUEST 0x1000u

typedef struct guest {
    struct {
        uint64_t addr;
        uint32_t len;
        uint16_t flags, next;
    } desc[NUM] __attribute__((aligned(16)));
    uint16_t avail[2 + NUM + 1];
    uint32_t pad;
    uint16_t used[2 + 4 * NUM + 1] __attribute__((aligned(4)));
    char memory[256];
    size_t seam;
} guest;

static mvm__vring_chain g_chain;

static void *guest_at(void *ud, uint64_t addr, uint64_t *len)
{
    guest *g = ud;
    uint64_t offset = addr - GUEST;

    if (offset >= sizeof(g->memory))
        return NULL;
    *len = MVM_MIN(*len, (offset < g->seam ? g->seam : sizeof(g->memory)) - offset);
    return g->memory + offset;
}

static mvm__vring ring_of(guest *g, bool event_idx, uint16_t base)
{
    mvm__vring ring = {.num = NUM,
                       .event_idx = event_idx,
                       .desc = g->desc,
                       .avail = g->avail,
                       .used = g->used,
                       .at = guest_at,
                       .ud = g};

    g->avail[1] = g->used[1] = base;
    g->avail[2 + NUM] = base; /* used_event */
    assert_null(mvm__vring_begin(&ring, base));
    return ring;
}

static void offer(guest *g, uint16_t head)
{
    g->avail[2 + g->avail[1] % NUM] = head;
    g->avail[1]++;
}

static int next(mvm__vring *ring)
{
    const char *fault = NULL;
    int rc = mvm__vring_next(ring, &g_chain, &fault);

    assert_int_equal(rc < 0, fault != NULL);
    return rc;
}

static void test_chains(void **state)
{
    guest g = {.desc = {{GUEST, 10, 1, 2}, {0}, {GUEST + 20, 5, 1, 3}, {GUEST + 100, 50, 2, 0}},
               .seam = 130};

    (void)state;
    mvm__vring ring = ring_of(&g, false, 0);
    assert_int_equal(next(&ring), 0);
    offer(&g, 0);
    assert_int_equal(next(&ring), 1);
    assert_int_equal(g_chain.head, 0);
    assert_int_equal(g_chain.nread, 2);
    assert_int_equal(g_chain.nwrite, 2); /* one buffer, in memory of two parts */
    assert_int_equal(g_chain.read_len, 15);
    assert_int_equal(g_chain.write_len, 50);
    assert_ptr_equal(g_chain.piece[1].iov_base, g.memory + 20);
    assert_int_equal(g_chain.piece[2].iov_len, 30);
    assert_int_equal(g_chain.piece[3].iov_len, 20);
    assert_int_equal(next(&ring), 0);
    mvm__vring_give(&ring, g_chain.head, 33);
    assert_int_equal(g.used[1], 0); /* not before publish */
    assert_true(mvm__vring_publish(&ring));
    assert_int_equal(g.used[1], 1);
    uint32_t element[2];
    memcpy(element, &g.used[2], sizeof(element));
    assert_true(element[0] == 0 && element[1] == 33);
    assert_false(mvm__vring_publish(&ring)); /* nothing new */
}

static void test_whole_ring_and_empty_buffers(void **state)
{
    guest g = {.desc = {{GUEST, 1, 1, 1}, {GUEST, 0, 1, 2}, {GUEST, 1, 1, 3}, {GUEST, 1, 0, 0}},
               .seam = 256};

    (void)state;
    mvm__vring ring = ring_of(&g, false, 0);
    offer(&g, 0);
    assert_int_equal(next(&ring), 1); /* as long as the ring: just not a loop */
    assert_int_equal(g_chain.nread, 3);
    g.desc[3].flags = 1;
    g.desc[3].next = 0;
    offer(&g, 0);
    assert_int_equal(next(&ring), -1);
}

static void test_indices_wrap(void **state)
{
    guest g = {.desc = {{GUEST, 1, 0, 0}, {GUEST, 1, 0, 0}, {GUEST, 1, 0, 0}, {GUEST, 1, 0, 0}},
               .seam = 256};

    (void)state;
    mvm__vring ring = ring_of(&g, true, 65530);
    for (uint32_t i = 0; i < 100; i++) {
        offer(&g, i % NUM);
        assert_int_equal(next(&ring), 1);
        assert_int_equal(next(&ring), 0);
        mvm__vring_give(&ring, g_chain.head, 0);
        g.avail[2 + NUM] = g.used[1]; /* tell me of the next */
        assert_true(mvm__vring_publish(&ring));
        assert_int_equal(g.used[1], (uint16_t)(65530 + i + 1));
    }
    assert_int_equal(ring.last_avail, (uint16_t)(65530 + 100));
}

static void test_bells_by_flags(void **state)
{
    guest g = {.desc = {{GUEST, 1, 0, 0}}, .seam = 256};

    (void)state;
    mvm__vring ring = ring_of(&g, false, 0);
    assert_int_equal(g.used[0], 0);
    assert_false(mvm__vring_want_kicks(&ring, false));
    assert_int_equal(g.used[0], 1);
    offer(&g, 0);
    assert_true(mvm__vring_want_kicks(&ring, true)); /* one has come meanwhile */
    assert_int_equal(g.used[0], 0);
    assert_int_equal(next(&ring), 1);
    assert_false(mvm__vring_want_kicks(&ring, true));
    mvm__vring_give(&ring, 0, 0);
    g.avail[0] = 1; /* don't tell me */
    assert_false(mvm__vring_publish(&ring));
    assert_int_equal(g.used[1], 1);
}

static void test_bells_by_index(void **state)
{
    guest g = {.desc = {{GUEST, 1, 0, 0}}, .seam = 256};

    (void)state;
    mvm__vring ring = ring_of(&g, true, 0);
    g.avail[2 + NUM] = 2; /* tell me of the third */
    for (uint16_t i = 0; i < 5; i++) {
        offer(&g, 0);
        assert_int_equal(next(&ring), 1);
        mvm__vring_give(&ring, 0, 0);
        assert_int_equal(mvm__vring_publish(&ring), i == 2);
    }
    g.avail[2 + NUM] = 6; /* one in the middle of a batch */
    for (uint16_t i = 0; i < 3; i++) {
        offer(&g, 0);
        assert_int_equal(next(&ring), 1);
        mvm__vring_give(&ring, 0, 0);
    }
    assert_true(mvm__vring_publish(&ring));
    mvm__vring_want_kicks(&ring, true);
    assert_int_equal(g.used[2 + 4 * NUM], 8); /* avail_event */
}

static void test_bad_rings(void **state)
{
    static const uint16_t bad[] = {0, 3, 1000, 2048, 32768};
    guest g = {0};
    mvm__vring ring = {.num = 4, .desc = g.desc, .avail = g.avail, .used = g.used};

    (void)state;
    for (size_t i = 0; i < MVM_COUNT(bad); i++) {
        ring.num = bad[i];
        assert_non_null(mvm__vring_begin(&ring, 0));
    }
    ring.num = NUM;
    ring.desc = (char *)g.desc + 8;
    assert_non_null(mvm__vring_begin(&ring, 0));
    ring.desc = g.desc;
    ring.used = (char *)g.used + 2;
    assert_non_null(mvm__vring_begin(&ring, 0));
    ring.used = g.used;
    ring.avail = (char *)g.avail + 1;
    assert_non_null(mvm__vring_begin(&ring, 0));
    ring.avail = g.avail;
    assert_null(mvm__vring_begin(&ring, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chains),         cmocka_unit_test(test_whole_ring_and_empty_buffers),
        cmocka_unit_test(test_indices_wrap),   cmocka_unit_test(test_bells_by_flags),
        cmocka_unit_test(test_bells_by_index), cmocka_unit_test(test_bad_rings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
