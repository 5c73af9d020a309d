/* SPDX-License-Identifier: MIT */
/* The real agent: files, and the session that finds its way back after anything. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/agent_peer.h"

/* ---- files ---------------------------------------------------------------------------------- */

static void expect_file(const char *path, const char *content, unsigned perm)
{
    char text[256] = "";
    struct stat st;
    FILE *f = fopen(path, "r");

    assert_non_null(f);
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    assert_int_equal(n, strlen(content));
    assert_string_equal(text, content);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, perm);
}

static void write_file(uint32_t id, const char *path, int perm, const char *content)
{
    peer_open(id, 1, perm, path);
    peer_data(id, content);
    peer_eof(id);
    peer_ended(id);
}

static void test_write_and_read(void **state)
{
    (void)state;
    const char *path = peer_path("file");
    write_file(1, path, 0751, "first");
    expect_file(path, "first", 0751);
    write_file(2, path, -1, "second, and longer");
    expect_file(path, "second, and longer", 0751);
    write_file(3, peer_path("other"), -1, "");
    expect_file(peer_path("other"), "", 0644);
    assert_int_equal(peer_streams[1].status, 0);

    peer_open(4, 0, -1, path);
    assert_string_equal(peer_output(4, 1), "second, and longer");
    assert_int_equal(peer_streams[4].perm, 0751);
    assert_int_equal(peer_streams[4].pid, 0);
    assert_true(peer_streams[4].eof[1]);
    assert_int_equal(peer_entries(), 2);
}

static void test_write_is_atomic(void **state)
{
    (void)state;
    const char *path = peer_path("file");
    write_file(1, path, 0600, "old");
    peer_open(2, 1, -1, path);
    peer_data(2, "half of the ne");
    peer_sh(3, ":");
    peer_ended(3);
    expect_file(path, "old", 0600);
    assert_int_equal(peer_entries(), 2); /* the temporary is beside it */
    peer_send(MVM_AGENT_CLOSE, 0, 2, "", 0);
    peer_sh(4, ":");
    peer_ended(4);
    expect_file(path, "old", 0600);
    assert_int_equal(peer_entries(), 1);
}

