/* SPDX-License-Identifier: MIT */
/* The socket device against guests that lie in their rings and front ends that break the protocol:
 * the device is lost, once, with a clear reason; the host goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "support/vsock_world.h"

#define LOST "the guest lost its vsock device: it sent "

static void expect_dead(world *w, mvm_stream *s, int code, const char *why)
{
    outcome o;

    assert_true(vsd_until(w->loop, &w->dead));
    assert_string_equal(w->why.message, why);
    assert_int_equal(w->why.code, code);
    assert_string_equal(w->why.vm, "web");
    if (s) {
        read_wait(w, s, &o);
        assert_string_equal(o.message, why);
        mvm_stream_unref(s);
    }
    for (int i = 0; i < 3; i++)
        mvm_loop_step(w->loop, false);
    assert_int_equal(w->deaths, 1);
    assert_false(mvm__vsock_up(w->v));
    world_close(w);
}

/* ---- rings ------------------------------------------------------------------------------ */

static void bare(vsd *d, unsigned ring, uint16_t head, uint64_t addr, uint32_t len, uint16_t flags,
                 uint16_t next)
{
    d->ring[ring].desc[head] = (vsd_desc){addr, len, flags, next};
}

static void lie_index(vsd *d)
{
    d->ring[VSD_TX].avail[1] = (uint16_t)(d->ring[VSD_TX].next_idx + VSD_NUM + 1);
    vsd_kick(d, VSD_TX);
}

static void lie_head(vsd *d)
{
    vsd_offer(d, VSD_TX, VSD_NUM);
}

static void lie_next(vsd *d)
{
    bare(d, VSD_TX, 9, VSD_GUEST, 64, 1, VSD_NUM);
    vsd_offer(d, VSD_TX, 9);
}

static void lie_loop(vsd *d)
{
    bare(d, VSD_TX, 9, VSD_GUEST, 64, 1, 10);
    bare(d, VSD_TX, 10, VSD_GUEST, 64, 1, 9);
    vsd_offer(d, VSD_TX, 9);
}

static void lie_address(vsd *d)
{
    bare(d, VSD_TX, 9, VSD_GUEST - 1, 64, 0, 0);
    vsd_offer(d, VSD_TX, 9);
}

static void lie_beyond(vsd *d)
{
    bare(d, VSD_TX, 9, VSD_GUEST + VSD_MEMORY - 63, 64, 0, 0);
    vsd_offer(d, VSD_TX, 9);
}

static void lie_length(vsd *d)
{
    bare(d, VSD_TX, 9, VSD_GUEST, UINT32_MAX, 0, 0);
    vsd_offer(d, VSD_TX, 9);
}

static void lie_wrap(vsd *d)
{
    bare(d, VSD_TX, 9, UINT64_MAX - 10, 64, 0, 0);
    vsd_offer(d, VSD_TX, 9);
}

static void lie_indirect_size(vsd *d)
{
    bare(d, VSD_TX, 9, VSD_GUEST, 40, 4, 0);
    vsd_offer(d, VSD_TX, 9);
}

static void lie_indirect_long(vsd *d)
{
    bare(d, VSD_TX, 9, VSD_GUEST, 16 * (VSD_NUM + 1), 4, 0);
    vsd_offer(d, VSD_TX, 9);
}

static void lie_indirect_place(vsd *d)
{
    bare(d, VSD_TX, 9, VSD_GUEST + VSD_MEMORY - 16, 32, 4, 0);
    vsd_offer(d, VSD_TX, 9);
}

static void lie_indirect_next(vsd *d)
{
    bare(d, VSD_TX, 9, VSD_GUEST, 32, 5, 1);
    vsd_offer(d, VSD_TX, 9);
}

/* The ring's own table, whose second entry is the same again. */
static void lie_indirect_nested(vsd *d)
{
    bare(d, VSD_TX, 0, VSD_GUEST, 64, 1, 1);
    bare(d, VSD_TX, 1, VSD_GUEST, 64, 4, 0);
    bare(d, VSD_TX, 9, VSD_GUEST + 65536, 64, 4, 0);
    vsd_offer(d, VSD_TX, 9);
}

static void lie_indirect_loop(vsd *d)
{
    bare(d, VSD_TX, 0, VSD_GUEST, 64, 1, 0);
    bare(d, VSD_TX, 9, VSD_GUEST + 65536, 16, 4, 0);
    vsd_offer(d, VSD_TX, 9);
}

