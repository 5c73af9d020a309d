/* SPDX-License-Identifier: MIT */
/* Streams: what a reader and a writer may rely on, whatever the provider does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "io/stream.h"

typedef struct source {
    mvm_stream s;
    size_t consumed;
    int kicks, closes, frees;
} source;

static source *source_of(mvm_stream *s)
{
    return mvm__container_of(s, source, s);
}

static void on_consumed(mvm_stream *s, size_t len)
{
    source_of(s)->consumed += len;
}

static void on_kick(mvm_stream *s)
{
    source_of(s)->kicks++;
}

static void on_closed(mvm_stream *s)
{
    source_of(s)->closes++;
}

static void on_free(mvm_stream *s)
{
    source_of(s)->frees++;
}

static const mvm__stream_ops g_ops = {on_consumed, on_kick, on_closed, on_free};

typedef struct result {
    int calls;
    mvm_err err;
} result;

static void on_done(void *ud, const mvm_err *err)
{
    result *r = ud;

    r->calls++;
    if (err)
        r->err = *err;
}

static mvm_loop *g_loop;

static int setup(void **state)
{
    source *src = mvm__alloc(sizeof(*src));

    g_loop = mvm_loop_new();
    mvm__stream_init(&src->s, g_loop, &g_ops, true, true, "the stream");
    *state = src;
    return 0;
}

static void turn(void)
{
    for (int i = 0; i < 4; i++)
        mvm_loop_step(g_loop, false);
}

static int teardown(void **state)
{
    source *src = *state;

    if (src->frees == 0)
        mvm_stream_unref(&src->s);
    assert_int_equal(src->closes, 1);
    assert_int_equal(src->frees, 1);
    turn();
    assert_int_equal(mvm_loop_close(g_loop), 0);
    mvm__free(src);
    return 0;
}

static void test_reader_is_woken_from_the_loop(void **state)
{
    source *src = *state;
    result r = {0};
    mvm_waiter waiter = {-1, on_done, &r};
    size_t len;

    assert_non_null(mvm_stream_wait_readable(&src->s, &waiter, NULL));
    turn();
    assert_int_equal(r.calls, 0);
    mvm__stream_feed(&src->s, "hello", 5);
    assert_int_equal(r.calls, 0); /* not from inside the call */
    turn();
    assert_int_equal(r.calls, 1);
    assert_int_equal(r.err.code, 0);
    assert_memory_equal(mvm_stream_peek(&src->s, &len), "hello", 5);
    assert_int_equal(len, 5);
    mvm_stream_consume(&src->s, 3);
    assert_int_equal(src->consumed, 3);
    assert_memory_equal(mvm_stream_peek(&src->s, &len), "lo", 2);
    mvm_stream_consume(&src->s, 100); /* no more than there is */
    assert_int_equal(src->consumed, 5);
}

static void test_one_reader_at_a_time(void **state)
{
    source *src = *state;
    result r = {0}, second = {0};
    mvm_waiter waiter = {-1, on_done, &r}, other = {-1, on_done, &second};
    mvm_err err;

    mvm_wait *wait = mvm_stream_wait_readable(&src->s, &waiter, &err);
    assert_null(mvm_stream_wait_readable(&src->s, &other, &err));
    assert_int_equal(err.code, MVM_ESTATE);
    mvm_wait_cancel(wait);
    assert_non_null(mvm_stream_wait_readable(&src->s, &other, &err)); /* the first let go */
    mvm__stream_feed_eof(&src->s);
    turn();
    assert_int_equal(r.err.code, MVM_ECANCELLED);
    assert_int_equal(second.calls, 1);
    assert_int_equal(second.err.code, 0);
}

static void test_what_arrived_is_read_before_the_failure(void **state)
{
    source *src = *state;
    result r = {0}, after = {0};
    mvm_waiter waiter = {-1, on_done, &r}, later = {-1, on_done, &after};
    mvm_err err;

    mvm__stream_feed(&src->s, "x", 1);
    mvm_fail(&err, MVM_EAGENT, "gone");
    mvm__stream_fail(&src->s, &err);
    mvm_stream_wait_readable(&src->s, &waiter, NULL);
    turn();
    assert_int_equal(r.calls, 1);
    assert_int_equal(r.err.code, 0);
    mvm_stream_consume(&src->s, 1);
    mvm_stream_wait_readable(&src->s, &later, NULL);
    turn();
    assert_int_equal(after.err.code, MVM_EAGENT);
    assert_int_equal(mvm_stream_write(&src->s, "y", 1, &err), MVM_EAGENT);
}

