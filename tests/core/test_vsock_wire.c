/* SPDX-License-Identifier: MIT */
/* The bytes of a virtio socket packet's header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire/vsock_wire.h"

static const uint8_t g_bytes[MVM__VSOCK_HEADER] = {
    0x07, 0,    0,    0,    1,    0, 0,    0,    /* src_cid */
    0x02, 0,    0,    0,    0,    0, 0,    0x80, /* dst_cid */
    0x78, 0x56, 0x34, 0x12, 0x16, 0, 0,    0,    /* src_port, dst_port */
    0x00, 0x10, 0,    0,    0x01, 0, 0x05, 0,    /* len, type, op */
    0x03, 0,    0,    0,    0,    0, 0x04, 0,    /* flags, buf_alloc */
    0xff, 0xff, 0xff, 0xff,                      /* fwd_cnt */
};

static void test_decode(void **state)
{
    mvm__vsock_header h;

    (void)state;
    mvm__vsock_decode(g_bytes, &h);
    assert_true(h.src_cid == 0x100000007 && h.dst_cid == 0x8000000000000002);
    assert_true(h.src_port == 0x12345678 && h.dst_port == 22);
    assert_int_equal(h.len, 4096);
    assert_int_equal(h.type, MVM__VSOCK_STREAM);
    assert_int_equal(h.op, MVM__VSOCK_RW);
    assert_int_equal(h.flags, MVM__VSOCK_NEITHER);
    assert_int_equal(h.buf_alloc, 262144);
    assert_true(h.fwd_cnt == UINT32_MAX);
}

static void test_encode(void **state)
{
    mvm__vsock_header h;
    uint8_t bytes[MVM__VSOCK_HEADER];

    (void)state;
    mvm__vsock_decode(g_bytes, &h);
    memset(bytes, 0xaa, sizeof(bytes));
    mvm__vsock_encode(&h, bytes);
    assert_memory_equal(bytes, g_bytes, sizeof(bytes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_encode),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