static void test_write_follows_a_link(void **state)
{
    (void)state;
    struct stat st;
    write_file(1, peer_path("file"), 0640, "old");
    assert_int_equal(symlink("file", peer_path("link")), 0);
    write_file(2, peer_path("link"), -1, "new");
    expect_file(peer_path("file"), "new", 0640);
    assert_int_equal(lstat(peer_path("link"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
}

static void test_files_that_fail(void **state)
{
    (void)state;
    peer_open(1, 0, -1, peer_path("missing"));
    peer_open(2, 0, -1, peer_dir);
    peer_open(3, 1, 0644, peer_path("no/such/dir"));
    peer_open(4, 1, 0644, peer_dir);
    peer_open(5, 1, 0644, peer_path("new/"));
    peer_open(6, 1, 0644, "/proc/macvm-forbidden");
    peer_open(7, 0, -1, "");
    assert_int_equal(peer_ended(1)->errnum, ENOENT);
    assert_non_null(strstr(peer_streams[1].text, "missing"));
    assert_int_equal(peer_ended(2)->errnum, EISDIR);
    assert_int_equal(peer_ended(3)->errnum, ENOENT);
    assert_int_equal(peer_ended(4)->errnum, EISDIR);
    assert_int_equal(peer_ended(5)->errnum, EISDIR);
    assert_true(peer_ended(6)->failed);
    assert_int_equal(peer_ended(7)->errnum, ENOENT);
    assert_int_equal(peer_entries(), 0);
}

static void test_no_space_left(void **state)
{
    (void)state;
    peer_open(1, 1, -1, "/dev/full"); /* a device is written in place */
    peer_data(1, "x");
    assert_int_equal(peer_ended(1)->errnum, ENOSPC);
    assert_non_null(strstr(peer_streams[1].text, "No space left"));
    struct stat st;
    assert_int_equal(stat("/dev/full", &st), 0);
    assert_true(S_ISCHR(st.st_mode));
}

static void test_a_file_of_the_kernel(void **state)
{
    (void)state;
    peer_open(1, 0, -1, "/proc/self/comm"); /* has no size */
    assert_memory_equal(peer_output(1, 1), "macvm-agent", strlen("macvm-agent"));
    write_file(2, "/proc/self/comm", -1, "renamed");
    assert_int_equal(peer_streams[2].status, 0);
    peer_open(3, 0, -1, "/proc/self/comm");
    assert_string_equal(peer_output(3, 1), "renamed\n");
}

/* ---- the session ------------------------------------------------------------------------------
 */

static void test_resync(void **state)
{
    static const uint8_t zeros[MVM_AGENT_SYNC];

    (void)state;
    peer_sh(1, "sleep 1000 & echo $!; wait");
    peer_wait(peer_streams[1].len[1] > 0 && strchr(peer_streams[1].bytes[1], '\n'));
    int child = atoi(peer_streams[1].bytes[1]);
    peer_open(2, 1, 0644, peer_path("file"));
    peer_wait(peer_streams[2].started);
    /* In the midst of a frame: whatever the agent waits for, the zeros are enough of it. */
    uint8_t head[MVM_AGENT_HEADER];
    mvm_agent_header(head, MVM_AGENT_DATA, 0, 2, MVM_AGENT_PAYLOAD_MAX);
    peer_send_bytes(head, sizeof(head));
    peer_ready = false;
    peer_send_bytes(zeros, sizeof(zeros));
    peer_hello(0x1234567890abcdef);
    peer_wait(peer_ready);
    assert_true(peer_nonce == 0x1234567890abcdef);
    assert_int_equal(peer_entries(), 0); /* the streams of the old session are gone */
    long until = peer_now_ms() + PEER_DEADLINE_MS;
    for (uint32_t id = 3; peer_lives(child); id = id % 100 + 3) {
        assert_true(peer_now_ms() < until);
        peer_forget(id);
        peer_sh(id, ":");
        peer_ended(id);
    }
    peer_forget(1);
    peer_sh(1, "echo again"); /* numbers begin anew */
    assert_string_equal(peer_output(1, 1), "again\n");
}

static void test_garbage(void **state)
{
    char garbage[5000];

    (void)state;
    for (size_t i = 0; i < sizeof(garbage); i++)
        garbage[i] = "MV\1\0macvmagt"[i * 5 % 12];
    peer_send_bytes(garbage, sizeof(garbage));
    peer_sh(1, "echo unheard"); /* a frame, but before the next HELLO */
    peer_ready = false;
    peer_hello(7);
    peer_wait(peer_ready);
    assert_int_equal(peer_nonce, 7);
    assert_false(peer_streams[1].started);
}

static void test_malformed_payloads(void **state)
{
    (void)state;
    peer_send(MVM_AGENT_EXEC, 0, 1, "\0\0\0\0\1\0\0\0\0", 9);            /* argv[0] is missing */
    peer_send(MVM_AGENT_EXEC, 0, 2, "\0\0\0\0\377\377\377\377\0\0", 10); /* so many can't fit */
    peer_send(MVM_AGENT_EXEC, 0, 3, "", 0);
    peer_send(MVM_AGENT_OPEN, 0, 4, "\2\0\0\0\0\1\0/", 8);   /* no such mode */
    peer_send(MVM_AGENT_OPEN, 0, 5, "\0\0\0\0\0\2\0a\0", 9); /* a NUL in the path */
    for (uint32_t id = 1; id <= 5; id++)
        assert_int_equal(peer_ended(id)->errnum, EPROTO);
    peer_sh(6, "exec sleep 1000");
    peer_send(MVM_AGENT_CREDIT, 1, 6, "x", 1);
    assert_int_equal(peer_ended(6)->errnum, EPROTO);
    peer_sh(7, "exec sleep 1000");
    peer_sh(7, "echo twice");
    assert_int_equal(peer_ended(7)->errnum, EPROTO);
    peer_sh(8, "echo fine");
    assert_string_equal(peer_output(8, 1), "fine\n");
}

static void test_frames_of_ended_streams(void **state)
{
    (void)state;
    peer_sh(1, ":");
    peer_ended(1);
    peer_data(1, "late");
    peer_eof(1);
    peer_send_u32(MVM_AGENT_SIGNAL, 0, 1, SIGKILL);
    peer_send_u32(MVM_AGENT_CREDIT, 1, 1, 5);
    peer_send(MVM_AGENT_CLOSE, 0, 1, "", 0);
    peer_sh(2, "echo fine");
    assert_string_equal(peer_output(2, 1), "fine\n");
}

static void test_losing_the_host_ends_all(void **state)
{
    int status;

    /* What the agent leaves comes to us, so that its end can be waited for. */
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    peer_sh(1, "trap '' HUP TERM; echo $$; while :; do sleep 1000; done");
    peer_wait(peer_streams[1].len[1] > 0);
    peer_open(2, 1, 0644, peer_path("file"));
    peer_wait(peer_streams[2].started);
    assert_int_equal(peer_entries(), 1);
    int pid = peer_streams[1].pid;
    peer_hang_up();
    assert_int_equal(peer_teardown(state), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(peer_setup(state), 0);
}

static void test_power_is_not_the_tests(void **state)
{
    (void)state;
    peer_send(MVM_AGENT_POWER, 0, 0, "\0", 1);
    peer_wait(peer_streams[0].failed);
    assert_int_equal(peer_streams[0].errnum, EPERM);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, peer_setup, peer_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_write_and_read),
        TEST(test_write_is_atomic),
        TEST(test_write_follows_a_link),
        TEST(test_files_that_fail),
        TEST(test_no_space_left),
        TEST(test_a_file_of_the_kernel),
        TEST(test_resync),
        TEST(test_garbage),
        TEST(test_malformed_payloads),
        TEST(test_frames_of_ended_streams),
        TEST(test_losing_the_host_ends_all),
        TEST(test_power_is_not_the_tests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
