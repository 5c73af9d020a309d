/* SPDX-License-Identifier: MIT */
/* The Spice agent protocol: chunks and messages in any cut, and what is no such thing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "wire/vdagent_wire.h"

/* As spice-vdagentd 0.22 sends them, one chunk a message. */
static const uint8_t g_announce[] = {
    1, 0, 0, 0, 28,   0,    0, 0,                                     /* port, size of the chunk */
    1, 0, 0, 0, 6,    0,    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, /* ANNOUNCE, 8 bytes */
    1, 0, 0, 0, 0x67, 0x01, 0, 0,                                     /* ask; 0 1 2 5 6 8 */
};
static const uint8_t g_grab[] = {
    1, 0, 0, 0, 32, 0, 0, 0,                                      /* chunk */
    1, 0, 0, 0, 7,  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, /* GRAB, 12 bytes */
    0, 0, 0, 0, 2,  0, 0, 0, 1, 0, 0, 0,                          /* selection; PNG, UTF-8 */
};
static const uint8_t g_text[] = {
    1, 0, 0, 0,  33, 0, 0, 0, /* chunk */
    1, 0, 0, 0,  4,  0, 0, 0, 0,   0,   0,   0,   0,
    0, 0, 0, 13, 0,  0, 0, /* CLIPBOARD, 13 bytes */
    0, 0, 0, 0,  1,  0, 0, 0, 'h', 'e', 'l', 'l', 'o',
};

/* Feeds `step` bytes at a time and returns how many messages there were; the last is in *last, its
 * data in copy. */
static int feed(mvm__vdagent_reader *r, const void *data, size_t len, size_t step,
                mvm__vdagent_msg *last, mvm__buf *copy)
{
    int n = 0;

    for (size_t at = 0, used; at < len; at += used) {
        mvm__vdagent_msg msg;
        int rc =
            mvm__vdagent_read(r, (const char *)data + at, MVM_MIN(step, len - at), &used, &msg);
        if (rc < 0)
            return -1;
        assert_true(used > 0);
        if (rc == 0)
            continue;
        n++;
        *last = msg;
        mvm__buf_free(copy);
        mvm__buf_append(copy, msg.data, msg.len);
        last->data = (const uint8_t *)mvm__buf_ptr(copy);
    }
    return n;
}

static void test_messages_in_any_cut(void **state)
{
    (void)state;
    for (size_t step = 1; step < 40; step++) {
        mvm__vdagent_reader r = {0};
        mvm__vdagent_msg msg;
        mvm__vdagent_event event;
        mvm__buf copy = {0};

        assert_int_equal(1, feed(&r, g_announce, sizeof(g_announce), step, &msg, &copy));
        assert_true(mvm__vdagent_parse(&msg, false, &event));
        assert_true(event.answer);
        assert_int_equal(0x167, event.caps);
        assert_int_equal(1, feed(&r, g_grab, sizeof(g_grab), step, &msg, &copy));
        assert_true(mvm__vdagent_parse(&msg, true, &event));
        assert_int_equal(0, event.selection);
        assert_true(event.has_text);
        assert_int_equal(1, feed(&r, g_text, sizeof(g_text), step, &msg, &copy));
        assert_true(mvm__vdagent_parse(&msg, true, &event));
        assert_int_equal(MVM__VDAGENT_UTF8, event.kind);
        assert_int_equal(5, event.len);
        assert_memory_equal("hello", event.text, 5);
        mvm__vdagent_free(&r);
        mvm__buf_free(&copy);
    }
}

/* What is not about the clipboard, and the other port, are passed over. */
static void test_others_are_passed_over(void **state)
{
    uint8_t other[sizeof(g_text)], server[sizeof(g_text)];
    mvm__vdagent_reader r = {0};
    mvm__vdagent_msg msg;
    mvm__buf copy = {0}, all = {0};

    (void)state;
    memcpy(other, g_text, sizeof(g_text));
    other[12] = 15; /* AUDIO_VOLUME_SYNC */
    memcpy(server, g_text, sizeof(g_text));
    server[0] = 2;
    mvm__buf_append(&all, other, sizeof(other));
    mvm__buf_append(&all, server, sizeof(server));
    mvm__buf_append(&all, "\1\0\0\0\0\0\0\0", 8); /* an empty chunk */
    mvm__buf_append(&all, g_grab, sizeof(g_grab));
    assert_int_equal(1, feed(&r, mvm__buf_ptr(&all), mvm__buf_len(&all), 7, &msg, &copy));
    assert_int_equal(MVM__VDAGENT_GRAB, msg.type);
    mvm__vdagent_free(&r);
    mvm__buf_free(&copy);
    mvm__buf_free(&all);
}