static void test_eof_is_no_error(void **state)
{
    source *src = *state;
    result r = {0};
    mvm_waiter waiter = {-1, on_done, &r};
    mvm_err err;
    size_t len;

    mvm__stream_feed_eof(&src->s);
    mvm_fail(&err, MVM_EAGENT, "gone after the end");
    mvm__stream_fail(&src->s, &err);
    mvm_stream_wait_readable(&src->s, &waiter, NULL);
    turn();
    assert_int_equal(r.calls, 1);
    assert_int_equal(r.err.code, 0);
    assert_true(mvm_stream_eof(&src->s));
    mvm_stream_peek(&src->s, &len);
    assert_int_equal(len, 0);
}

static void test_writer_waits_for_the_queue(void **state)
{
    source *src = *state;
    result r = {0};
    mvm_waiter waiter = {-1, on_done, &r};
    static char big[100000];

    assert_int_equal(mvm_stream_write(&src->s, big, sizeof(big), NULL), 0);
    assert_int_equal(src->kicks, 1);
    assert_int_equal(mvm_stream_queued(&src->s), sizeof(big));
    mvm_stream_wait_writable(&src->s, &waiter, NULL);
    mvm__stream_sent(&src->s, 20000);
    turn();
    assert_int_equal(r.calls, 0);
    mvm__stream_sent(&src->s, 20000);
    turn();
    assert_int_equal(r.calls, 1);
    assert_int_equal(r.err.code, 0);
}

static void test_nothing_is_written_after_shutdown(void **state)
{
    source *src = *state;
    mvm_err err;

    mvm_stream_write(&src->s, "a", 1, NULL);
    mvm_stream_shutdown(&src->s);
    mvm_stream_shutdown(&src->s);
    assert_int_equal(src->kicks, 2);
    assert_int_equal(mvm_stream_write(&src->s, "b", 1, &err), MVM_EIO);
    assert_int_equal(mvm_stream_queued(&src->s), 1);
}

static void test_close_ends_waits_and_gives_credit(void **state)
{
    source *src = *state;
    result r = {0};
    mvm_waiter waiter = {-1, on_done, &r};
    mvm_err err;

    mvm_stream_wait_readable(&src->s, &waiter, NULL);
    mvm_stream_close(&src->s);
    mvm_stream_close(&src->s);
    turn();
    assert_int_equal(r.calls, 1);
    assert_int_equal(r.err.code, MVM_EIO);
    assert_true(mvm_stream_closed(&src->s));
    mvm__stream_feed(&src->s, "dropped", 7);
    assert_int_equal(src->consumed, 7);
    assert_null(mvm_stream_wait_readable(&src->s, &waiter, &err));
    assert_null(mvm_stream_wait_writable(&src->s, &waiter, &err));
    assert_int_equal(mvm_stream_write(&src->s, "x", 1, &err), MVM_EIO);
}

static void test_wrong_direction_is_told(void **state)
{
    source *src = *state;
    result r = {0};
    mvm_waiter waiter = {-1, on_done, &r};
    mvm_err err;

    src->s.readable = false;
    assert_null(mvm_stream_wait_readable(&src->s, &waiter, &err));
    assert_int_equal(err.code, MVM_ESTATE);
    src->s.writable = false;
    assert_int_equal(mvm_stream_write(&src->s, "x", 1, &err), MVM_ESTATE);
    assert_int_equal(r.calls, 0);
}

static void test_last_reference_closes(void **state)
{
    source *src = *state;
    result r = {0};
    mvm_waiter waiter = {-1, on_done, &r};

    mvm_stream_ref(&src->s);
    mvm_stream_wait_readable(&src->s, &waiter, NULL);
    mvm_stream_unref(&src->s);
    assert_int_equal(src->frees, 0);
    mvm_stream_unref(&src->s);
    assert_int_equal(src->frees, 1);
    turn();
    assert_int_equal(r.calls, 1);
    mvm_stream_unref(NULL);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_reader_is_woken_from_the_loop),
        T(test_one_reader_at_a_time),
        T(test_what_arrived_is_read_before_the_failure),
        T(test_eof_is_no_error),
        T(test_writer_waits_for_the_queue),
        T(test_nothing_is_written_after_shutdown),
        T(test_close_ends_waits_and_gives_credit),
        T(test_wrong_direction_is_told),
        T(test_last_reference_closes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
