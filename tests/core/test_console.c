/* SPDX-License-Identifier: MIT */
/* The console of a machine: what is kept, told, logged and typed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "mvm/console.h"
#include "mvm/log.h"
#include "support/fake_vm.h"

#define MIB (1u << 20)

static int setup(void **state)
{
    mvm_vm *vm = fake_new();

    vm->console = mvm__console_new(vm, NULL);
    *state = vm;
    return 0;
}

static int teardown(void **state)
{
    mvm_vm *vm = *state;

    mvm__console_free(vm->console);
    assert_int_equal(fake_free(vm), 0);
    return 0;
}

static void print(mvm_vm *vm, const char *text)
{
    mvm__console_data(vm->console, text, strlen(text));
}

static void test_text_and_positions(void **state)
{
    mvm_vm *vm = *state;
    uint64_t pos = 0;
    size_t len;

    assert_string_equal(mvm_console_text(vm->console, &pos, &len), "");
    print(vm, "hello ");
    print(vm, "world");
    assert_int_equal(mvm_console_end(vm->console), 11);
    assert_memory_equal(mvm_console_text(vm->console, &pos, &len), "hello world", 11);
    pos = 6;
    assert_memory_equal(mvm_console_text(vm->console, &pos, &len), "world", 5);
    pos = 99;
    mvm_console_text(vm->console, &pos, &len);
    assert_int_equal(pos, 11);
    assert_int_equal(len, 0);
}

static void test_only_the_last_mib_is_kept(void **state)
{
    mvm_vm *vm = *state;
    static char block[3000];
    uint64_t pos = 0, total = 0;
    size_t len;

    for (int i = 0; i < 1000; i++) {
        memset(block, 'a' + i % 26, sizeof(block));
        mvm__console_data(vm->console, block, sizeof(block));
        total += sizeof(block);
    }
    print(vm, "END");
    total += 3;
    const char *text = mvm_console_text(vm->console, &pos, &len);
    assert_int_equal(mvm_console_end(vm->console), total);
    assert_int_equal(len, MIB);
    assert_int_equal(pos, total - MIB);
    assert_memory_equal(text + len - 3, "END", 3);
    assert_int_equal(text[0], 'a' + (int)(pos / sizeof(block)) % 26);

    char *huge = mvm__alloc(3 * MIB);
    huge[3 * MIB - 1] = 'z';
    mvm__console_data(vm->console, huge, 3 * MIB);
    mvm__free(huge);
    text = mvm_console_text(vm->console, &pos, &len);
    assert_int_equal(len, MIB);
    assert_int_equal(text[len - 1], 'z');
    assert_int_equal(mvm_console_end(vm->console), total + 3 * MIB);
}

static void test_waits(void **state)
{
    mvm_vm *vm = *state;
    fake_result r = {0}, at_once = {0}, down = {0};
    mvm_waiter waiter = {-1, fake_done, &r};
    mvm_err err;

    assert_non_null(mvm_console_wait(vm->console, 0, &waiter, &err));
    fake_turn(vm);
    assert_int_equal(r.calls, 0);
    print(vm, "x");
    assert_int_equal(r.calls, 0);
    fake_turn(vm);
    assert_int_equal(r.calls, 1);
    assert_int_equal(r.err.code, 0);
    mvm_console_wait(vm->console, 0, &(mvm_waiter){-1, fake_done, &at_once}, &err);
    fake_turn(vm);
    assert_int_equal(at_once.calls, 1);
    mvm_console_wait(vm->console, 1, &(mvm_waiter){-1, fake_done, &down}, &err);
    mvm__console_down(vm->console, NULL);
    vm->up = false;
    fake_turn(vm);
    assert_int_equal(down.err.code, MVM_ESTATE);
    assert_null(mvm_console_wait(vm->console, 1, &waiter, &err));
    assert_int_equal(err.code, MVM_ESTATE);
    assert_non_null(mvm_console_wait(vm->console, 0, &waiter, &err)); /* it is there already */
    fake_turn(vm);
    assert_int_equal(r.calls, 2);
}