/* A message of many chunks, the other port's in between. */
static void test_chunks_of_a_message(void **state)
{
    mvm__vdagent_reader r = {0};
    mvm__vdagent_msg msg;
    mvm__vdagent_event event;
    mvm__buf copy = {0}, all = {0};

    (void)state;
    for (size_t i = 8; i < sizeof(g_text); i++) {
        mvm__buf_append(&all, "\2\0\0\0\3\0\0\0xyz", 11);
        mvm__buf_append(&all, "\1\0\0\0\1\0\0\0", 8);
        mvm__buf_append(&all, g_text + i, 1);
    }
    assert_int_equal(1, feed(&r, mvm__buf_ptr(&all), mvm__buf_len(&all), 1000, &msg, &copy));
    assert_true(mvm__vdagent_parse(&msg, true, &event));
    assert_int_equal(5, event.len);
    mvm__vdagent_free(&r);
    mvm__buf_free(&copy);
    mvm__buf_free(&all);
}

/* More text than is kept is counted, not stored, and what follows is understood. */
static void test_too_much_text(void **state)
{
    mvm__vdagent_reader r = {0};
    mvm__vdagent_msg msg;
    mvm__buf copy = {0};
    uint32_t size = MVM__VDAGENT_TEXT_MAX + 9;
    uint8_t head[28];
    static const char filler[4096];

    (void)state;
    memcpy(head, g_text, sizeof(head));
    for (int i = 0; i < 4; i++) {
        head[4 + i] = (uint8_t)((size + 20) >> 8 * i);
        head[24 + i] = (uint8_t)(size >> 8 * i);
    }
    assert_int_equal(0, feed(&r, head, sizeof(head), sizeof(head), &msg, &copy));
    size_t left = size;
    int got = 0;
    for (size_t n; left > 0; left -= n) {
        n = MVM_MIN(left, sizeof(filler));
        assert_int_equal(0, got);
        got = feed(&r, filler, n, n, &msg, &copy);
        assert_int_equal(0, mvm__buf_len(&r.data));
    }
    assert_int_equal(1, got);
    assert_true(msg.dropped);
    assert_int_equal(0, msg.len);
    assert_int_equal(1, feed(&r, g_grab, sizeof(g_grab), 5, &msg, &copy));
    assert_false(msg.dropped);
    mvm__vdagent_free(&r);
    mvm__buf_free(&copy);
}

static void test_no_such_protocol(void **state)
{
    static const struct {
        size_t at;
        uint8_t value;
    } wrong[] = {{0, 0}, {0, 3}, {3, 1}, {8, 0}, {8, 2}, {11, 1}};

    (void)state;
    for (size_t i = 0; i < MVM_COUNT(wrong); i++) {
        mvm__vdagent_reader r = {0};
        mvm__vdagent_msg msg;
        mvm__buf copy = {0};
        uint8_t bytes[sizeof(g_text)];

        memcpy(bytes, g_text, sizeof(bytes));
        bytes[wrong[i].at] = wrong[i].value;
        assert_int_equal(-1, feed(&r, bytes, sizeof(bytes), 3, &msg, &copy));
        assert_non_null(r.broken);
        assert_int_equal(-1, feed(&r, g_grab, sizeof(g_grab), 3, &msg, &copy)); /* for good */
        mvm__vdagent_free(&r);
        mvm__buf_free(&copy);
    }
}

