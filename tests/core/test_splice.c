/* SPDX-License-Identifier: MIT */
/* Two streams joined: bytes and ends both ways, a slow reader, ends of all kinds. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "io/sock.h"
#include "io/splice.h"

#define PATIENCE 20.0
#define MUCH     (150u * 1024u) /* more than a socket holds below, less than is queued in a stream */

/* Two sockets that are joined, and their other ends, which the test plays. */
typedef struct scene {
    mvm_loop *loop;
    mvm__list list;
    mvm_stream *a, *b; /* given away when joined */
    int left, right;
} scene;

static int make_end(scene *s, mvm_stream **stream, const char *what)
{
    int fds[2], small = 4096;

    assert_int_equal(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds));
    setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    *stream = mvm__sock_stream(s->loop, fds[1], what);
    return fds[0];
}

static int setup(void **state)
{
    scene *s = mvm__alloc(sizeof(*s));

    s->loop = mvm_loop_new();
    mvm__list_init(&s->list);
    s->left = make_end(s, &s->a, "left");
    s->right = make_end(s, &s->b, "right");
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    scene *s = *state;

    if (s->left >= 0)
        close(s->left);
    if (s->right >= 0)
        close(s->right);
    assert_true(mvm__list_empty(&s->list));
    assert_int_equal(0, mvm_loop_close(s->loop));
    mvm__free(s);
    return 0;
}

static void hang_up(int *fd)
{
    close(*fd);
    *fd = -1;
}

static void on_late(void *ud)
{
    *(bool *)ud = true;
}

/* Reads up to `len` bytes while the loop turns; how many came before the end. */
static size_t hear(scene *s, int fd, char *out, size_t len)
{
    bool late = false;
    size_t got = 0;
    mvm_timer *timer = mvm_timer_start(s->loop, PATIENCE, on_late, &late);

    while (got < len && !late) {
        ssize_t n = read(fd, out + got, len - got);
        if (n == 0)
            break;
        if (n < 0 && errno != EAGAIN)
            break;
        if (n > 0)
            got += (size_t)n;
        else
            mvm_loop_step(s->loop, false);
    }
    assert_false(late);
    mvm_timer_cancel(timer);
    return got;
}

static void expect_end(scene *s, int fd)
{
    char byte;

    assert_int_equal(0, hear(s, fd, &byte, 1));
}

/* Says all while the loop turns; false: nobody takes it within so many turns. */
static bool say(scene *s, int fd, const char *data, size_t len, int turns)
{
    while (len > 0 && turns-- > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        assert_true(n > 0 || errno == EAGAIN);
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
        mvm_loop_step(s->loop, false);
    }
    return len == 0;
}

static void until_gone(scene *s)
{
    bool late = false;
    mvm_timer *timer = mvm_timer_start(s->loop, PATIENCE, on_late, &late);

    while (!mvm__list_empty(&s->list) && !late)
        mvm_loop_step(s->loop, true);
    assert_false(late);
    mvm_timer_cancel(timer);
}

static void join(scene *s)
{
    mvm__splice(&s->list, s->a, s->b);
    s->a = s->b = NULL;
}

static void fill(char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (char)(i * 31 + (i >> 9));
}

/* ---- the tests -------------------------------------------------------------------------- */

static void test_both_ways(void **state)
{
    scene *s = *state;
    char got[8];

    /* What is there before they are joined counts. */
    assert_true(say(s, s->left, "early", 5, 1));
    join(s);
    assert_int_equal(5, hear(s, s->right, got, 5));
    assert_memory_equal("early", got, 5);
    assert_true(say(s, s->right, "back", 4, 1));
    assert_int_equal(4, hear(s, s->left, got, 4));
    assert_memory_equal("back", got, 4);

    /* One half ends, the other goes on. */
    shutdown(s->left, SHUT_WR);
    expect_end(s, s->right);
    assert_true(say(s, s->right, "still", 5, 1));
    assert_int_equal(5, hear(s, s->left, got, 5));
    assert_false(mvm__list_empty(&s->list));
    shutdown(s->right, SHUT_WR);
    expect_end(s, s->left);
    until_gone(s);
}

