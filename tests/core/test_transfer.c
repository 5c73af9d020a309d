/* SPDX-License-Identifier: MIT */
/* Push and pull: what they leave on the host and ask of the guest, also when they fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "mvm/file.h"
#include "support/fake_vm.h"

static char g_dir[64];

static int setup(void **state)
{
    mvm_vm *vm = fake_new();

    guest_start(vm);
    strcpy(g_dir, "/tmp/macvm-transfer-XXXXXX");
    assert_non_null(mkdtemp(g_dir));
    *state = vm;
    return 0;
}

static int entries(void)
{
    DIR *dir = opendir(g_dir);
    int n = 0;

    while (readdir(dir))
        n++;
    closedir(dir);
    return n - 2;
}

static int teardown(void **state)
{
    mvm_vm *vm = *state;
    char *cmd = mvm__asprintf("rm -r '%s'", g_dir);

    fake_turn(vm);
    assert_int_equal(vm->refs, 1); /* every transfer has let go */
    assert_int_equal(fake_free(vm), 0);
    assert_int_equal(system(cmd), 0);
    mvm__free(cmd);
    return 0;
}

static char *host(const char *name)
{
    static char path[128];

    snprintf(path, sizeof(path), "%s/%s", g_dir, name);
    return path;
}

static void store(const char *name, size_t len, mode_t mode)
{
    int fd = open(host(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    char *bytes = mvm__alloc(len + 1);

    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)(i * 7 + i / 251);
    assert_int_equal(write(fd, bytes, len), len);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    mvm__free(bytes);
}

static mvm_agent_frame expect(mvm_vm *vm, uint8_t type, uint32_t stream)
{
    mvm_agent_frame frame = {0};

    assert_true(host_frame(vm, &frame));
    assert_int_equal(frame.type, type);
    assert_int_equal(frame.stream, stream);
    return frame;
}

static void expect_open(mvm_vm *vm, uint32_t stream, int mode, int perm, const char *path)
{
    mvm_agent_frame frame = expect(vm, MVM_AGENT_OPEN, stream);
    mvm_agent_reader r = {frame.payload, frame.len, 0, false};
    size_t len;

    assert_int_equal(mvm_agent_get_u8(&r), mode);
    assert_int_equal((int32_t)mvm_agent_get_u32(&r), perm);
    const char *text = mvm_agent_get_str(&r, &len);
    assert_int_equal(len, strlen(path));
    assert_memory_equal(text, path, len);
}

/* ---- push -------------------------------------------------------------------------- */

/* Plays a guest that stores; returns how many bytes came before EOF. */
static size_t take_file(mvm_vm *vm, uint32_t stream, size_t *most_queued)
{
    mvm_agent_frame frame;
    size_t total = 0;

    for (int idle = 0; idle < 10; idle++) {
        fake_turn(vm);
        *most_queued = MVM_MAX(*most_queued, mvm__buf_len(&vm->port));
        while (host_frame(vm, &frame)) {
            idle = 0;
            assert_int_equal(frame.stream, stream);
            if (frame.type == MVM_AGENT_EOF)
                return total;
            assert_int_equal(frame.type, MVM_AGENT_DATA);
            for (uint32_t i = 0; i < frame.len; i++, total++)
                if (frame.payload[i] != (uint8_t)(total * 7 + total / 251))
                    fail_msg("byte %zu is wrong", total);
            guest_credit(vm, 0, stream, frame.len);
        }
    }
    fail_msg("no end of file came");
    return 0;
}

static void test_push_copies_bytes_and_mode(void **state)
{
    mvm_vm *vm = *state;
    fake_result end = {0};
    size_t most = 0;

    store("tool", 1000003, 0751);
    assert_non_null(
        mvm_vm_push(vm, host("tool"), "/bin/tool", &(mvm_waiter){30, fake_done, &end}, NULL));
    expect_open(vm, 1, 1, 0751, "/bin/tool");
    guest_two(vm, MVM_AGENT_STARTED, 1, 0, -1);
    assert_int_equal(take_file(vm, 1, &most), 1000003);
    assert_true(most < 1u << 20); /* never the whole file */
    fake_turn(vm);
    assert_int_equal(end.calls, 0);
    guest_two(vm, MVM_AGENT_EXIT, 1, 0, 0);
    fake_turn(vm);
    assert_int_equal(end.calls, 1);
    assert_int_equal(end.err.code, 0);
    assert_int_equal(mvm__buf_len(&vm->port), 0);
}

static void test_push_of_nothing_and_into_a_directory(void **state)
{
    mvm_vm *vm = *state;
    fake_result end = {0};
    size_t most = 0;

    store("empty", 0, 0600);
    mvm_vm_push(vm, host("empty"), "/srv/", &(mvm_waiter){-1, fake_done, &end}, NULL);
    expect_open(vm, 1, 1, 0600, "/srv/empty");
    guest_two(vm, MVM_AGENT_STARTED, 1, 0, -1);
    assert_int_equal(take_file(vm, 1, &most), 0);
    guest_two(vm, MVM_AGENT_EXIT, 1, 0, 0);
    fake_turn(vm);
    assert_int_equal(end.calls, 1);
    assert_int_equal(end.err.code, 0);
}

static void test_push_to_what_turns_out_a_directory(void **state)
{
    mvm_vm *vm = *state;
    fake_result end = {0}, again = {0};
    mvm_agent_frame frame;
    size_t most = 0;

    store("file", 300000, 0644);
    mvm_vm_push(vm, host("file"), "/srv", &(mvm_waiter){-1, fake_done, &end}, NULL);
    expect_open(vm, 1, 1, 0644, "/srv");
    fake_turn(vm);
    guest_error(vm, 1, 21, "/srv: Is a directory");
    while (host_frame(vm, &frame) && frame.type != MVM_AGENT_OPEN)
        ;
    fake_turn(vm);
    expect_open(vm, 2, 1, 0644, "/srv/file");
    guest_two(vm, MVM_AGENT_STARTED, 2, 0, -1);
    assert_int_equal(take_file(vm, 2, &most), 300000);
    guest_two(vm, MVM_AGENT_EXIT, 2, 0, 0);
    fake_turn(vm);
    assert_int_equal(end.calls, 1);
    assert_int_equal(end.err.code, 0);

    mvm_vm_push(vm, host("file"), "/a", &(mvm_waiter){-1, fake_done, &again}, NULL);
    guest_error(vm, 3, 21, "/a: Is a directory");
    fake_turn(vm);
    guest_error(vm, 4, 21, "/a/file: Is a directory"); /* not for ever */
    fake_turn(vm);
    assert_int_equal(again.calls, 1);
    assert_int_equal(again.err.code, MVM_EGUEST);
    mvm__buf_free(&vm->port);
}

static void test_push_refused_by_the_guest(void **state)
{
    mvm_vm *vm = *state;
    fake_result end = {0};

    store("file", 3000000, 0644);
    mvm_vm_push(vm, host("file"), "/full", &(mvm_waiter){-1, fake_done, &end}, NULL);
    guest_two(vm, MVM_AGENT_STARTED, 1, 0, -1);
    fake_turn(vm);
    guest_error(vm, 1, 28, "/full: No space left on device");
    fake_turn(vm);
    assert_int_equal(end.calls, 1);
    assert_int_equal(end.err.code, MVM_EGUEST);
    assert_string_equal(end.err.message, "/full: No space left on device");
}

static void test_push_of_what_is_no_file(void **state)
{
    mvm_vm *vm = *state;
    fake_result end = {0};
    mvm_waiter waiter = {-1, fake_done, &end};
    mvm_err err;

    assert_null(mvm_vm_push(vm, host("nothing"), "/x", &waiter, &err));
    assert_int_equal(err.code, MVM_EIO);
    assert_non_null(strstr(err.message, "No such file"));
    assert_null(mvm_vm_push(vm, g_dir, "/x", &waiter, &err));
    assert_int_equal(err.code, MVM_EIO);
    assert_non_null(strstr(err.message, "a directory"));
    assert_int_equal(mkfifo(host("pipe"), 0600), 0);
    assert_null(mvm_vm_push(vm, host("pipe"), "/x", &waiter, &err));
    assert_int_equal(err.code, MVM_EIO);
    assert_non_null(strstr(err.message, "not a regular file"));
    assert_null(mvm_vm_push(vm, host("pipe"), "", &waiter, &err));
    assert_int_equal(err.code, MVM_ECONFIG);
    fake_turn(vm);
    assert_int_equal(end.calls, 0);
    assert_int_equal(mvm__buf_len(&vm->port), 0);
}

/* The frame that a cut transfer ends with. */
static void expect_close(mvm_vm *vm, uint32_t stream)
{
    mvm_agent_frame frame = {0}, last = {0};

    while (host_frame(vm, &frame))
        last = frame;
    assert_int_equal(last.type, MVM_AGENT_CLOSE);
    assert_int_equal(last.stream, stream);
}

static void test_push_that_is_cut(void **state)
{
    mvm_vm *vm = *state;
    fake_result cancelled = {0}, late = {0}, first = {0};

    store("file", 3000000, 0644);
    mvm_wait *wait =
        mvm_vm_push(vm, host("file"), "/x", &(mvm_waiter){-1, fake_done, &cancelled}, NULL);
    fake_turn(vm);
    mvm_wait_cancel(wait);
    expect_close(vm, 1);
    fake_turn(vm);
    assert_int_equal(cancelled.calls, 1);
    assert_int_equal(cancelled.err.code, MVM_ECANCELLED);

    mvm_vm_push(vm, host("file"), "/x", &(mvm_waiter){2, fake_done, &late}, NULL);
    fake_turn(vm);
    fake_elapse(vm);
    expect_close(vm, 2);
    assert_int_equal(late.calls, 1);
    assert_int_equal(late.err.code, MVM_ETIMEOUT);
    assert_non_null(strstr(late.err.message, "/x"));

    wait = mvm_vm_push(vm, host("file"), "/x", &(mvm_waiter){-1, fake_done, &first}, NULL);
    mvm_wait_cancel(wait); /* before it did anything */
    fake_turn(vm);
    assert_int_equal(first.calls, 1);
    expect_close(vm, 3);
}

static void test_lost_session_ends_transfers(void **state)
{
    mvm_vm *vm = *state;
    fake_result push = {0}, pull = {0};

    store("file", 3000000, 0644);
    mvm_vm_push(vm, host("file"), "/x", &(mvm_waiter){-1, fake_done, &push}, NULL);
    mvm_vm_pull(vm, "/y", host("pulled"), &(mvm_waiter){-1, fake_done, &pull}, NULL);
    fake_turn(vm);
    mvm__agent_port(vm->agent, false);
    fake_turn(vm);
    assert_int_equal(push.err.code, MVM_EAGENT);
    assert_int_equal(pull.err.code, MVM_EAGENT);
    assert_int_equal(entries(), 1);
}

/* ---- pull ----------------------------------------------------------------------------- */

static void send_file(mvm_vm *vm, uint32_t id, size_t len)
{
    char block[MVM_AGENT_DATA_MAX];

    for (size_t at = 0; at < len;) {
        size_t n = MVM_MIN(len - at, sizeof(block));
        for (size_t i = 0; i < n; i++)
            block[i] = (char)((at + i) * 7 + (at + i) / 251);
        guest_frame(vm, MVM_AGENT_DATA, 1, id, block, n);
        fake_turn(vm); /* reads it, which gives credit */
        at += n;
    }
}

static void end_file(mvm_vm *vm, uint32_t id)
{
    guest_frame(vm, MVM_AGENT_EOF, 1, id, NULL, 0);
    guest_two(vm, MVM_AGENT_EXIT, id, 0, 0);
    fake_turn(vm);
}

static void check_file(const char *name, size_t len, mode_t mode)
{
    struct stat st;
    int fd = open(host(name), O_RDONLY);
    char *bytes = mvm__alloc(len + 1);

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, len);
    assert_int_equal(st.st_mode & 07777, mode);
    assert_int_equal(read(fd, bytes, len + 1), len);
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != (char)(i * 7 + i / 251))
            fail_msg("byte %zu is wrong", i);
    close(fd);
    mvm__free(bytes);
}

