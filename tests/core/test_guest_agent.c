/* SPDX-License-Identifier: MIT */
/* The real agent: commands, their streams and the flow control. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/agent_peer.h"

/* ---- commands ---------------------------------------------------------------------------- */

static void test_echo(void **state)
{
    (void)state;
    peer_exec(1, MVM_AGENT_EXEC_STDIN_NULL, "", NULL,
              (const char *const[]){"echo", "hello", "a b", NULL});
    assert_string_equal(peer_output(1, 1), "hello a b\n");
    assert_string_equal(peer_output(1, 2), "");
    peer_stream *s = &peer_streams[1];
    assert_true(s->started && s->pid > 0 && s->perm == -1);
    assert_true(s->eof[1] && s->eof[2]);
    assert_int_equal(s->status, 0);
    assert_int_equal(s->signal, 0);
}

static void test_stdin_and_stderr(void **state)
{
    (void)state;
    peer_sh(1, "cat; echo done >&2");
    peer_data(1, "one ");
    peer_wait(peer_streams[1].len[1] == 4); /* live, while stdin is open */
    peer_data(1, "two");
    peer_eof(1);
    assert_string_equal(peer_output(1, 1), "one two");
    assert_string_equal(peer_output(1, 2), "done\n");
}

static void test_stdin_null(void **state)
{
    (void)state;
    peer_exec(1, MVM_AGENT_EXEC_STDIN_NULL, "", NULL,
              (const char *const[]){"cat", NULL}); /* ends by itself */
    assert_string_equal(peer_output(1, 1), "");
}

static void test_status_and_signal(void **state)
{
    (void)state;
    peer_sh(1, "exit 7");
    peer_sh(2, "kill -TERM $$");
    assert_int_equal(peer_ended(1)->status, 7);
    assert_int_equal(peer_streams[1].signal, 0);
    assert_int_equal(peer_ended(2)->signal, SIGTERM);
    assert_int_equal(peer_streams[2].status, 128 + SIGTERM);
}

static void test_environment_and_directory(void **state)
{
    (void)state;
    peer_exec(1, 0, "/usr", (const char *const[]){"A=1", "MACVM_TEST_INHERITED=no", "EMPTY=", NULL},
              (const char *const[]){"sh", "-c", "pwd; echo $A $MACVM_TEST_INHERITED ${EMPTY-unset}",
                                    NULL});
    peer_exec(
        2, 0, "", NULL,
        (const char *const[]){"sh", "-c", "pwd; echo $MACVM_TEST_INHERITED ${PATH:+path}", NULL});
    peer_exec(3, 0, "/nonexistent", NULL, (const char *const[]){"true", NULL});
    assert_string_equal(peer_output(1, 1), "/usr\n1 no\n");
    assert_string_equal(peer_output(2, 1), "/\nyes path\n");
    assert_int_equal(peer_ended(3)->errnum, ENOENT);
    assert_non_null(strstr(peer_streams[3].text, "/nonexistent"));
}

static void test_programs_that_cannot_start(void **state)
{
    (void)state;
    /* A PATH of its own: a directory that can't be searched would make it EACCES. */
    peer_exec(1, 0, "", (const char *const[]){"PATH=/usr/bin:/bin", NULL},
              (const char *const[]){"macvm-no-such-command", NULL});
    peer_exec(2, 0, "", NULL, (const char *const[]){"/usr", NULL});
    peer_exec(3, 0, "", NULL, (const char *const[]){"", NULL});
    peer_exec(4, 0, "", (const char *const[]){"PATH=/nonexistent", NULL},
              (const char *const[]){"true", NULL});
    peer_exec(5, 0, "", (const char *const[]){"novalue", NULL},
              (const char *const[]){"true", NULL});
    assert_int_equal(peer_ended(1)->errnum, ENOENT);
    assert_non_null(strstr(peer_streams[1].text, "macvm-no-such-command"));
    assert_int_equal(peer_ended(2)->errnum, EACCES);
    assert_int_equal(peer_ended(3)->errnum, ENOENT);
    assert_int_equal(peer_ended(4)->errnum, ENOENT);
    assert_int_equal(peer_ended(5)->errnum, EINVAL);
    assert_false(peer_streams[1].started);
}

