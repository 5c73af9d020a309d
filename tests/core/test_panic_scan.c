/* SPDX-License-Identifier: MIT */
/* The kernel's reports of its own death, found in console lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "wire/panic_scan.h"

static bool feed(mvm__panic_scan *scan, const char *line)
{
    return mvm__panic_line(scan, line, strlen(line));
}

static const struct {
    const char *line;
    bool begins;
} g_lines[] = {
    {"[    1.234567] Kernel panic - not syncing: VFS: Unable to mount root fs", true},
    {"[12345.678901] Kernel panic - not syncing: Attempted to kill init!", true},
    {"<0>[    1.234567] Kernel panic - not syncing: x", true},
    {"<1>BUG: unable to handle page fault", true},
    {"[    1.234567][    T1] Kernel panic - not syncing: x", true},
    {"[    1.234567][    C0] watchdog: BUG: soft lockup - CPU#0 stuck for 22s!", true},
    {"[    1.234567] BUG: kernel NULL pointer dereference, address: 0000000000000000", true},
    {"[    1.234567] BUG: KASAN: use-after-free in f+0x1/0x2", true},
    {"[    1.234567] Oops: 0002 [#1] PREEMPT SMP PTI", true},
    {"[    1.234567] general protection fault, probably for non-canonical address", true},
    {"[    1.234567] Unable to handle kernel paging request at virtual address 0", true},
    {"[    1.234567] Internal error: Oops: 0000000096000004 [#1] SMP", true},
    {"[    1.234567] kernel BUG at mm/slab.c:1!", true},
    {"~ # [    1.234567] BUG: scheduling while atomic", true},
    {"Kernel panic - not syncing: said a program", false},
    {"+ echo Kernel panic - not syncing", false},
    {"[    1.2345] Kernel panic - not syncing", false},
    {"[1] Kernel panic - not syncing", false},
    {"[    1.234567] systemd[1]: BUG: not the kernel's", false},
    {"[    1.234567] Command line: panic=-1 oops=panic", false},
    {"[    1.234567]", false},
    {"[", false},
    {"<", false},
    {"<0>", false},
    {"[    1.234567", false},
    {"[    1.234567][    T", false},
    {"", false},
};

static void test_what_begins_a_report(void **state)
{
    (void)state;
    for (size_t i = 0; i < MVM_COUNT(g_lines); i++) {
        mvm__panic_scan scan = {0};
        assert_false(feed(&scan, g_lines[i].line));
        if (mvm__panic_inside(&scan) != g_lines[i].begins)
            fail_msg("wrong about: %s", g_lines[i].line);
        assert_int_equal(mvm__panic_end(&scan), g_lines[i].begins);
        assert_false(mvm__panic_end(&scan));
        mvm__panic_free(&scan);
    }
}

static void test_report_ends_with_its_marker(void **state)
{
    mvm__panic_scan scan = {0};

    (void)state;
    assert_false(feed(&scan, "[    1.000000] Run /init as init process"));
    assert_false(feed(&scan, "[    1.000001] Kernel panic - not syncing: sysrq"));
    assert_false(feed(&scan, "[    1.000002] CPU: 0 PID: 1 Comm: init"));
    assert_false(feed(&scan, "a line of a program"));
    assert_true(feed(&scan, "[    1.000003] ---[ end Kernel panic - not syncing: sysrq ]---"));
    assert_string_equal(mvm__buf_str(&scan.text),
                        "[    1.000001] Kernel panic - not syncing: sysrq\n"
                        "[    1.000002] CPU: 0 PID: 1 Comm: init\n"
                        "a line of a program\n"
                        "[    1.000003] ---[ end Kernel panic - not syncing: sysrq ]---");
    assert_false(feed(&scan, "[    1.000004] more"));
    assert_false(mvm__panic_end(&scan));
    mvm__panic_free(&scan);
}

static void test_two_reports(void **state)
{
    mvm__panic_scan scan = {0};

    (void)state;
    feed(&scan, "[    1.000001] BUG: kernel NULL pointer dereference, address: 0");
    feed(&scan, "[    1.000002] Oops: 0002 [#1] SMP");
    assert_true(feed(&scan, "[    1.000003] ---[ end trace 0000000000000000 ]---"));
    assert_non_null(strstr(mvm__buf_str(&scan.text), "Oops: 0002"));
    feed(&scan, "[    1.000004] Kernel panic - not syncing: Fatal exception");
    assert_true(mvm__panic_end(&scan));
    assert_string_equal(mvm__buf_str(&scan.text),
                        "[    1.000004] Kernel panic - not syncing: Fatal exception");
    mvm__panic_free(&scan);
}

static void test_report_is_bounded(void **state)
{
    mvm__panic_scan scan = {0};
    static char wide[4000];
    unsigned lines = 1;

    (void)state;
    feed(&scan, "[    1.000001] BUG: many lines");
    while (!feed(&scan, "[    1.000002]  f+0x1/0x2"))
        lines++;
    assert_int_equal(lines + 1, MVM__PANIC_LINES);
    feed(&scan, "[    1.000003] BUG: wide lines");
    memset(wide, 'x', sizeof(wide));
    lines = 0;
    while (!mvm__panic_line(&scan, wide, sizeof(wide)))
        lines++;
    assert_int_equal(lines, MVM__PANIC_BYTES / sizeof(wide));
    assert_true(mvm__buf_len(&scan.text) <= MVM__PANIC_BYTES);
    mvm__panic_free(&scan);
}

static void test_the_next_boot_ends_a_report(void **state)
{
    mvm__panic_scan scan = {0};

    (void)state;
    feed(&scan, "[    1.000001] Kernel panic - not syncing: x");
    assert_true(feed(&scan, "[    0.000000] Linux version 6.1.0-9-amd64"));
    assert_null(strstr(mvm__buf_str(&scan.text), "Linux version"));
    assert_false(mvm__panic_inside(&scan));
    mvm__panic_free(&scan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_begins_a_report),
        cmocka_unit_test(test_report_ends_with_its_marker),
        cmocka_unit_test(test_two_reports),
        cmocka_unit_test(test_report_is_bounded),
        cmocka_unit_test(test_the_next_boot_ends_a_report),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
