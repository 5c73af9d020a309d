/* SPDX-License-Identifier: MIT */
/* vhost-user requests and replies, byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "wire/vhost_user.h"

static const char *header_of(uint32_t request, uint32_t flags, uint32_t len, mvm__vhu_header *out)
{
    uint32_t words[3] = {request, flags, len};
    uint8_t bytes[MVM__VHU_HEADER];

    memcpy(bytes, words, sizeof(bytes));
    return mvm__vhu_parse_header(bytes, out);
}

static void test_headers(void **state)
{
    mvm__vhu_header h;

    (void)state;
    assert_null(header_of(2, 1, 8, &h));
    assert_true(h.request == 2 && h.len == 8 && !h.need_reply);
    assert_null(header_of(2, 9, MVM__VHU_PAYLOAD_MAX, &h));
    assert_true(h.need_reply);
    assert_non_null(header_of(2, 0, 8, &h));
    assert_non_null(header_of(2, 3, 8, &h));
    assert_non_null(header_of(2, 5, 8, &h));
    assert_non_null(header_of(2, 1, MVM__VHU_PAYLOAD_MAX + 1, &h));
    assert_non_null(header_of(2, 1, UINT32_MAX, &h));
}

static const char *parse(uint32_t request, const void *payload, uint32_t len, mvm__vhu_msg *msg)
{
    mvm__vhu_header h = {request, len, true};
    const char *fault = mvm__vhu_parse(&h, payload, msg);

    assert_int_equal(msg->request, request);
    assert_true(msg->need_reply);
    return fault;
}

/* Each request with the length that it has; every other is refused. */
static const struct {
    uint32_t request, len, nfds;
} g_lengths[] = {
    {MVM__VHU_GET_FEATURES, 0, 0},
    {MVM__VHU_SET_FEATURES, 8, 0},
    {MVM__VHU_SET_OWNER, 0, 0},
    {MVM__VHU_RESET_OWNER, 0, 0},
    {MVM__VHU_SET_VRING_NUM, 8, 0},
    {MVM__VHU_SET_VRING_ADDR, 40, 0},
    {MVM__VHU_SET_VRING_BASE, 8, 0},
    {MVM__VHU_GET_VRING_BASE, 8, 0},
    {MVM__VHU_SET_VRING_KICK, 8, 1},
    {MVM__VHU_SET_VRING_CALL, 8, 1},
    {MVM__VHU_SET_VRING_ERR, 8, 1},
    {MVM__VHU_GET_PROTOCOL_FEATURES, 0, 0},
    {MVM__VHU_SET_PROTOCOL_FEATURES, 8, 0},
    {MVM__VHU_GET_QUEUE_NUM, 0, 0},
    {MVM__VHU_SET_VRING_ENABLE, 8, 0},
};

static void test_lengths(void **state)
{
    static const uint8_t zeros[MVM__VHU_PAYLOAD_MAX];
    mvm__vhu_msg msg;

    (void)state;
    for (size_t i = 0; i < MVM_COUNT(g_lengths); i++) {
        for (uint32_t len = 0; len < 64; len++) {
            const char *fault = parse(g_lengths[i].request, zeros, len, &msg);
            assert_int_equal(!fault, len == g_lengths[i].len);
        }
        assert_null(parse(g_lengths[i].request, zeros, g_lengths[i].len, &msg));
        assert_int_equal(msg.nfds, g_lengths[i].nfds);
        assert_string_not_equal(mvm__vhu_name(g_lengths[i].request), "request");
    }
    static const uint32_t strange[] = {0, 6, 7, 19, 23, 26, 31, 37, 999, UINT32_MAX};
    for (size_t i = 0; i < MVM_COUNT(strange); i++) {
        assert_non_null(parse(strange[i], zeros, 8, &msg));
        assert_string_equal(mvm__vhu_name(strange[i]), "request");
    }
}