static void test_pull_copies_bytes_and_mode(void **state)
{
    mvm_vm *vm = *state;
    fake_result end = {0};

    mvm_vm_pull(vm, "/var/log/big", host("big"), &(mvm_waiter){-1, fake_done, &end}, NULL);
    expect_open(vm, 1, 0, -1, "/var/log/big");
    guest_two(vm, MVM_AGENT_STARTED, 1, 0, 04755); /* set-id does not come along */
    send_file(vm, 1, 1000003);
    assert_int_equal(end.calls, 0);
    assert_int_equal(access(host("big"), F_OK), -1); /* not before it is whole */
    end_file(vm, 1);
    assert_int_equal(end.calls, 1);
    assert_int_equal(end.err.code, 0);
    check_file("big", 1000003, 0755);
    assert_int_equal(entries(), 1);
    assert_int_equal(vm->lost, 0);
}

static void test_pull_into_directories(void **state)
{
    mvm_vm *vm = *state;
    fake_result end[3] = {{0}};
    mvm_err err;

    assert_int_equal(mkdir(host("sub"), 0700), 0);
    assert_non_null(mvm_vm_pull(vm, "/a/one", g_dir, &(mvm_waiter){-1, fake_done, &end[0]}, NULL));
    assert_non_null(
        mvm_vm_pull(vm, "/a/two", host("sub/"), &(mvm_waiter){-1, fake_done, &end[1]}, NULL));
    for (uint32_t id = 1; id <= 2; id++) {
        guest_two(vm, MVM_AGENT_STARTED, id, 0, 0600);
        send_file(vm, id, 10);
        end_file(vm, id);
        assert_int_equal(end[id - 1].calls, 1);
        assert_int_equal(end[id - 1].err.code, 0);
    }
    check_file("one", 10, 0600);
    check_file("sub/two", 10, 0600);
    mvm_waiter waiter = {-1, fake_done, &end[2]};
    assert_null(mvm_vm_pull(vm, "/a/", host("x"), &waiter, &err));
    assert_int_equal(err.code, MVM_ECONFIG);
    assert_null(mvm_vm_pull(vm, "/a/..", g_dir, &waiter, &err));
    assert_int_equal(err.code, MVM_ECONFIG);
    assert_null(mvm_vm_pull(vm, "/a/x", host("none/x"), &waiter, &err));
    assert_int_equal(err.code, MVM_EIO);
    assert_null(mvm_vm_pull(vm, "/a/sub", g_dir, &waiter, &err)); /* there is such a directory */
    assert_int_equal(err.code, MVM_EIO);
    assert_null(mvm_vm_pull(vm, "/a/x", "/dev/null", &waiter, &err));
    assert_int_equal(err.code, MVM_EIO);
    assert_non_null(strstr(err.message, "not a regular file"));
    fake_turn(vm);
    assert_int_equal(end[2].calls, 0);
}