static void test_lines_are_events(void **state)
{
    mvm_vm *vm = *state;

    print(vm, "one\r\ntwo\n\nthr");
    assert_string_equal(mvm__buf_str(&vm->events), "console:one\nconsole:two\nconsole:\n");
    print(vm, "ee\r");
    print(vm, "\n");
    assert_non_null(strstr(mvm__buf_str(&vm->events), "console:three\n"));
    print(vm, "last words");
    mvm__console_down(vm->console, NULL);
    assert_non_null(strstr(mvm__buf_str(&vm->events), "console:last words\n"));
}

static void test_long_lines_are_split(void **state)
{
    mvm_vm *vm = *state;
    static char line[10001];

    memset(line, 'x', 10000);
    for (int i = 0; i < 10000; i += 100) /* in pieces, over the limit's edge */
        mvm__console_data(vm->console, line, 100);
    print(vm, "\n");
    size_t tags = 3 * strlen("console:\n");
    assert_int_equal(mvm__buf_len(&vm->events), 10000 + tags);
    mvm__buf_free(&vm->events);
    mvm__console_data(vm->console, line, 4096);
    print(vm, "\n");
    assert_int_equal(mvm__buf_len(&vm->events), 4096 + strlen("console:\n")); /* no empty one */
}

static void test_panic_is_one_event(void **state)
{
    mvm_vm *vm = *state;

    print(vm, "[    1.000001] Kernel panic - not syncing: x\r\n[    1.000002] CPU: 0\r\n");
    assert_null(strstr(mvm__buf_str(&vm->events), "panic:"));
    print(vm, "[    1.000003] ---[ end Kernel panic - not syncing: x ]---\r\n");
    const char *event = strstr(mvm__buf_str(&vm->events), "panic:");
    assert_non_null(event);
    assert_string_equal(event, "panic:[    1.000001] Kernel panic - not syncing: x\n"
                               "[    1.000002] CPU: 0\n"
                               "[    1.000003] ---[ end Kernel panic - not syncing: x ]---\n"
                               "fatal:Kernel panic - not syncing: x\n");
}

static void test_panic_without_end_is_told(void **state)
{
    mvm_vm *vm = *state;

    print(vm, "[    1.000001] Kernel panic - not syncing: cut\n");
    mvm__console_down(vm->console, NULL);
    assert_non_null(strstr(mvm__buf_str(&vm->events), "panic:[    1.000001] Kernel panic"));
    mvm__buf_free(&vm->events);
    /* A soft lockup has no last line: silence ends it. */
    print(vm, "[    1.000001] watchdog: BUG: soft lockup - CPU#0 stuck\n");
    assert_null(strstr(mvm__buf_str(&vm->events), "panic:"));
    fake_elapse(vm);
    assert_non_null(strstr(mvm__buf_str(&vm->events), "panic:[    1.000001] watchdog"));
    assert_null(strstr(mvm__buf_str(&vm->events), "fatal:")); /* the machine goes on */
}

static void test_typing_is_paced(void **state)
{
    mvm_vm *vm = *state;
    static char big[65536];
    mvm_err err;

    vm->room = 4;
    assert_int_equal(mvm_console_send(vm->console, "root\n", 5, &err), 0);
    assert_string_equal(mvm__buf_str(&vm->typed), "root");
    vm->room = 100;
    assert_int_equal(mvm_console_send(vm->console, "x", 1, &err), 0);
    assert_string_equal(mvm__buf_str(&vm->typed), "root"); /* not before it may */
    mvm__console_writable(vm->console);
    assert_string_equal(mvm__buf_str(&vm->typed), "root\nx");
    vm->room = 0;
    assert_int_equal(mvm_console_send(vm->console, big, sizeof(big), &err), 0);
    assert_int_equal(mvm_console_send(vm->console, "y", 1, &err), MVM_EIO);
    mvm__console_down(vm->console, NULL);
    vm->up = false;
    assert_int_equal(mvm_console_send(vm->console, "z", 1, &err), MVM_ESTATE);
    vm->room = 100;
    mvm__buf_free(&vm->typed);
    mvm__console_writable(vm->console);
    assert_int_equal(mvm__buf_len(&vm->typed), 0); /* what was not typed is dropped */
}

