/* SPDX-License-Identifier: MIT */
/* How what is typed falls into keys. The terminal itself is tests/cli/repl_test.lua. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "io/lineedit.h"

static void test_keys(void **state)
{
    static const struct {
        const char *typed;
        size_t key;
    } cases[] = {
        {"a", 1},
        {"ab", 1},
        {"\t", 1},
        {"\r", 1},
        {"\xc3\xa9x", 2},         /* two bytes of UTF-8 */
        {"\xc3", 0},              /* one of them */
        {"\xe2\x82\xac", 3},      /* three */
        {"\xf0\x9f\x98\x80!", 4}, /* four */
        {"\xf0\x9f\x98", 0},
        {"\x80z", 1}, /* no beginning of a character */
        {"\033", 0},
        {"\033f", 2}, /* Meta-f */
        {"\033\xc3", 0},
        {"\033\xc3\xa9", 3},
        {"\033[", 0},
        {"\033[A", 3},
        {"\033[Aa", 3},
        {"\033[3~", 4},
        {"\033[1;5", 0},
        {"\033[1;5Cx", 6},
        {"\033O", 0},
        {"\033OH", 3},
        {"\026", 0}, /* quote the next one */
        {"\026\xc3\xa9", 3},
        {"\030\030", 2},
    };

    (void)state;
    for (size_t i = 0; i < MVM_COUNT(cases); i++)
        assert_int_equal(mvm__lineedit_split(cases[i].typed, strlen(cases[i].typed)), cases[i].key);
}

/* Whatever comes: a key is within what is there and within the longest key there is, and only a
 * short beginning can be left waiting for more. */
static void test_any_bytes(void **state)
{
    unsigned seed = 1;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        char bytes[80];
        size_t len = 1 + (size_t)round % sizeof(bytes);
        for (size_t i = 0; i < len; i++) {
            seed = seed * 1664525u + 1013904223u;
            bytes[i] = (char)(seed >> 24);
        }
        if (round % 3 == 0)
            memset(bytes, '0', len);
        if (round % 2 == 0)
            memcpy(bytes, "\033[", len < 2 ? 1 : 2);
        size_t key = mvm__lineedit_split(bytes, len);
        assert_true(key <= len && key <= MVM__KEY_MAX);
        assert_true(key > 0 || len < MVM__KEY_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_any_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