static void lie_direction(vsd *d)
{
    bare(d, VSD_TX, 9, VSD_GUEST, 64, 2, 0);
    vsd_offer(d, VSD_TX, 9);
}

static void lie_order(vsd *d)
{
    bare(d, VSD_TX, 9, VSD_GUEST, 64, 3, 10);
    bare(d, VSD_TX, 10, VSD_GUEST, 64, 0, 0);
    vsd_offer(d, VSD_TX, 9);
}

static void lie_short(vsd *d)
{
    bare(d, VSD_TX, 9, VSD_GUEST, MVM__VSOCK_HEADER - 1, 0, 0);
    vsd_offer(d, VSD_TX, 9);
}

static void lie_packet_length(vsd *d)
{
    mvm__vsock_header header = {
        .src_cid = VSD_CID, .dst_cid = 2, .type = 1, .op = MVM__VSOCK_RW, .len = UINT32_MAX};
    uint8_t *at = d->memory + d->ring[VSD_TX].buffers;

    mvm__vsock_encode(&header, at);
    bare(d, VSD_TX, 9, VSD_GUEST + d->ring[VSD_TX].buffers, VSD_BUFFER, 0, 0);
    vsd_offer(d, VSD_TX, 9);
}

/* Where the next packet for the guest is to go. */
static void spoil_rx(vsd *d, uint64_t addr, uint32_t len, uint16_t flags)
{
    for (uint16_t i = 0; i < VSD_NUM; i++)
        bare(d, VSD_RX, i, addr, len, flags, 0);
    vsd_op(d, MVM__VSOCK_RW, 3000, 3000); /* asks for a reset */
}

static void lie_rx_small(vsd *d)
{
    spoil_rx(d, VSD_GUEST, MVM__VSOCK_HEADER, 2);
}

static void lie_rx_direction(vsd *d)
{
    spoil_rx(d, VSD_GUEST, VSD_BUFFER, 0);
}

static void lie_rx_address(vsd *d)
{
    spoil_rx(d, 0, VSD_BUFFER, 2);
}

static void lie_rx_index(vsd *d)
{
    d->ring[VSD_RX].avail[1] = (uint16_t)(d->ring[VSD_RX].next_idx + 30000);
    vsd_op(d, MVM__VSOCK_RW, 3000, 3000);
}

static const struct {
    void (*lie)(vsd *d);
    const char *why;
} g_lies[] = {
    {lie_index, LOST "an index that is more than the ring ahead"},
    {lie_head, LOST "a chain that begins beyond the end of the ring"},
    {lie_next, LOST "a descriptor beyond the end of its table"},
    {lie_loop, LOST "a chain of descriptors that is a loop"},
    {lie_address, LOST "a buffer outside of its memory"},
    {lie_beyond, LOST "a buffer outside of its memory"},
    {lie_length, LOST "a buffer outside of its memory"},
    {lie_wrap, LOST "a buffer beyond the end of the address space"},
    {lie_indirect_size, LOST "an indirect table of an impossible size"},
    {lie_indirect_long, LOST "an indirect table of an impossible size"},
    {lie_indirect_place, LOST "an indirect table outside of its memory"},
    {lie_indirect_next, LOST "an indirect table with a successor"},
    {lie_indirect_nested, LOST "a misplaced indirect table"},
    {lie_indirect_loop, LOST "a chain of descriptors that is a loop"},
    {lie_direction, LOST "a packet in a buffer that is to be written"},
    {lie_order, LOST "a buffer to be read after one to be written"},
    {lie_short, LOST "a packet that is shorter than its header"},
    {lie_packet_length, LOST "a packet that is longer than its buffer"},
    {lie_rx_small, LOST "a buffer to receive in that is too small"},
    {lie_rx_direction, LOST "a buffer to receive in that is to be read"},
    {lie_rx_address, LOST "a buffer outside of its memory"},
    {lie_rx_index, LOST "an index that is more than the ring ahead"},
};

static void test_lies(void **state)
{
    (void)state;
    for (size_t i = 0; i < MVM_COUNT(g_lies); i++) {
        world w;
        world_open(&w);
        vsd_setup(&w.d, 0);
        mvm_stream *s = guest_connects(&w, 5000, 80);
        g_lies[i].lie(&w.d);
        expect_dead(&w, s, MVM_EGUEST, g_lies[i].why);
    }
}