static void on_flushed(void *ud, const mvm_err *err)
{
    *(int *)ud = err ? err->code : 1;
}

static int flush(mvm_vm *vm, int *outcome)
{
    mvm_waiter waiter = {.timeout = 5, .fn = on_flushed, .ud = outcome};
    mvm_err err;

    *outcome = 0;
    return mvm_console_flush(vm->console, &waiter, &err) ? 0 : err.code;
}

static void test_flush(void **state)
{
    mvm_vm *vm = *state;
    int outcome;

    assert_int_equal(flush(vm, &outcome), 0); /* nothing is typed */
    mvm_loop_step(vm->loop, false);
    mvm_loop_step(vm->loop, false);
    assert_int_equal(outcome, 1);
    vm->room = 2;
    assert_int_equal(mvm_console_send(vm->console, "root\n", 5, NULL), 0);
    assert_int_equal(flush(vm, &outcome), 0);
    mvm_loop_step(vm->loop, false);
    assert_int_equal(outcome, 0);
    vm->room = 100;
    mvm__console_writable(vm->console);
    mvm_loop_step(vm->loop, false);
    assert_int_equal(outcome, 1);
    vm->room = 0;
    assert_int_equal(mvm_console_send(vm->console, "x", 1, NULL), 0);
    assert_int_equal(flush(vm, &outcome), 0);
    mvm__console_down(vm->console, NULL);
    mvm_loop_step(vm->loop, false);
    assert_int_equal(outcome, MVM_ESTATE);
    vm->up = false;
    assert_int_equal(flush(vm, &outcome), MVM_ESTATE);
}

static void test_log_is_appended(void **state)
{
    mvm_vm *vm = *state;
    char path[] = "/tmp/macvm-console-XXXXXX", text[64] = "";
    int fd = mkstemp(path);
    mvm_err err;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "old\n", 4), 4);
    assert_int_equal(mvm__console_log(vm->console, path, &err), 0);
    print(vm, "new\n");
    mvm__console_down(vm->console, NULL);
    print(vm, "not logged\n");
    assert_int_equal(pread(fd, text, sizeof(text) - 1, 0), 8);
    assert_string_equal(text, "old\nnew\n");
    close(fd);
    unlink(path);
    assert_int_equal(mvm__console_log(vm->console, "/nonexistent/dir/log", &err), MVM_EIO);
    assert_non_null(strstr(err.message, "/nonexistent/dir/log: No such file or directory"));
}

static int g_warnings;

static void on_log(void *ud, int level, const char *line)
{
    (void)ud;
    (void)line;
    g_warnings += level == MVM_LOG_WARN;
}

static void test_full_disk_is_told_once(void **state)
{
    mvm_vm *vm = *state;
    mvm_err err;

    if (access("/dev/full", W_OK) != 0)
        skip();
    mvm_log_sink(on_log, NULL);
    assert_int_equal(mvm__console_log(vm->console, "/dev/full", &err), 0);
    print(vm, "a\n");
    print(vm, "b\n");
    mvm_log_sink(NULL, NULL);
    assert_int_equal(g_warnings, 1);
    assert_string_equal(mvm__buf_str(&vm->events), "console:a\nconsole:b\n");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_text_and_positions),
        T(test_only_the_last_mib_is_kept),
        T(test_waits),
        T(test_lines_are_events),
        T(test_long_lines_are_split),
        T(test_panic_is_one_event),
        T(test_panic_without_end_is_told),
        T(test_typing_is_paced),
        T(test_flush),
        T(test_log_is_appended),
        T(test_full_disk_is_told_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