static void test_script_without_interpreter(void **state)
{
    (void)state;
    FILE *f = fopen(peer_path("script"), "w");
    assert_non_null(f);
    fputs("echo script $1", f);
    fclose(f);
    chmod(peer_path("script"), 0755);
    peer_exec(1, 0, peer_dir, NULL, (const char *const[]){"./script", "arg", NULL});
    assert_string_equal(peer_output(1, 1), "script arg\n");
}

static void test_signal_reaches_the_group(void **state)
{
    (void)state;
    peer_sh(1, "sleep 1000 & echo up; wait");
    peer_wait(peer_streams[1].len[1] > 0);
    peer_send_u32(MVM_AGENT_SIGNAL, 0, 1, SIGTERM);
    assert_int_equal(peer_ended(1)->signal, SIGTERM);
    peer_output(1, 1); /* the sleep let go of the pipe */
}

/* The number that the command of stream 1 prints first. */
static int first_number(void)
{
    peer_wait(peer_streams[1].len[1] > 0 && strchr(peer_streams[1].bytes[1], '\n'));
    return atoi(peer_streams[1].bytes[1]);
}

/* A kill that was sent before the next command begins: a killed process goes without asking. */
static void expect_death(int pid)
{
    long until = peer_now_ms() + PEER_DEADLINE_MS;

    for (uint32_t id = 2; peer_lives(pid); id = id % 100 + 2) {
        assert_true(peer_now_ms() < until);
        peer_forget(id);
        peer_sh(id, ":");
        peer_output(id, 1);
        peer_output(id, 2);
    }
}

static void test_close_kills(void **state)
{
    (void)state;
    peer_sh(1, "sleep 1000 & echo $!; wait");
    int child = first_number();
    assert_true(peer_lives(child) && peer_lives(peer_streams[1].pid));
    peer_send(MVM_AGENT_CLOSE, 0, 1, "", 0);
    expect_death(child);
    expect_death(peer_streams[1].pid);
    assert_false(peer_streams[1].exited || peer_streams[1].failed);
}

/* ---- the end of the command and those of its outputs --------------------------------------- */

static void test_what_is_left_comes_before_the_exit(void **state)
{
    (void)state;
    peer_sh(1, "echo out; echo err >&2; head -c 20000 /dev/zero");
    assert_int_equal(peer_ended(1)->status, 0);
    assert_true(peer_streams[1].whole);
    assert_int_equal(peer_streams[1].len[1], 20004);
}

static void test_exit_does_not_wait_for_a_reader(void **state)
{
    peer_stream *s = &peer_streams[1];

    (void)state;
    s->hold = true;
    peer_sh(1, "head -c 300000 /dev/zero; exit 3"); /* the window, and some for the pipe */
    assert_int_equal(peer_ended(1)->status, 3);
    peer_wait(s->eof[2] && s->len[1] == MVM_AGENT_WINDOW);
    assert_false(s->eof[1]);
    peer_send_u32(MVM_AGENT_CREDIT, 1, 1, 1000); /* what is left can still be read, bit by bit */
    peer_wait(s->len[1] == MVM_AGENT_WINDOW + 1000);
    assert_false(s->eof[1]);
    peer_send_u32(MVM_AGENT_CREDIT, 1, 1, MVM_AGENT_WINDOW);
    peer_output(1, 1);
    assert_int_equal(s->len[1], 300000);
}

static void test_kill_of_a_command_that_nobody_reads(void **state)
{
    (void)state;
    peer_streams[1].hold = true;
    peer_sh(1, "head -c 300000 /dev/zero; echo sent >&2; exec yes");
    peer_wait(peer_streams[1].len[2] == 5 && peer_streams[1].len[1] == MVM_AGENT_WINDOW);
    peer_send_u32(MVM_AGENT_SIGNAL, 0, 1, SIGKILL);
    assert_int_equal(peer_ended(1)->signal, SIGKILL);
    assert_false(peer_streams[1].eof[1]);
    peer_send_u32(MVM_AGENT_CREDIT, 1, 1, MVM_AGENT_WINDOW); /* the pipe holds less */
    peer_output(1, 1);
    assert_true(peer_streams[1].len[1] >= 300000);
}

