/* SPDX-License-Identifier: MIT */
/* The QMP codec: kinds of messages, lines in pieces, and everything that a hostile peer may send.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "wire/qmp_wire.h"

#define GREETING                                                                                   \
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "             \
    "\"package\": \"Debian\"}, \"capabilities\": [\"oob\"]}}\r\n"

static const struct {
    const char *line;
    int rc; /* of the first mvm_qmp_next */
    enum mvm_qmp_kind kind;
    int64_t id;
    const char *name, *text;
} g_cases[] = {
    {GREETING, 1, MVM_QMP_GREETING, -1, "7.2.22", ""},
    {"{\"return\": {}, \"id\": 7}\n", 1, MVM_QMP_RETURN, 7, "", ""},
    {"{\"return\": [1, 2]}\n", 1, MVM_QMP_RETURN, -1, "", ""},
    {"{\"return\": {}, \"id\": \"seven\"}\n", 1, MVM_QMP_RETURN, -1, "", ""},
    {"{\"id\": 8, \"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n", 1, MVM_QMP_ERROR,
     8, "GenericError", "no"},
    {"{\"error\": {\"class\": 5}}\n", 1, MVM_QMP_ERROR, -1, "", ""},
    {"{\"event\": \"STOP\", \"timestamp\": {\"seconds\": 1}}\n", 1, MVM_QMP_EVENT, -1, "STOP", ""},
    {"\r\n  \n{\"event\": \"A\"}\n", 1, MVM_QMP_EVENT, -1, "A", ""},
    {"{\"event\": \"[[[{{{\\\"\"}\n", 1, MVM_QMP_EVENT, -1, "[[[{{{\"", ""},
    {"{\"event\": \"half", 0, MVM_QMP_EVENT, 0, "", ""},
    {"", 0, MVM_QMP_EVENT, 0, "", ""},
    {"\n", 0, MVM_QMP_EVENT, 0, "", ""},
    {"{}\n", MVM_EBACKEND, MVM_QMP_EVENT, 0, "", ""},
    {"[]\n", MVM_EBACKEND, MVM_QMP_EVENT, 0, "", ""},
    {"{\"event\": 5}\n", MVM_EBACKEND, MVM_QMP_EVENT, 0, "", ""},
    {"{\"event\": \"\"}\n", MVM_EBACKEND, MVM_QMP_EVENT, 0, "", ""},
    {"{\"QMP\": 5}\n", MVM_EBACKEND, MVM_QMP_EVENT, 0, "", ""},
    {"{\"error\": \"x\"}\n", MVM_EBACKEND, MVM_QMP_EVENT, 0, "", ""},
    {"{\"event\": \"A\"} {\"event\": \"B\"}\n", MVM_EBACKEND, MVM_QMP_EVENT, 0, "", ""},
    {"{\"event\": \"A\", \"event\": \"B\"}\n", MVM_EBACKEND, MVM_QMP_EVENT, 0, "", ""},
    {"{\"event\": \"\\u0000\"}\n", MVM_EBACKEND, MVM_QMP_EVENT, 0, "", ""},
    {"{\"event\": \"\xff\xfe\"}\n", MVM_EBACKEND, MVM_QMP_EVENT, 0, "", ""},
    {"garbage\n", MVM_EBACKEND, MVM_QMP_EVENT, 0, "", ""},
    {"\x01\x02\x03\n", MVM_EBACKEND, MVM_QMP_EVENT, 0, "", ""},
};

static void test_messages(void **state)
{
    (void)state;
    for (size_t i = 0; i < MVM_COUNT(g_cases); i++) {
        mvm_qmp_parser parser = {0};
        mvm_qmp_msg msg;
        mvm_err err;
        mvm_qmp_feed(&parser, g_cases[i].line, strlen(g_cases[i].line));
        int rc = mvm_qmp_next(&parser, &msg, &err);
        if (rc != g_cases[i].rc)
            fail_msg("%s gives %d", g_cases[i].line, rc);
        if (rc == 1) {
            assert_int_equal(g_cases[i].kind, msg.kind);
            assert_int_equal(g_cases[i].id, msg.id);
            assert_string_equal(g_cases[i].name, msg.name);
            assert_string_equal(g_cases[i].text, msg.text);
            mvm_qmp_msg_free(&msg);
        }
        mvm_qmp_parser_free(&parser);
    }
}

static void test_bytes_one_by_one(void **state)
{
    static const char text[] = GREETING "{\"return\": {\"a\": {\"b\": 5}}, \"id\": 1}\n";
    mvm_qmp_parser parser = {0};
    mvm_qmp_msg msg;
    mvm_err err;
    int seen = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        mvm_qmp_feed(&parser, text + i, 1);
        while (mvm_qmp_next(&parser, &msg, &err) == 1) {
            if (++seen == 2)
                assert_int_equal(5, mvm_qmp_int(mvm_qmp_get(msg.data, "a"), "b", 0));
            mvm_qmp_msg_free(&msg);
        }
    }
    assert_int_equal(2, seen);
    mvm_qmp_parser_free(&parser);
}