static void test_too_short(void **state)
{
    static const struct {
        uint32_t type;
        size_t len;
        bool selections, holds;
    } cases[] = {
        {MVM__VDAGENT_ANNOUNCE, 3, true, false},  {MVM__VDAGENT_ANNOUNCE, 4, true, true},
        {MVM__VDAGENT_GRAB, 3, true, false},      {MVM__VDAGENT_GRAB, 4, true, true},
        {MVM__VDAGENT_GRAB, 0, false, true},      {MVM__VDAGENT_GRAB, 7, true, true},
        {MVM__VDAGENT_RELEASE, 3, true, false},   {MVM__VDAGENT_RELEASE, 0, false, true},
        {MVM__VDAGENT_REQUEST, 7, true, false},   {MVM__VDAGENT_REQUEST, 8, true, true},
        {MVM__VDAGENT_REQUEST, 3, false, false},  {MVM__VDAGENT_REQUEST, 4, false, true},
        {MVM__VDAGENT_CLIPBOARD, 7, true, false}, {MVM__VDAGENT_CLIPBOARD, 8, true, true},
    };
    static const uint8_t zero[16];

    (void)state;
    for (size_t i = 0; i < MVM_COUNT(cases); i++) {
        mvm__vdagent_msg msg = {.type = cases[i].type, .data = zero, .len = cases[i].len};
        mvm__vdagent_event event;
        assert_int_equal(cases[i].holds, mvm__vdagent_parse(&msg, cases[i].selections, &event));
        assert_int_equal(0, event.len);
    }
}

/* Ours, as bytes: what the guest's daemon wants. */
static void test_what_is_sent(void **state)
{
    static const uint8_t announce[] = {
        1, 0, 0, 0, 28, 0, 0, 0, 1, 0, 0, 0, 6, 0, 0,    0, 0, 0,
        0, 0, 0, 0, 0,  0, 8, 0, 0, 0, 1, 0, 0, 0, 0x60, 0, 0, 0,
    };
    static const uint8_t request[] = {
        1, 0, 0, 0, 28, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0,  0, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0,
    };
    mvm__buf out = {0};

    (void)state;
    mvm__vdagent_put_announce(&out, true);
    assert_int_equal(sizeof(announce), mvm__buf_len(&out));
    assert_memory_equal(announce, mvm__buf_ptr(&out), sizeof(announce));
    mvm__buf_free(&out);
    mvm__vdagent_put_request(&out, true);
    assert_int_equal(sizeof(request), mvm__buf_len(&out));
    assert_memory_equal(request, mvm__buf_ptr(&out), sizeof(request));
    mvm__buf_free(&out);
    mvm__vdagent_put_grab(&out, false);
    assert_int_equal(8 + 20 + 4, mvm__buf_len(&out));
    mvm__buf_free(&out);
    mvm__vdagent_put_release(&out, false);
    assert_int_equal(8 + 20, mvm__buf_len(&out));
    mvm__buf_free(&out);
}

/* Long text goes in chunks of at most 2048 bytes, and comes together again. */
static void test_there_and_back(void **state)
{
    static const size_t lengths[] = {0, 1, 2019, 2020, 2021, 4068, 4069, 100000, 1u << 20};

    (void)state;
    for (size_t i = 0; i < MVM_COUNT(lengths); i++) {
        mvm__vdagent_reader r = {0};
        mvm__vdagent_msg msg;
        mvm__vdagent_event event;
        mvm__buf out = {0}, copy = {0};
        char *text = mvm__alloc(lengths[i] + 1);

        for (size_t k = 0; k < lengths[i]; k++)
            text[k] = (char)('a' + k % 23);
        mvm__vdagent_put_data(&out, true, 1, MVM__VDAGENT_UTF8, text, lengths[i]);
        for (size_t at = 0; at < mvm__buf_len(&out);) {
            const uint8_t *chunk = (const uint8_t *)mvm__buf_ptr(&out) + at;
            size_t size = (size_t)chunk[4] | (size_t)chunk[5] << 8 | (size_t)chunk[6] << 16;
            assert_in_range(size, 1, 2048);
            at += 8 + size;
            assert_true(at <= mvm__buf_len(&out));
        }
        assert_int_equal(1, feed(&r, mvm__buf_ptr(&out), mvm__buf_len(&out), 65536, &msg, &copy));
        assert_true(mvm__vdagent_parse(&msg, true, &event));
        assert_int_equal(1, event.selection);
        assert_int_equal(lengths[i], event.len);
        assert_memory_equal(text, event.text, lengths[i]);
        mvm__free(text);
        mvm__vdagent_free(&r);
        mvm__buf_free(&out);
        mvm__buf_free(&copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_in_any_cut), cmocka_unit_test(test_others_are_passed_over),
        cmocka_unit_test(test_chunks_of_a_message), cmocka_unit_test(test_too_much_text),
        cmocka_unit_test(test_no_such_protocol),    cmocka_unit_test(test_too_short),
        cmocka_unit_test(test_what_is_sent),        cmocka_unit_test(test_there_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
