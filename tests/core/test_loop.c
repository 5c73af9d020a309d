/* SPDX-License-Identifier: MIT */
/* The loop, its timers, real and virtual time, posting from threads, and waits. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "io/wait.h"
#include "mvm/loop.h"

static int setup(void **state)
{
    *state = mvm_loop_new();
    return 0;
}

static int teardown(void **state)
{
    assert_int_equal(0, mvm_loop_close(*state));
    return 0;
}

typedef struct trace {
    mvm_loop *loop;
    char text[64];
    size_t len;
    mvm_timer *victim;
} trace;

static trace *g_trace; /* of the test that runs */

#define LETTER(c)                                                                                  \
    static void letter_##c(void *ud)                                                               \
    {                                                                                              \
        trace *t = ud;                                                                             \
        t->text[t->len++] = #c[0];                                                                 \
    }
LETTER(a)
LETTER(b)
LETTER(c)

static void defer_more(void *ud)
{
    trace *t = ud;

    letter_a(t);
    mvm_loop_defer(t->loop, letter_c, t);
    mvm_loop_defer(t->loop, letter_b, t);
}

static void test_deferred_calls_keep_their_order(void **state)
{
    trace t = {.loop = *state};

    mvm_loop_defer(*state, defer_more, &t);
    mvm_loop_defer(*state, letter_b, &t);
    mvm_loop_step(*state, false);
    assert_string_equal("ab", t.text); /* what they deferred waits for the next turn */
    mvm_loop_step(*state, false);
    assert_string_equal("abcb", t.text);
}

static void test_timers_fire_in_order_of_time(void **state)
{
    trace t = {.loop = *state};

    mvm_loop_virtual_time(*state, true);
    mvm_timer_start(*state, 3, letter_c, &t);
    mvm_timer_start(*state, 1, letter_a, &t);
    mvm_timer *gone = mvm_timer_start(*state, 1.5, letter_c, &t);
    mvm_timer_start(*state, 2, letter_b, &t);
    mvm_timer_start(*state, 2, letter_a, &t); /* same moment: order of making */
    mvm_timer_cancel(gone);
    while (t.len < 4)
        mvm_loop_step(*state, true);
    assert_string_equal("abac", t.text);
}

static void count(void *ud)
{
    ++*(int *)ud;
}

static void test_many_timers_cancelled_at_random(void **state)
{
    enum { N = 500 };
    mvm_timer *timers[N];
    int fired = 0, kept = 0;
    uint32_t seed = 7;

    mvm_loop_virtual_time(*state, true);
    for (int i = 0; i < N; i++) {
        seed = seed * 1664525u + 1013904223u;
        timers[i] = mvm_timer_start(*state, seed % 1000 / 10.0, count, &fired);
    }
    for (int i = 0; i < N; i++) {
        seed = seed * 1664525u + 1013904223u;
        if (seed >> 31)
            mvm_timer_cancel(timers[i]);
        else
            kept++;
    }
    while (fired < kept)
        mvm_loop_step(*state, true);
    mvm_loop_step(*state, false);
    assert_int_equal(kept, fired);
}

static void test_virtual_time_jumps_and_real_time_does_not(void **state)
{
    trace t = {.loop = *state};

    mvm_loop_virtual_time(*state, true);
    double before = mvm_loop_now(*state);
    mvm_timer_start(*state, 86400, letter_a, &t);
    while (t.len == 0)
        mvm_loop_step(*state, true);
    assert_true(mvm_loop_now(*state) - before >= 86400);
    mvm_loop_virtual_time(*state, false);
    assert_true(mvm_loop_now(*state) >= before + 86400); /* the clock never goes back */

    before = mvm_loop_now(*state);
    mvm_timer_start(*state, 0.02, letter_b, &t);
    while (t.len == 1)
        mvm_loop_step(*state, true);
    assert_true(mvm_loop_now(*state) - before >= 0.02);
}

static void *poster(void *ud)
{
    trace *t = ud;

    for (int i = 0; i < 20; i++)
        mvm_loop_post(t->loop, letter_a, t);
    return NULL;
}

static void test_post_from_two_threads(void **state)
{
    trace t = {.loop = *state};
    pthread_t a, b;

    pthread_create(&a, NULL, poster, &t);
    pthread_create(&b, NULL, poster, &t);
    while (t.len < 40)
        mvm_loop_step(*state, true);
    pthread_join(a, NULL);
    pthread_join(b, NULL);
    assert_int_equal(40, t.len);
}

static void drain(void *ud)
{
    char byte;

    assert_int_equal(1, read(*(int *)ud, &byte, 1));
    letter_a(g_trace);
}