static void test_background_child_keeps_its_output(void **state)
{
    peer_stream *s = &peer_streams[1];

    (void)state;
    s->hold = true;
    peer_sh(1, "echo up; head -c 900000 /dev/zero & exit 5");
    assert_int_equal(peer_ended(1)->status, 5);
    peer_wait(s->len[1] == MVM_AGENT_WINDOW);
    assert_false(s->eof[1] || s->eof[2]);
    s->hold = false;
    peer_send_u32(MVM_AGENT_CREDIT, 1, 1, MVM_AGENT_WINDOW);
    peer_output(1, 1);
    peer_output(1, 2);
    assert_int_equal(s->len[1], 3 + 900000);
}

static void test_signal_after_the_exit(void **state)
{
    (void)state;
    peer_sh(1, "sleep 1000 & echo $!");
    int child = first_number();
    assert_int_equal(peer_ended(1)->status, 0);
    assert_true(peer_lives(child));
    assert_false(peer_streams[1].eof[1] || peer_streams[1].eof[2]);
    peer_send_u32(MVM_AGENT_SIGNAL, 0, 1, SIGTERM);
    peer_output(1, 1);
    peer_output(1, 2);
    expect_death(child);
}

static void test_close_after_the_exit(void **state)
{
    (void)state;
    peer_sh(1, "sleep 1000 & echo $!");
    int child = first_number();
    peer_ended(1);
    assert_true(peer_lives(child));
    peer_send(MVM_AGENT_CLOSE, 0, 1, "", 0);
    expect_death(child);
    assert_false(peer_streams[1].eof[1] || peer_streams[1].eof[2] || peer_streams[1].failed);
}

static void test_power_is_refused(void **state)
{
    (void)state;
    peer_send(MVM_AGENT_POWER, 0, 0, "\0", 1);
    assert_int_equal(peer_ended(0)->errnum, EPERM);
    assert_non_null(strstr(peer_streams[0].text, "power off"));
    peer_sh(1, "echo goes on");
    assert_string_equal(peer_output(1, 1), "goes on\n");
}

/* ---- many ------------------------------------------------------------------------------------ */

static void test_many_at_once(void **state)
{
    enum { COUNT = 63 };
    char script[64];

    (void)state;
    peer_sh(1, "exec yes"); /* is read all the time, and never ends */
    peer_wait(peer_streams[1].len[1] > 100000);
    for (uint32_t i = 0; i < COUNT; i++) {
        snprintf(script, sizeof(script), "read x; echo $x; head -c 100000 /dev/zero; exit %u", i);
        peer_sh(10 + i, script);
    }
    for (uint32_t i = 0; i < COUNT; i++) { /* all of them are alive now */
        snprintf(script, sizeof(script), "in%u\n", i);
        peer_data(10 + i, script);
    }
    for (uint32_t i = 0; i < COUNT; i++) {
        snprintf(script, sizeof(script), "in%u\n", i);
        assert_memory_equal(peer_output(10 + i, 1), script, strlen(script));
        assert_int_equal(peer_streams[10 + i].len[1], strlen(script) + 100000);
        assert_int_equal(peer_streams[10 + i].status, i);
    }
    assert_false(peer_streams[1].exited || peer_streams[1].failed);
    peer_send(MVM_AGENT_CLOSE, 0, 1, "", 0);
}

/* ---- flow control -------------------------------------------------------------------------- */

static void test_output_stops_without_credit(void **state)
{
    (void)state;
    peer_streams[1].hold = true;
    peer_sh(1, "exec yes");
    peer_wait(peer_streams[1].len[1] == MVM_AGENT_WINDOW);
    peer_sh(
        2, "echo others go on"); /* its answers pass any further byte of stream 1 that was coming */
    assert_string_equal(peer_output(2, 1), "others go on\n");
    assert_int_equal(peer_streams[1].len[1], MVM_AGENT_WINDOW);
    peer_send_u32(MVM_AGENT_CREDIT, 1, 1, 1000);
    peer_wait(peer_streams[1].len[1] == MVM_AGENT_WINDOW + 1000);
    peer_send(MVM_AGENT_CLOSE, 0, 1, "", 0);
}

static void test_end_is_told_without_credit(void **state)
{
    (void)state;
    peer_streams[1].hold = true;
    peer_sh(1, "head -c 262144 /dev/zero"); /* just the window */
    assert_int_equal(peer_ended(1)->status, 0);
    peer_output(1, 1);
    assert_int_equal(peer_streams[1].len[1], MVM_AGENT_WINDOW);
}

