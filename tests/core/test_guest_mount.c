/* SPDX-License-Identifier: MIT */
/* The real agent: MOUNT frames, as far as a host without shares goes. Nothing is mounted here: a
 * mount that works needs a machine. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/agent_peer.h"

enum { DO_MOUNT, DO_UNMOUNT };

static void send_mount(uint32_t id, uint8_t what, const char *type, const char *tag,
                       const char *path)
{
    uint8_t bytes[8192];
    mvm_agent_writer w = {.data = bytes, .cap = sizeof(bytes)};

    mvm_agent_put_u8(&w, what);
    mvm_agent_put_u8(&w, MVM_AGENT_MOUNT_READONLY);
    mvm_agent_put_str(&w, type, strlen(type));
    mvm_agent_put_str(&w, tag, strlen(tag));
    mvm_agent_put_str(&w, path, strlen(path));
    assert_false(w.bad);
    peer_send(MVM_AGENT_MOUNT, 0, id, bytes, w.len);
}

static void expect_refusal(uint32_t id, int errnum, const char *words)
{
    peer_stream *s = peer_ended(id);

    assert_true(s->failed);
    assert_false(s->started || s->exited);
    if (errnum)
        assert_int_equal(s->errnum, errnum);
    if (!strstr(s->text, words))
        fail_msg("\"%s\" does not say \"%s\"", s->text, words);
}

static void test_frames_of_another_form(void **state)
{
    (void)state;
    peer_send(MVM_AGENT_MOUNT, 0, 1, "", 0);
    expect_refusal(1, EPROTO, "bad MOUNT");
    send_mount(2, 2, "9p", "src", "/mnt");
    expect_refusal(2, EPROTO, "bad MOUNT");
    peer_send(MVM_AGENT_MOUNT, 0, 3, "\0\0\2\0009p\1\0s\4\0/mnt+", 16);
    expect_refusal(3, EPROTO, "bad MOUNT");
    peer_send(MVM_AGENT_MOUNT, 0, 4, "\0\0\2\0009p\1\0s\4\0/m\0t", 15);
    expect_refusal(4, EPROTO, "bad MOUNT");
    peer_sh(5, "echo goes on");
    assert_string_equal(peer_output(5, 1), "goes on\n");
}

static void test_words_that_make_no_sense(void **state)
{
    char longer[300];

    (void)state;
    send_mount(1, DO_MOUNT, "ext4", "src", "/mnt");
    expect_refusal(1, EINVAL, "neither virtiofs nor 9p");
    send_mount(2, DO_MOUNT, "virtiofs", "", "/mnt");
    expect_refusal(2, EINVAL, "tag");
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    send_mount(3, DO_MOUNT, "virtiofs", longer, "/mnt");
    expect_refusal(3, EINVAL, "tag");
    send_mount(4, DO_MOUNT, "virtiofs", "src", "mnt");
    expect_refusal(4, EINVAL, "not absolute");
    send_mount(5, DO_MOUNT, "virtiofs", "src", "///");
    expect_refusal(5, EINVAL, "not absolute");
    peer_send(MVM_AGENT_MOUNT, 0, 0, "", 0);
    expect_refusal(0, EPROTO, "stream 0");
}

static void test_directory_that_cannot_be_made(void **state)
{
    FILE *f = fopen(peer_path("file"), "w");

    (void)state;
    assert_non_null(f);
    fclose(f);
    send_mount(1, DO_MOUNT, "virtiofs", "src", peer_path("file/below"));
    expect_refusal(1, ENOTDIR, "the directory can't be made");
    send_mount(2, DO_MOUNT, "virtiofs", "src", peer_path("file"));
    expect_refusal(2, ENOTDIR, "the directory can't be made");
}

/* What this kernel has not, or what it has but was not given: refused, and the directory is there.
 */
static void test_share_that_is_not_there(void **state)
{
    struct stat st;

    (void)state;
    send_mount(1, DO_MOUNT, "virtiofs", "macvm-no-such-tag", peer_path("a/b/c//"));
    expect_refusal(1, 0, "");
    assert_true(peer_streams[1].errnum > 0 && peer_streams[1].text[0]);
    assert_int_equal(stat(peer_path("a/b/c"), &st), 0);
    assert_true(S_ISDIR(st.st_mode));
}

static void test_unmount_of_nothing(void **state)
{
    (void)state;
    send_mount(1, DO_UNMOUNT, "9p", "src", peer_path("none"));
    assert_false(peer_ended(1)->failed);
    assert_int_equal(peer_streams[1].status, 0);
    /* A file system that is no share is not ours to unmount. */
    send_mount(2, DO_UNMOUNT, "9p", "proc", "/proc");
    assert_false(peer_ended(2)->failed);
    assert_int_equal(access("/proc/self", F_OK), 0);
}

static void test_the_agent_serves_others_meanwhile(void **state)
{
    (void)state;
    for (uint32_t id = 10; id < 40; id++)
        send_mount(id, DO_UNMOUNT, "virtiofs", "src", peer_path("none"));
    peer_sh(1, "echo others");
    assert_string_equal(peer_output(1, 1), "others\n");
    for (uint32_t id = 10; id < 40; id++)
        assert_int_equal(peer_ended(id)->status, 0);
}

static void test_close(void **state)
{
    (void)state;
    send_mount(1, DO_UNMOUNT, "virtiofs", "src", peer_path("none"));
    peer_send(MVM_AGENT_CLOSE, 0, 1, "", 0);
    peer_sh(2, ":");
    peer_output(2, 1);
    send_mount(3, DO_MOUNT, "virtiofs", "src", peer_path("d"));
    peer_data(3, "nonsense");
    assert_true(peer_ended(3)->failed);
    peer_sh(4, "echo goes on");
    assert_string_equal(peer_output(4, 1), "goes on\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, peer_setup, peer_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_frames_of_another_form),
        TEST(test_words_that_make_no_sense),
        TEST(test_directory_that_cannot_be_made),
        TEST(test_share_that_is_not_there),
        TEST(test_unmount_of_nothing),
        TEST(test_the_agent_serves_others_meanwhile),
        TEST(test_close),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
