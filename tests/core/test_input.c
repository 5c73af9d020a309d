/* SPDX-License-Identifier: MIT */
/* Text and names of keys as key events: the US layout, chords, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/buf.h"
#include "mvm/input.h"

/* "+shift +a -a -shift @10,20 +left -left" */
static void check_events(const mvm_inputs *list, const char *expected)
{
    mvm__buf out = {0};

    for (size_t i = 0; i < list->n; i++) {
        const mvm_input *e = &list->items[i];
        const char *gap = i ? " " : "";
        if (e->kind == MVM_INPUT_MOVE)
            mvm__buf_printf(&out, "%s@%d,%d", gap, e->x, e->y);
        else
            mvm__buf_printf(&out, "%s%c%s", gap, e->down ? '+' : '-', e->name);
    }
    assert_string_equal(expected, mvm__buf_str(&out));
    mvm__buf_free(&out);
}

static void types(const char *text, const char *expected)
{
    mvm_inputs list = {0};
    mvm_err err;

    assert_int_equal(0, mvm_input_text(text, strlen(text), &list, &err));
    check_events(&list, expected);
    mvm_inputs_free(&list);
}

static void presses(const char *chord, const char *expected)
{
    mvm_inputs list = {0};
    mvm_err err;

    assert_int_equal(0, mvm_input_chord(chord, &list, &err));
    check_events(&list, expected);
    mvm_inputs_free(&list);
}

static void test_text(void **state)
{
    (void)state;
    types("", "");
    types("aZ", "+a -a +shift +z -z -shift");
    types("0)9(", "+0 -0 +shift +0 -0 -shift +9 -9 +shift +9 -9 -shift");
    types("\n\t ", "+ret -ret +tab -tab +spc -spc");
    types("-_", "+minus -minus +shift +minus -minus -shift");
    types("'\"", "+apostrophe -apostrophe +shift +apostrophe -apostrophe -shift");
    types("@", "+shift +2 -2 -shift");
}

/* Every printable character has a key, no two the same key with the same shift. */
static void test_every_character(void **state)
{
    char seen[95][32] = {{0}};
    mvm_err err;

    (void)state;
    for (int c = 32; c < 127; c++) {
        mvm_inputs list = {0};
        char text[2] = {(char)c, '\0'};
        assert_int_equal(0, mvm_input_text(text, 1, &list, &err));
        bool shift = list.n == 4;
        assert_true(shift || list.n == 2);
        snprintf(seen[c - 32], sizeof(seen[0]), "%d %s", shift, list.items[shift].name);
        for (int before = 0; before < c - 32; before++)
            assert_string_not_equal(seen[before], seen[c - 32]);
        mvm_inputs_free(&list);
    }
}

static void refuses_text(const char *text, size_t len, const char *message)
{
    mvm_inputs list = {0};
    mvm_err err;

    mvm_input_move(1, 2, &list);
    assert_int_equal(MVM_ECONFIG, mvm_input_text(text, len, &list, &err));
    assert_non_null(strstr(err.message, message));
    check_events(&list, "@1,2"); /* nothing was added */
    mvm_inputs_free(&list);
}

static void test_text_without_keys(void **state)
{
    (void)state;
    refuses_text("caf\xc3\xa9", 5, "no key for \"\xc3\xa9\" (character 4)");
    refuses_text("\xf0\x9f\x98\x80", 4, "\"\xf0\x9f\x98\x80\"");
    refuses_text("\xf0\x9f", 2, "byte 0xf0"); /* cut off: not looked beyond */
    refuses_text("a\xff", 2, "byte 0xff");
    refuses_text("a\0b", 3, "byte 0x00 (character 2)");
    refuses_text("\x1b[A", 3, "byte 0x1b");
    refuses_text("\x7f", 1, "byte 0x7f");
    refuses_text("\r", 1, "byte 0x0d");

    char *long_text = mvm__alloc(65537);
    memset(long_text, 'x', 65537);
    refuses_text(long_text, 65537, "at most 65536");
    mvm__free(long_text);
}

static void test_chords(void **state)
{
    (void)state;
    presses("ctrl-alt-delete", "+ctrl +alt +delete -delete -alt -ctrl");
    presses("Ctrl+Alt+Del", "+ctrl +alt +delete -delete -alt -ctrl");
    presses("enter", "+ret -ret");
    presses("a", "+a -a");
    presses("ctrl-C", "+ctrl +c -c -ctrl"); /* case does not matter ... */
    presses("shift-c", "+shift +c -c -shift");
    presses("ctrl-!", "+ctrl +shift +1 -1 -shift -ctrl"); /* ... where a shift needs no saying */
    presses("shift-!", "+shift +1 -1 -shift");
    presses("-", "+minus -minus");
    presses("ctrl--", "+ctrl +minus -minus -ctrl");
    presses("ctrl-+", "+ctrl +shift +equal -equal -shift -ctrl");
    presses("PAGE_UP", "+pgup -pgup");
    presses("caps_lock", "+caps_lock -caps_lock");
    presses("super-f12", "+meta_l +f12 -f12 -meta_l");
    presses("ctrl-ctrl-a", "+ctrl +a -a -ctrl"); /* held once */
}

static void refuses_chord(const char *chord, const char *message, const char *hint)
{
    mvm_inputs list = {0};
    mvm_err err;

    assert_int_equal(MVM_ECONFIG, mvm_input_chord(chord, &list, &err));
    assert_non_null(strstr(err.message, message));
    assert_non_null(strstr(err.hint, hint));
    assert_int_equal(0, list.n);
    mvm_inputs_free(&list);
}

static void test_wrong_chords(void **state)
{
    (void)state;
    refuses_chord("", "lacks", "");
    refuses_chord("ctrl-", "lacks", "");
    refuses_chord("ctrl-delte", "no key \"delte\"", "\"delete\"");
    refuses_chord("ENTRE", "no key \"ENTRE\"", "\"enter\"");
    refuses_chord("hyper", "no key \"hyper\"", "");
    refuses_chord("\xc3\xa9", "no key", "such as");
    refuses_chord("a-name-that-is-far-too-long-for-any-key-whatever", "no key", "");
    refuses_chord("averyveryveryverylongname_indeed", "no key", "");
    refuses_chord("a-b-c-d-e-f-g-h-i", "more than 8 keys", "");
    refuses_chord("a-b-c-d-e-f-g-h-!", "more than 8 keys", "");
}

static void test_pointer(void **state)
{
    mvm_inputs list = {0};
    mvm_err err;

    (void)state;
    mvm_input_move(10, 20, &list);
    assert_int_equal(0, mvm_input_click("left", 2, &list, &err));
    check_events(&list, "@10,20 +left -left +left -left");
    assert_int_equal(MVM_ECONFIG, mvm_input_click("lft", 1, &list, &err));
    assert_string_equal("button", err.field);
    assert_string_equal("did you mean \"left\"?", err.hint);
    assert_int_equal(5, list.n);
    mvm_inputs_free(&list);
    assert_int_equal(0, list.n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_every_character),
        cmocka_unit_test(test_text_without_keys),
        cmocka_unit_test(test_chords),
        cmocka_unit_test(test_wrong_chords),
        cmocka_unit_test(test_pointer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