static void test_values(void **state)
{
    mvm__vhu_msg msg;
    uint64_t features = 0x140000000;
    uint32_t vring[2] = {1, 128};
    uint64_t kick = 1, no_fd = 0x101;
    uint64_t addr[5] = {0x700000001, 10, 20, 30, 40};

    (void)state;
    assert_null(parse(MVM__VHU_SET_FEATURES, &features, 8, &msg));
    assert_true(msg.u.u64 == features);
    assert_null(parse(MVM__VHU_SET_VRING_NUM, vring, 8, &msg));
    assert_true(msg.u.state.index == 1 && msg.u.state.num == 128);
    assert_null(parse(MVM__VHU_SET_VRING_KICK, &kick, 8, &msg));
    assert_true(msg.u.state.index == 1 && msg.nfds == 1);
    assert_null(parse(MVM__VHU_SET_VRING_CALL, &no_fd, 8, &msg));
    assert_true(msg.u.state.index == 1 && msg.nfds == 0);
    assert_null(parse(MVM__VHU_SET_VRING_ADDR, addr, 40, &msg));
    assert_true(msg.u.addr.index == 1 && msg.u.addr.flags == 7);
    assert_true(msg.u.addr.desc == 10 && msg.u.addr.used == 20 && msg.u.addr.avail == 30);
}

static void test_memory_table(void **state)
{
    struct {
        uint32_t n, padding;
        uint64_t region[9][4];
    } table = {2, 0, {{1, 2, 3, 4}, {5, 6, 7, 8}}};
    mvm__vhu_msg msg;

    (void)state;
    assert_null(parse(MVM__VHU_SET_MEM_TABLE, &table, 8 + 64, &msg));
    assert_true(msg.u.memory.n == 2 && msg.nfds == 2);
    const mvm__vhu_region *r = &msg.u.memory.region[1];
    assert_true(r->guest_addr == 5 && r->size == 6 && r->user_addr == 7 && r->offset == 8);
    /* QEMU sends the whole table whatever it holds. */
    assert_null(parse(MVM__VHU_SET_MEM_TABLE, &table, 8 + 8 * 32, &msg));
    assert_int_equal(msg.u.memory.n, 2);
    assert_non_null(parse(MVM__VHU_SET_MEM_TABLE, &table, 8 + 63, &msg));
    assert_non_null(parse(MVM__VHU_SET_MEM_TABLE, &table, 7, &msg));
    assert_non_null(parse(MVM__VHU_SET_MEM_TABLE, &table, 0, &msg));
    table.n = 8;
    assert_null(parse(MVM__VHU_SET_MEM_TABLE, &table, 8 + 8 * 32, &msg));
    table.n = 9;
    assert_non_null(parse(MVM__VHU_SET_MEM_TABLE, &table, sizeof(table), &msg));
    table.n = UINT32_MAX;
    assert_non_null(parse(MVM__VHU_SET_MEM_TABLE, &table, sizeof(table), &msg));
}

static void test_config(void **state)
{
    uint32_t words[70] = {4, 8, 0};
    mvm__vhu_msg msg;

    (void)state;
    assert_null(parse(MVM__VHU_GET_CONFIG, words, 20, &msg));
    assert_true(msg.u.config.offset == 4 && msg.u.config.size == 8);
    assert_non_null(parse(MVM__VHU_GET_CONFIG, words, 19, &msg));
    assert_non_null(parse(MVM__VHU_GET_CONFIG, words, 11, &msg));
    words[1] = MVM__VHU_CONFIG_MAX;
    assert_null(parse(MVM__VHU_GET_CONFIG, words, 12 + MVM__VHU_CONFIG_MAX, &msg));
    words[1]++;
    assert_non_null(parse(MVM__VHU_GET_CONFIG, words, 12 + MVM__VHU_CONFIG_MAX + 1, &msg));
    words[1] = UINT32_MAX;
    assert_non_null(parse(MVM__VHU_GET_CONFIG, words, 11, &msg));
}

static void test_replies(void **state)
{
    uint8_t out[MVM__VHU_REPLY_MAX];
    uint32_t words[8];

    (void)state;
    assert_int_equal(mvm__vhu_reply_u64(out, MVM__VHU_GET_FEATURES, 0x500000006), 20);
    memcpy(words, out, 20);
    assert_true(words[0] == 1 && words[1] == 5 && words[2] == 8 && words[3] == 6 && words[4] == 5);
    assert_int_equal(mvm__vhu_reply_state(out, MVM__VHU_GET_VRING_BASE, 1, 77), 20);
    memcpy(words, out, 20);
    assert_true(words[0] == 11 && words[2] == 8 && words[3] == 1 && words[4] == 77);
    assert_int_equal(mvm__vhu_reply_config(out, 2, 4, "cid!"), 28);
    memcpy(words, out, 28);
    assert_true(words[0] == 24 && words[2] == 16 && words[3] == 2 && words[4] == 4);
    assert_memory_equal(&words[6], "cid!", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers), cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_values),  cmocka_unit_test(test_memory_table),
        cmocka_unit_test(test_config),  cmocka_unit_test(test_replies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