/* Who does not read stops who writes: what is held is bounded, and nothing is lost. */
static void test_slow_reader(void **state)
{
    scene *s = *state;
    const size_t len = 8u << 20;
    char *data = mvm__alloc(len), *got = mvm__alloc(len);

    fill(data, len);
    join(s);
    size_t said = 0;
    while (said < len && say(s, s->left, data + said, 65536, 100))
        said += 65536;
    assert_true(said < 2u << 20);
    /* Part of the last piece went: find how much by reading everything back. */
    shutdown(s->left, SHUT_WR);
    size_t came = hear(s, s->right, got, len);
    assert_true(came >= said && came < said + 65536);
    assert_memory_equal(data, got, came);
    shutdown(s->right, SHUT_WR);
    until_gone(s);
    mvm__free(data);
    mvm__free(got);
}

/* Both have ended, and one has not heard everything yet: it still does. */
static void test_ended_with_a_rest(void **state)
{
    scene *s = *state;
    char *data = mvm__alloc(MUCH), *got = mvm__alloc(MUCH + 1);

    fill(data, MUCH);
    join(s);
    shutdown(s->right, SHUT_WR); /* a request without a body; the answer follows */
    expect_end(s, s->left);
    assert_true(say(s, s->left, data, MUCH, 1000));
    hang_up(&s->left);
    for (int i = 0; i < 100; i++)
        mvm_loop_step(s->loop, false);
    assert_int_equal(MUCH, hear(s, s->right, got, MUCH + 1));
    assert_memory_equal(data, got, MUCH);
    until_gone(s);
    mvm__free(data);
    mvm__free(got);
}

/* Neither hears anything of the other's end but its socket's. */
static void test_one_vanishes(void **state)
{
    scene *s = *state;
    char byte;

    join(s);
    assert_true(say(s, s->left, "x", 1, 1));
    assert_int_equal(1, hear(s, s->right, &byte, 1));
    assert_true(say(s, s->right, "unread", 6, 1));
    for (int i = 0; i < 10; i++)
        mvm_loop_step(s->loop, false);
    hang_up(&s->left); /* with bytes unread: a reset */
    expect_end(s, s->right);
    until_gone(s);
}

/* The same while much is on its way to it. */
static void test_one_vanishes_under_load(void **state)
{
    scene *s = *state;
    char *data = mvm__alloc(1u << 20);

    join(s);
    assert_false(say(s, s->left, data, 1u << 20, 50));
    hang_up(&s->right);
    until_gone(s);
    expect_end(s, s->left);
    mvm__free(data);
}

/* Ended, closed or failed before they are joined. */
static void test_ended_before(void **state)
{
    scene *s = *state;

    hang_up(&s->left);
    shutdown(s->right, SHUT_WR);
    for (int i = 0; i < 10; i++)
        mvm_loop_step(s->loop, false);
    join(s);
    assert_true(mvm__list_empty(&s->list));
    expect_end(s, s->right);
}

static void test_closed_before(void **state)
{
    scene *s = *state;

    mvm_stream_close(s->b);
    join(s);
    until_gone(s);
    expect_end(s, s->left);
    expect_end(s, s->right);
}

/* All of a list are closed: in the middle of everything, and those that have just ended. */
static void test_close_all(void **state)
{
    scene *s = *state;
    enum { N = 20 };
    int ends[N][2];
    char *data = mvm__alloc(1u << 20);

    join(s);
    assert_false(say(s, s->left, data, 1u << 20, 50));
    for (int i = 0; i < N; i++) {
        mvm_stream *a, *b;
        ends[i][0] = make_end(s, &a, "a");
        ends[i][1] = make_end(s, &b, "b");
        mvm__splice(&s->list, a, b);
        if (i % 3 == 0)
            (void)say(s, ends[i][0], data, 65536, 3);
        if (i % 4 == 0)
            close(ends[i][0]);
        if (i % 5 == 0)
            shutdown(ends[i][1], SHUT_WR);
        if (i % 7 == 0)
            mvm_loop_step(s->loop, false);
    }
    mvm__splices_close(&s->list);
    assert_true(mvm__list_empty(&s->list));
    mvm__splices_close(&s->list);
    for (int i = 0; i < 10; i++)
        mvm_loop_step(s->loop, false);
    expect_end(s, s->left);
    for (int i = 0; i < N; i++) {
        if (i % 4 != 0)
            close(ends[i][0]);
        close(ends[i][1]);
    }
    mvm__free(data);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_both_ways),
        T(test_slow_reader),
        T(test_ended_with_a_rest),
        T(test_one_vanishes),
        T(test_one_vanishes_under_load),
        T(test_ended_before),
        T(test_closed_before),
        T(test_close_all),
    };
#undef T

    return cmocka_run_group_tests_name("splice", tests, NULL, NULL);
}