/* The loop's thread finds out, as it writes. */
static void test_lie_found_by_a_write(void **state)
{
    world w;
    mvm_err err;

    (void)state;
    world_open(&w);
    vsd_setup(&w.d, 0);
    mvm_stream *s = guest_connects(&w, 5000, 80);
    for (uint16_t i = 0; i < VSD_NUM; i++)
        bare(&w.d, VSD_RX, i, 1, 100, 2, 0);
    assert_int_equal(mvm_stream_write(s, "x", 1, &err), 0);
    expect_dead(&w, s, MVM_EGUEST, LOST "a buffer outside of its memory");
}

static void test_indirect_without_the_feature(void **state)
{
    world w;

    (void)state;
    world_open(&w);
    vsd_setup(&w.d, MVM__VIRTIO_RING_INDIRECT);
    bare(&w.d, VSD_TX, 9, VSD_GUEST, 32, 4, 0);
    vsd_offer(&w.d, VSD_TX, 9);
    expect_dead(&w, NULL, MVM_EGUEST, LOST "an indirect table that was not negotiated");
}

/* ---- the front end ---------------------------------------------------------------------- */

static void tell(vsd *d, uint32_t request, const void *payload, uint32_t len)
{
    vsd_request(d, request, 0, payload, len, NULL, 0);
}

static void wrong_version(vsd *d)
{
    vsd_request(d, MVM__VHU_SET_OWNER, 2, NULL, 0, NULL, 0);
}

static void wrong_reply(vsd *d)
{
    vsd_request(d, MVM__VHU_SET_OWNER, 4, NULL, 0, NULL, 0);
}

static void too_long(vsd *d)
{
    static char payload[MVM__VHU_PAYLOAD_MAX + 1];

    tell(d, MVM__VHU_SET_OWNER, payload, sizeof(payload));
}

static void wrong_length(vsd *d)
{
    tell(d, MVM__VHU_SET_VRING_NUM, "1234", 4);
}

static void unknown(vsd *d)
{
    tell(d, 77, NULL, 0);
}

static void third_ring(vsd *d)
{
    uint32_t state[2] = {2, 128};

    tell(d, MVM__VHU_SET_VRING_NUM, state, sizeof(state));
}

static void odd_ring(vsd *d)
{
    uint32_t state[2] = {0, 100};

    tell(d, MVM__VHU_SET_VRING_NUM, state, sizeof(state));
}

static void strange_features(vsd *d)
{
    uint64_t features = 1ull << 63;

    tell(d, MVM__VHU_SET_FEATURES, &features, sizeof(features));
}

static void no_bell(vsd *d)
{
    uint64_t ring = 0;

    tell(d, MVM__VHU_SET_VRING_KICK, &ring, sizeof(ring));
}

static void many_files(vsd *d)
{
    int fds[20];

    for (unsigned i = 0; i < MVM_COUNT(fds); i++)
        fds[i] = d->memfd;
    vsd_request(d, MVM__VHU_SET_OWNER, 0, NULL, 0, fds, MVM_COUNT(fds));
}

static void one_region(vsd *d, uint64_t guest, uint64_t size, uint64_t offset, int fd)
{
    struct {
        uint32_t n, padding;
        uint64_t region[4];
    } table = {1, 0, {guest, size, VSD_USER, offset}};

    vsd_request(d, MVM__VHU_SET_MEM_TABLE, 0, &table, sizeof(table), &fd, 1);
}

static void short_file(vsd *d)
{
    one_region(d, VSD_GUEST, VSD_MEMORY, 4096, d->memfd);
}

static void wrapping_region(vsd *d)
{
    one_region(d, UINT64_MAX - 4096, VSD_MEMORY, 0, d->memfd);
}

static void wrapping_offset(vsd *d)
{
    one_region(d, VSD_GUEST, VSD_MEMORY, UINT64_MAX - 4096, d->memfd);
}

static void no_file(vsd *d)
{
    one_region(d, VSD_GUEST, 4096, 0, d->sock);
}