static void test_pull_replaces_what_a_link_means(void **state)
{
    mvm_vm *vm = *state;
    fake_result end = {0};
    struct stat st;
    char *target = mvm__strdup(host("real"));

    store("real", 5, 0600);
    assert_int_equal(symlink(target, host("link")), 0);
    mvm__free(target);
    mvm_vm_pull(vm, "/f", host("link"), &(mvm_waiter){-1, fake_done, &end}, NULL);
    guest_two(vm, MVM_AGENT_STARTED, 1, 0, 0644);
    send_file(vm, 1, 50);
    end_file(vm, 1);
    assert_int_equal(end.err.code, 0);
    assert_int_equal(lstat(host("link"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    check_file("real", 50, 0644);
    assert_int_equal(entries(), 2);
}

static void test_failed_pull_leaves_all_as_it_was(void **state)
{
    mvm_vm *vm = *state;
    fake_result missing = {0}, cut = {0}, late = {0};

    store("kept", 100, 0600);
    mvm_vm_pull(vm, "/f", host("kept"), &(mvm_waiter){-1, fake_done, &missing}, NULL);
    guest_error(vm, 1, 2, "/f: No such file or directory");
    fake_turn(vm);
    assert_int_equal(missing.err.code, MVM_EGUEST);
    mvm_wait *wait = mvm_vm_pull(vm, "/f", host("kept"), &(mvm_waiter){-1, fake_done, &cut}, NULL);
    guest_two(vm, MVM_AGENT_STARTED, 2, 0, 0644);
    send_file(vm, 2, 50000);
    mvm_wait_cancel(wait);
    expect_close(vm, 2);
    fake_turn(vm);
    assert_int_equal(cut.err.code, MVM_ECANCELLED);
    mvm_vm_pull(vm, "/f", host("kept"), &(mvm_waiter){3, fake_done, &late}, NULL);
    fake_turn(vm);
    fake_elapse(vm);
    assert_int_equal(late.err.code, MVM_ETIMEOUT);
    expect_close(vm, 3);
    check_file("kept", 100, 0600);
    assert_int_equal(entries(), 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_push_copies_bytes_and_mode),
        T(test_push_of_nothing_and_into_a_directory),
        T(test_push_to_what_turns_out_a_directory),
        T(test_push_refused_by_the_guest),
        T(test_push_of_what_is_no_file),
        T(test_push_that_is_cut),
        T(test_lost_session_ends_transfers),
        T(test_pull_copies_bytes_and_mode),
        T(test_pull_into_directories),
        T(test_pull_replaces_what_a_link_means),
        T(test_failed_pull_leaves_all_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