static void test_several_in_one_piece(void **state)
{
    static const char text[] =
        "{\"event\": \"A\"}\n{\"event\": \"B\"}\nrubbish\n{\"event\": \"C\"}\n";
    mvm_qmp_parser parser = {0};
    mvm_qmp_msg msg;
    mvm_err err;

    (void)state;
    mvm_qmp_feed(&parser, text, sizeof(text) - 1);
    for (const char *const *name = (const char *const[]){"A", "B", NULL}; *name; name++) {
        assert_int_equal(1, mvm_qmp_next(&parser, &msg, &err));
        assert_string_equal(*name, msg.name);
        mvm_qmp_msg_free(&msg);
    }
    assert_int_equal(MVM_EBACKEND, mvm_qmp_next(&parser, &msg, &err));
    /* A broken stream stays broken, whatever comes. */
    mvm_qmp_feed(&parser, text, sizeof(text) - 1);
    assert_int_equal(MVM_EBACKEND, mvm_qmp_next(&parser, &msg, &err));
    mvm_qmp_parser_free(&parser);
}

/* Feeds `count` times `piece` without a newline, until the parser refuses. */
static int feed_many(const char *piece, size_t len, size_t count, bool newline)
{
    mvm_qmp_parser parser = {0};
    mvm_qmp_msg msg;
    mvm_err err;
    int rc = 0;

    for (size_t i = 0; i < count && rc == 0; i++) {
        mvm_qmp_feed(&parser, piece, len);
        rc = mvm_qmp_next(&parser, &msg, &err);
    }
    if (newline && rc == 0) {
        mvm_qmp_feed(&parser, "\n", 1);
        rc = mvm_qmp_next(&parser, &msg, &err);
    }
    mvm_qmp_parser_free(&parser);
    return rc;
}

static void test_bounds(void **state)
{
    static char block[65536];

    (void)state;
    memset(block, ' ', sizeof(block));
    assert_int_equal(0, feed_many(block, sizeof(block), MVM_QMP_LINE_MAX / sizeof(block), true));
    assert_int_equal(MVM_EBACKEND,
                     feed_many(block, sizeof(block), MVM_QMP_LINE_MAX / sizeof(block) + 1, false));
    assert_int_equal(MVM_EBACKEND, feed_many("[", 1, MVM_QMP_DEPTH_MAX + 1, true));
    assert_int_equal(MVM_EBACKEND, feed_many("{\"a\":", 5, 100000, true));
}

static char *command(size_t *len, int64_t id, const char *name, const char *pack, ...)
{
    va_list args;

    va_start(args, pack);
    char *line = mvm_qmp_command(id, name, pack, args, len);
    va_end(args);
    return line;
}

static void test_commands(void **state)
{
    size_t len = 0;
    char *line = command(&len, 3, "stop", NULL);

    (void)state;
    assert_string_equal("{\"execute\":\"stop\",\"id\":3}\n", line);
    assert_int_equal(strlen(line), len);
    free(line);
    line = command(&len, 4, "device_del", "{s:s}", "id", "a\n\"b");
    assert_string_equal(
        "{\"execute\":\"device_del\",\"id\":4,\"arguments\":{\"id\":\"a\\n\\\"b\"}}\n", line);
    free(line);
    /* A text that is no UTF-8 can't be JSON. */
    assert_null(command(&len, 5, "device_del", "{s:s}", "id", "\xff"));
}

static void test_values_of_another_type(void **state)
{
    static const char text[] =
        "{\"return\": {\"n\": 5, \"s\": \"x\", \"t\": true, \"l\": [1]}, \"id\": 1}\n";
    mvm_qmp_parser parser = {0};
    mvm_qmp_msg msg;
    mvm_err err;

    (void)state;
    mvm_qmp_feed(&parser, text, sizeof(text) - 1);
    assert_int_equal(1, mvm_qmp_next(&parser, &msg, &err));
    assert_int_equal(5, mvm_qmp_int(msg.data, "n", -1));
    assert_int_equal(-1, mvm_qmp_int(msg.data, "s", -1));
    assert_int_equal(-1, mvm_qmp_int(msg.data, "none", -1));
    assert_string_equal("x", mvm_qmp_str(msg.data, "s"));
    assert_string_equal("", mvm_qmp_str(msg.data, "n"));
    assert_true(mvm_qmp_bool(msg.data, "t"));
    assert_false(mvm_qmp_bool(msg.data, "n"));
    assert_null(mvm_qmp_at(mvm_qmp_get(msg.data, "l"), 1));
    assert_null(mvm_qmp_at(msg.data, 0));
    assert_null(mvm_qmp_get(NULL, "a"));
    assert_string_equal("", mvm_qmp_str(NULL, "a"));
    mvm_qmp_msg_free(&msg);
    mvm_qmp_parser_free(&parser);
}

/* All ones without a sign, as QEMU writes "not known": the message is read, the number is none. */
static void test_numbers_out_of_range(void **state)
{
    static const char text[] =
        "{\"return\": {\"n\": 18446744073709551615, \"small\": 4096, \"half\": 0.5}, \"id\": 7}\n";
    mvm_qmp_parser parser = {0};
    mvm_qmp_msg msg;
    mvm_err err;

    (void)state;
    mvm_qmp_feed(&parser, text, sizeof(text) - 1);
    assert_int_equal(1, mvm_qmp_next(&parser, &msg, &err));
    assert_int_equal(7, msg.id);
    assert_int_equal(-1, mvm_qmp_int(msg.data, "n", -1));
    assert_int_equal(4096, mvm_qmp_int(msg.data, "small", -1));
    assert_int_equal(-1, mvm_qmp_int(msg.data, "half", -1));
    mvm_qmp_msg_free(&msg);
    mvm_qmp_parser_free(&parser);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_bytes_one_by_one),
        cmocka_unit_test(test_several_in_one_piece),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_values_of_another_type),
        cmocka_unit_test(test_numbers_out_of_range),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