static void overlapping(vsd *d)
{
    struct {
        uint32_t n, padding;
        uint64_t region[2][4];
    } table = {
        2, 0, {{VSD_GUEST, 8192, VSD_USER, 0}, {VSD_GUEST + 4096, 8192, VSD_USER + 65536, 0}}};
    int fds[2] = {d->memfd, d->memfd};

    vsd_request(d, MVM__VHU_SET_MEM_TABLE, 0, &table, sizeof(table), fds, 2);
}

static void vanishing_memory(vsd *d)
{
    one_region(d, VSD_GUEST, 4096, 0, d->memfd); /* while the rings lie beyond it */
}

static void moving_ring(vsd *d)
{
    uint32_t state[2] = {0, 7};

    tell(d, MVM__VHU_SET_VRING_BASE, state, sizeof(state));
}

static const struct {
    void (*fault)(vsd *d);
    const char *why;
} g_faults[] = {
    {wrong_version, "QEMU sent a request of another version of the protocol"},
    {wrong_reply, "QEMU sent a reply instead of a request"},
    {too_long, "QEMU sent a message that is too long"},
    {wrong_length, "QEMU sent a request of the wrong length (SET_VRING_NUM, number 8)"},
    {unknown, "QEMU sent a request that this device does not know (request, number 77)"},
    {third_ring, "QEMU sent SET_VRING_NUM for a ring that there is not"},
    {odd_ring, "QEMU sent SET_VRING_NUM for a ring that runs"},
    {strange_features, "QEMU sent SET_FEATURES with features that were not offered"},
    {no_bell, "QEMU sent SET_VRING_KICK with the wrong number of file descriptors"},
    {many_files, "QEMU sent too many file descriptors"},
    {short_file, "the file behind memory region 0 is too short"},
    {wrapping_region, "memory region 0 has an impossible place or size"},
    {wrapping_offset, "memory region 0 has an impossible place or size"},
    {no_file, "what is behind memory region 0 is no file"},
    {overlapping, "memory regions 0 and 1 overlap"},
    {vanishing_memory, "ring 0 is outside of the guest's memory"},
    {moving_ring, "QEMU sent SET_VRING_BASE for a ring that runs"},
};

static void test_front_end_faults(void **state)
{
    (void)state;
    for (size_t i = 0; i < MVM_COUNT(g_faults); i++) {
        world w;
        world_open(&w);
        vsd_setup(&w.d, 0);
        mvm_stream *s = guest_connects(&w, 5000, 80);
        g_faults[i].fault(&w.d);
        expect_dead(&w, s, MVM_EBACKEND, g_faults[i].why);
    }
}

/* A request byte by byte is the same request; half of one is a front end that left. */
static void test_requests_in_pieces(void **state)
{
    world w;
    uint32_t header[3] = {MVM__VHU_GET_FEATURES, 1, 0};
    uint64_t features;

    (void)state;
    world_open(&w);
    for (size_t i = 0; i < sizeof(header); i++)
        assert_int_equal(write(w.d.sock, (char *)header + i, 1), 1);
    vsd_answer(&w.d, MVM__VHU_GET_FEATURES, &features, sizeof(features));
    assert_true(features & MVM__VIRTIO_VERSION_1);
    assert_int_equal(write(w.d.sock, header, 5), 5);
    close(w.d.sock);
    w.d.sock = -1;
    expect_dead(&w, NULL, MVM_EBACKEND, "QEMU has closed the connection of its vsock device");
}

/* A guest that places its rings where they can't be. */
static void test_crooked_ring(void **state)
{
    world w;

    (void)state;
    world_open(&w);
    vsd_setup(&w.d, 0);
    vsd_stop(&w.d, VSD_RX);
    vsd_stop(&w.d, VSD_TX);
    w.d.ring[VSD_RX].desc = (vsd_desc *)(void *)((uint8_t *)w.d.ring[VSD_RX].desc + 8);
    w.d.doomed = true;
    vsd_start(&w.d, 0, 0);
    expect_dead(&w, NULL, MVM_EGUEST, "the guest set up a ring that is not aligned");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lies),
        cmocka_unit_test(test_lie_found_by_a_write),
        cmocka_unit_test(test_indirect_without_the_feature),
        cmocka_unit_test(test_front_end_faults),
        cmocka_unit_test(test_requests_in_pieces),
        cmocka_unit_test(test_crooked_ring),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
