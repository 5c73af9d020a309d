/* SPDX-License-Identifier: MIT */
/* The byte pump: what a peer leaves behind when it goes, and what is delivered while reading is
 * stopped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "io/pipe.h"

typedef struct scene {
    mvm_loop *loop;
    mvm__pipe *pipe;
    int peer;
    size_t got;
    int writables, ends;
} scene;

static void on_data(void *ud, const void *data, size_t len)
{
    scene *s = ud;

    (void)data;
    assert_int_equal(0, s->ends);
    s->got += len;
}

static void on_writable(void *ud)
{
    ((scene *)ud)->writables++;
}

static void on_ended(void *ud, int error)
{
    (void)error;
    ((scene *)ud)->ends++;
}

static const mvm__pipe_ops g_ops = {on_data, on_writable, on_ended};

static int setup(void **state)
{
    int pair[2];
    scene *s = mvm__alloc(sizeof(*s));

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return -1;
    s->loop = mvm_loop_new();
    s->peer = pair[1];
    s->pipe = mvm__pipe_open(s->loop, pair[0], &g_ops, s);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    scene *s = *state;

    mvm__pipe_close(s->pipe);
    if (s->peer >= 0)
        close(s->peer);
    assert_int_equal(0, mvm_loop_close(s->loop));
    mvm__free(s);
    return 0;
}

static void turn(scene *s)
{
    for (int i = 0; i < 8; i++)
        mvm_loop_step(s->loop, false);
}

/* The peer says `len` bytes and goes, with bytes of ours that it has not read: an error of the
 * socket, which must not hide what it said. */
static void leave_unread(scene *s, size_t len)
{
    MVM_AUTO_FREE char *bytes = mvm__alloc(len);

    assert_int_equal(5, mvm__pipe_write(s->pipe, "hello", 5));
    assert_int_equal(len, write(s->peer, bytes, len));
    close(s->peer);
    s->peer = -1;
}

static void test_end_with_unread_bytes(void **state)
{
    scene *s = *state;

    leave_unread(s, 10);
    turn(s);
    assert_int_equal(10, s->got);
    assert_int_equal(1, s->ends);
    assert_int_equal(0, mvm__pipe_write(s->pipe, "x", 1));
}

static void test_end_while_reading_is_stopped(void **state)
{
    static char filler[1 << 20];
    scene *s = *state;

    mvm__pipe_read(s->pipe, false);
    leave_unread(s, 10);
    mvm__pipe_write(s->pipe, filler, sizeof(filler));
    turn(s);
    assert_int_equal(0, s->got);
    mvm__pipe_read(s->pipe, true);
    turn(s);
    assert_int_equal(10, s->got);
    assert_int_equal(1, s->ends);
}

/* The same for a writer that waits for room. */
static void test_end_while_full_and_stopped(void **state)
{
    static char filler[1 << 20];
    scene *s = *state;

    mvm__pipe_read(s->pipe, false);
    assert_true(mvm__pipe_write(s->pipe, filler, sizeof(filler)) < sizeof(filler));
    assert_int_equal(3, write(s->peer, "bye", 3));
    close(s->peer);
    s->peer = -1;
    turn(s);
    assert_int_equal(0, s->got);
    mvm__pipe_read(s->pipe, true);
    turn(s);
    assert_int_equal(3, s->got);
    assert_int_equal(1, s->ends);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_end_with_unread_bytes),
        TEST(test_end_while_reading_is_stopped),
        TEST(test_end_while_full_and_stopped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