static void test_watches(void **state)
{
    trace t = {.loop = *state};
    int fds[2];

    g_trace = &t;
    assert_int_equal(0, pipe(fds));
    mvm_watch *fd = mvm_watch_fd(*state, fds[0], drain, &fds[0]);
    mvm_watch *sig = mvm_watch_signal(*state, SIGUSR1, letter_b, &t);
    assert_int_equal(1, write(fds[1], "x", 1));
    while (t.len < 1)
        mvm_loop_step(*state, true);
    raise(SIGUSR1);
    while (t.len < 2)
        mvm_loop_step(*state, true);
    assert_string_equal("ab", t.text);
    mvm_watch_close(fd);
    mvm_watch_close(sig);
    mvm_watch_close(NULL);
    close(fds[0]);
    close(fds[1]);
}

static void test_close_counts_what_was_left_open(void **state)
{
    (void)state;
    mvm_loop *loop = mvm_loop_new();

    mvm_timer_start(loop, 1, count, NULL);
    assert_int_equal(1, mvm_loop_close(loop));
}

typedef struct outcome {
    int calls, code;
    char message[128];
} outcome;

static void on_done(void *ud, const mvm_err *err)
{
    outcome *o = ud;

    o->calls++;
    o->code = err ? err->code : 0;
    if (err)
        snprintf(o->message, sizeof(o->message), "%.120s", err->message);
}

static void on_drop(mvm_wait *w)
{
    ++*(int *)w->subject;
}

static void test_close_runs_what_was_posted(void **state)
{
    trace t = {.loop = mvm_loop_new()};

    (void)state;
    mvm_loop_post(t.loop, defer_more, &t);
    assert_int_equal(0, mvm_loop_close(t.loop));
    assert_string_equal("acb", t.text);
}

static void test_wait_is_decided_once(void **state)
{
    mvm__list list;
    outcome o = {0};
    int drops = 0;

    mvm__list_init(&list);
    mvm_wait *w = mvm__wait_new(*state, &list, &(mvm_waiter){5, on_done, &o}, "the moon");
    w->subject = &drops;
    w->dropped = on_drop;
    mvm__wait_done(w, NULL);
    mvm_wait_cancel(w);           /* too late: no effect */
    assert_int_equal(0, o.calls); /* never from inside */
    mvm_loop_step(*state, false);
    assert_int_equal(1, o.calls);
    assert_int_equal(0, o.code);
    assert_int_equal(0, drops);
    assert_true(mvm__list_empty(&list));
}

static void test_wait_times_out_with_its_cause(void **state)
{
    mvm__list list;
    outcome o = {0};
    int drops = 0;

    mvm_loop_virtual_time(*state, true);
    mvm__list_init(&list);
    mvm_wait *w = mvm__wait_new(*state, &list, &(mvm_waiter){2.5, on_done, &o}, "the %s", "moon");
    w->subject = &drops;
    w->dropped = on_drop;
    while (o.calls == 0)
        mvm_loop_step(*state, true);
    assert_int_equal(MVM_ETIMEOUT, o.code);
    assert_string_equal("timed out after 2.5 s waiting for the moon", o.message);
    assert_int_equal(1, drops);
}

static void test_wait_cancelled(void **state)
{
    outcome o = {0};
    mvm_wait *w = mvm__wait_new(*state, NULL, &(mvm_waiter){-1, on_done, &o}, "ever");

    mvm_wait_cancel(w);
    mvm_loop_step(*state, false);
    assert_int_equal(1, o.calls);
    assert_int_equal(MVM_ECANCELLED, o.code);
}

static void test_waits_by_tag(void **state)
{
    mvm__list list;
    outcome one = {0}, two = {0};
    mvm_err err;

    mvm__list_init(&list);
    mvm__wait_new(*state, &list, &(mvm_waiter){-1, on_done, &one}, "one")->tag = 1;
    mvm__wait_new(*state, &list, &(mvm_waiter){-1, on_done, &two}, "two")->tag = 2;
    mvm__waits_done_tag(&list, 2, NULL);
    mvm_loop_step(*state, false);
    assert_int_equal(0, one.calls);
    assert_int_equal(1, two.calls);
    mvm_fail(&err, MVM_ESTATE, "gone");
    mvm__waits_done(&list, &err);
    mvm_loop_step(*state, false);
    assert_int_equal(MVM_ESTATE, one.code);
    assert_int_equal(1, two.calls);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_deferred_calls_keep_their_order),
        TEST(test_timers_fire_in_order_of_time),
        TEST(test_many_timers_cancelled_at_random),
        TEST(test_virtual_time_jumps_and_real_time_does_not),
        TEST(test_post_from_two_threads),
        TEST(test_watches),
        cmocka_unit_test(test_close_counts_what_was_left_open),
        cmocka_unit_test(test_close_runs_what_was_posted),
        TEST(test_wait_is_decided_once),
        TEST(test_wait_times_out_with_its_cause),
        TEST(test_wait_cancelled),
        TEST(test_waits_by_tag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