static void test_input_beyond_credit(void **state)
{
    char *block = calloc(1, MVM_AGENT_DATA_MAX + 1);

    (void)state;
    peer_sh(1, "exec sleep 1000"); /* reads nothing */
    for (size_t sent = 0; sent < MVM_AGENT_WINDOW; sent += MVM_AGENT_DATA_MAX)
        peer_send(MVM_AGENT_DATA, 0, 1, block, MVM_AGENT_DATA_MAX);
    peer_sh(2, ":");
    peer_ended(2);
    assert_false(
        peer_streams[1]
            .failed); /* the whole window is the host's to use, and what was granted since */
    for (uint64_t more = peer_streams[1].granted; more > 0; more -= MVM_MIN(more, (uint64_t)1024))
        peer_send(MVM_AGENT_DATA, 0, 1, block, MVM_MIN(more, (uint64_t)1024));
    peer_sh(4, ":");
    peer_ended(4);
    assert_false(peer_streams[1].failed);
    peer_send(MVM_AGENT_DATA, 0, 1, block, 1);
    assert_int_equal(peer_ended(1)->errnum, EPROTO);
    peer_sh(3, "exec cat");
    peer_send(MVM_AGENT_DATA, 0, 3, block, MVM_AGENT_DATA_MAX + 1); /* one frame too long */
    assert_int_equal(peer_ended(3)->errnum, EPROTO);
    free(block);
}

/* More than the window and the pipe hold, through `cat` and back. */
static void test_a_lot_both_ways(void **state)
{
    enum { TOTAL = 900000 };
    char *block = malloc(MVM_AGENT_DATA_MAX);
    peer_stream *s = &peer_streams[1];
    uint64_t sent = 0;

    (void)state;
    for (size_t i = 0; i < MVM_AGENT_DATA_MAX; i++)
        block[i] = (char)(i * 7 + i / 256);
    peer_sh(1, "exec cat");
    while (sent < TOTAL) {
        size_t n = MVM_MIN((size_t)MVM_AGENT_DATA_MAX, (size_t)(TOTAL - sent));
        peer_wait(MVM_AGENT_WINDOW + s->granted - sent >= n);
        peer_send(MVM_AGENT_DATA, 0, 1, block, n);
        sent += n;
    }
    peer_eof(1);
    peer_output(1, 1);
    assert_int_equal(s->len[1], TOTAL);
    for (size_t i = 0; i < TOTAL; i++)
        if (s->bytes[1][i] != block[i % MVM_AGENT_DATA_MAX])
            fail_msg("byte %zu came back as another", i);
    free(block);
}

static void test_input_that_nobody_reads(void **state)
{
    char *block = calloc(1, MVM_AGENT_DATA_MAX);

    (void)state;
    peer_sh(1, "exec 0<&-; echo closed; sleep 1000");
    peer_wait(peer_streams[1].len[1] > 0);
    for (size_t sent = 0; sent < MVM_AGENT_WINDOW; sent += MVM_AGENT_DATA_MAX)
        peer_send(MVM_AGENT_DATA, 0, 1, block, MVM_AGENT_DATA_MAX);
    peer_wait(peer_streams[1].granted >=
              MVM_AGENT_WINDOW); /* let go of, and the sender may go on */
    assert_false(peer_streams[1].failed);
    free(block);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, peer_setup, peer_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_echo),
        TEST(test_stdin_and_stderr),
        TEST(test_stdin_null),
        TEST(test_status_and_signal),
        TEST(test_environment_and_directory),
        TEST(test_programs_that_cannot_start),
        TEST(test_script_without_interpreter),
        TEST(test_signal_reaches_the_group),
        TEST(test_close_kills),
        TEST(test_what_is_left_comes_before_the_exit),
        TEST(test_exit_does_not_wait_for_a_reader),
        TEST(test_kill_of_a_command_that_nobody_reads),
        TEST(test_background_child_keeps_its_output),
        TEST(test_signal_after_the_exit),
        TEST(test_close_after_the_exit),
        TEST(test_power_is_refused),
        TEST(test_many_at_once),
        TEST(test_output_stops_without_credit),
        TEST(test_end_is_told_without_credit),
        TEST(test_input_beyond_credit),
        TEST(test_a_lot_both_ways),
        TEST(test_input_that_nobody_reads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
