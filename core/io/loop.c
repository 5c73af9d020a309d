/* SPDX-License-Identifier: MIT */
/*
 * The loop: libuv for I/O, with timers and deferred calls of our own above it.
 * The timers are ours (one binary heap behind one uv_timer_t) so that they cost
 * no close callback each and so that time can be virtual. Runs on the thread
 * that calls mvm_loop_step; only mvm_loop_post may be called from others.
 */
#include "io/loop.h"

#include <math.h>
#include <pthread.h>

#include "base/base.h"
#include "base/list.h"

struct mvm_timer {
    mvm_loop *loop;
    double due;
    uint64_t seq; /* timers of one moment fire in the order of their making */
    size_t index; /* in the heap */
    mvm_fn fn;
    void *ud;
};

typedef struct call {
    mvm__link link;
    mvm_fn fn;
    void *ud;
} call;

struct mvm_watch {
    union {
        uv_handle_t handle;
        uv_poll_t poll;
        uv_signal_t signal;
    } uv;
    mvm_fn fn;
    void *ud;
};

struct mvm_loop {
    uv_loop_t uv;
    uv_timer_t alarm; /* armed for the heap's first timer */
    uv_async_t async; /* also keeps uv_run from returning when nothing else is open */
    mvm__list deferred;
    mvm_timer **heap;
    size_t ntimers, heap_cap;
    uint64_t seq;
    double origin; /* hrtime that is 0 */
    bool virtual_time;
    double virtual_now;
    pthread_mutex_t lock; /* of posted */
    mvm__list posted;
    void *children;
    void (*drop_children)(void *children);
};

/* ---- the heap of timers ----------------------------------------------------- */

static bool earlier(const mvm_timer *a, const mvm_timer *b)
{
    return a->due < b->due || (a->due == b->due && a->seq < b->seq);
}

static void heap_place(mvm_loop *loop, size_t i, mvm_timer *t)
{
    loop->heap[i] = t;
    t->index = i;
}

static void heap_up(mvm_loop *loop, size_t i, mvm_timer *t)
{
    for (; i > 0 && earlier(t, loop->heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap_place(loop, i, loop->heap[(i - 1) / 2]);
    heap_place(loop, i, t);
}

static void heap_down(mvm_loop *loop, size_t i, mvm_timer *t)
{
    for (size_t child; (child = 2 * i + 1) < loop->ntimers; i = child) {
        if (child + 1 < loop->ntimers && earlier(loop->heap[child + 1], loop->heap[child]))
            child++;
        if (!earlier(loop->heap[child], t))
            break;
        heap_place(loop, i, loop->heap[child]);
    }
    heap_place(loop, i, t);
}

static void heap_remove(mvm_loop *loop, mvm_timer *t)
{
    mvm_timer *last = loop->heap[--loop->ntimers];

    if (last == t)
        return;
    if (t->index > 0 && earlier(last, loop->heap[(t->index - 1) / 2]))
        heap_up(loop, t->index, last);
    else
        heap_down(loop, t->index, last);
}

mvm_timer *mvm_timer_start(mvm_loop *loop, double seconds, mvm_fn fn, void *ud)
{
    mvm_timer *t = mvm__alloc(sizeof(*t));

    *t = (mvm_timer){.loop = loop, .seq = loop->seq++, .fn = fn, .ud = ud};
    t->due = mvm_loop_now(loop) + (seconds > 0 ? seconds : 0);
    if (loop->ntimers == loop->heap_cap) {
        loop->heap_cap = loop->heap_cap ? loop->heap_cap * 2 : 16;
        loop->heap = mvm__realloc(loop->heap, loop->heap_cap * sizeof(mvm_timer *));
    }
    heap_up(loop, loop->ntimers++, t);
    return t;
}

void mvm_timer_cancel(mvm_timer *timer)
{
    if (!timer)
        return;
    heap_remove(timer->loop, timer);
    mvm__free(timer);
}

/* Returns whether a timer fired. */
static bool fire_due(mvm_loop *loop)
{
    bool fired = false;
    double now = mvm_loop_now(loop);
    uint64_t limit = loop->seq; /* a timer made by a timer waits for the next turn */

    while (loop->ntimers > 0 && loop->heap[0]->due <= now && loop->heap[0]->seq < limit) {
        mvm_timer *t = loop->heap[0];
        mvm_fn fn = t->fn;
        void *ud = t->ud;

        mvm_timer_cancel(t);
        fn(ud);
        fired = true;
    }
    return fired;
}

/* ---- deferred and posted calls ------------------------------------------------ */

static call *call_new(mvm_fn fn, void *ud)
{
    call *c = mvm__alloc(sizeof(*c));

    c->fn = fn;
    c->ud = ud;
    return c;
}

void mvm_loop_defer(mvm_loop *loop, mvm_fn fn, void *ud)
{
    mvm__list_append(&loop->deferred, &call_new(fn, ud)->link);
}

void mvm_loop_post(mvm_loop *loop, mvm_fn fn, void *ud)
{
    call *c = call_new(fn, ud);

    pthread_mutex_lock(&loop->lock);
    mvm__list_append(&loop->posted, &c->link);
    pthread_mutex_unlock(&loop->lock);
    uv_async_send(&loop->async);
}

static void run_calls(mvm__list *calls)
{
    for (mvm__link *l; (l = mvm__list_shift(calls)) != NULL;) {
        call *c = mvm__container_of(l, call, link);
        mvm_fn fn = c->fn;
        void *ud = c->ud;

        mvm__free(c);
        fn(ud);
    }
}

/* Runs what was deferred until now; what that defers waits for the next turn. */
static bool run_deferred(mvm_loop *loop)
{
    mvm__list now;

    mvm__list_move(&now, &loop->deferred);
    bool any = !mvm__list_empty(&now);
    run_calls(&now);
    return any;
}

static void run_posted(mvm_loop *loop)
{
    mvm__list now;

    pthread_mutex_lock(&loop->lock);
    mvm__list_move(&now, &loop->posted);
    pthread_mutex_unlock(&loop->lock);
    run_calls(&now);
}

static void on_async(uv_async_t *async)
{
    run_posted(mvm__container_of(async, mvm_loop, async));
}

/* ---- turning ------------------------------------------------------------------ */

static void on_alarm(uv_timer_t *alarm)
{
    (void)alarm; /* it only ends the blocking; fire_due does the work */
}

double mvm_loop_now(const mvm_loop *loop)
{
    if (loop->virtual_time)
        return loop->virtual_now;
    return (double)uv_hrtime() * 1e-9 - loop->origin;
}

void mvm_loop_virtual_time(mvm_loop *loop, bool on)
{
    double now = mvm_loop_now(loop);

    /* The clock goes on from where it is, in either direction of the switch. */
    loop->virtual_time = on;
    loop->virtual_now = now;
    loop->origin = (double)uv_hrtime() * 1e-9 - now;
}

void mvm_loop_step(mvm_loop *loop, bool block)
{
    bool busy = fire_due(loop);
    busy = run_deferred(loop) || busy;

    /* Who turns the loop looks between the turns whether what it waits for has come, so a turn that
     * has done something does not block as well. */
    bool idle = block && !busy && mvm__list_empty(&loop->deferred);
    uv_timer_stop(&loop->alarm);
    if (idle && loop->ntimers > 0) {
        if (loop->virtual_time) {
            uv_run(&loop->uv, UV_RUN_NOWAIT);
            if (mvm__list_empty(&loop->deferred) && loop->ntimers > 0)
                loop->virtual_now = fmax(loop->virtual_now, loop->heap[0]->due);
            return;
        }
        double left = loop->heap[0]->due - mvm_loop_now(loop);
        if (left <= 0) {
            idle = false;
        } else {
            /* libuv counts from its cached clock, and rounds down. */
            uv_update_time(&loop->uv);
            uv_timer_start(&loop->alarm, on_alarm, (uint64_t)ceil(fmin(left, 1e6) * 1000), 0);
        }
    }
    uv_run(&loop->uv, idle ? UV_RUN_ONCE : UV_RUN_NOWAIT);
}

/* ---- watches -------------------------------------------------------------------- */

static void on_poll(uv_poll_t *poll, int status, int events)
{
    mvm_watch *w = mvm__container_of(poll, mvm_watch, uv.poll);

    (void)status; /* an error makes the fd readable; the reader meets it */
    (void)events;
    w->fn(w->ud);
}

static void on_signal(uv_signal_t *signal, int signum)
{
    mvm_watch *w = mvm__container_of(signal, mvm_watch, uv.signal);

    (void)signum;
    w->fn(w->ud);
}

static void on_watch_closed(uv_handle_t *handle)
{
    mvm__free(mvm__container_of(handle, mvm_watch, uv.handle));
}

static mvm_watch *watch_new(mvm_fn fn, void *ud)
{
    mvm_watch *w = mvm__alloc(sizeof(*w));

    w->fn = fn;
    w->ud = ud;
    return w;
}

mvm_watch *mvm_watch_fd(mvm_loop *loop, int fd, mvm_fn fn, void *ud)
{
    mvm_watch *w = watch_new(fn, ud);

    if (uv_poll_init(&loop->uv, &w->uv.poll, fd) != 0) {
        mvm__free(w); /* a regular file: epoll has no such thing */
        return NULL;
    }
    uv_poll_start(&w->uv.poll, UV_READABLE, on_poll);
    return w;
}

mvm_watch *mvm_watch_signal(mvm_loop *loop, int signum, mvm_fn fn, void *ud)
{
    mvm_watch *w = watch_new(fn, ud);

    uv_signal_init(&loop->uv, &w->uv.signal);
    uv_signal_start(&w->uv.signal, on_signal, signum);
    return w;
}

void mvm_watch_close(mvm_watch *watch)
{
    if (watch)
        uv_close(&watch->uv.handle, on_watch_closed);
}

/* ---- life ------------------------------------------------------------------------ */

mvm_loop *mvm_loop_new(void)
{
    mvm_loop *loop = mvm__alloc(sizeof(*loop));

    uv_loop_init(&loop->uv);
    uv_timer_init(&loop->uv, &loop->alarm);
    uv_async_init(&loop->uv, &loop->async, on_async);
    mvm__list_init(&loop->deferred);
    mvm__list_init(&loop->posted);
    pthread_mutex_init(&loop->lock, NULL);
    loop->origin = (double)uv_hrtime() * 1e-9;
    return loop;
}

uv_loop_t *mvm__loop_uv(mvm_loop *loop)
{
    return &loop->uv;
}

void *mvm__loop_children(const mvm_loop *loop)
{
    return loop->children;
}

void mvm__loop_set_children(mvm_loop *loop, void *children, void (*drop)(void *children))
{
    loop->children = children;
    loop->drop_children = drop;
}

static void count_open(uv_handle_t *handle, void *count)
{
    if (!uv_is_closing(handle)) {
        ++*(int *)count;
        uv_close(handle, NULL); /* its owner is gone: the memory is lost, and the count says so */
    }
}

int mvm_loop_close(mvm_loop *loop)
{
    run_posted(loop); /* of threads that have ended: it may have come since the last turn */
    while (!mvm__list_empty(&loop->deferred))
        mvm_loop_step(loop, false);
    int open = (int)loop->ntimers;
    while (loop->ntimers > 0)
        mvm_timer_cancel(loop->heap[0]);
    if (loop->drop_children)
        loop->drop_children(loop->children);
    uv_close((uv_handle_t *)&loop->alarm, NULL);
    uv_close((uv_handle_t *)&loop->async, NULL);
    uv_walk(&loop->uv, count_open, &open);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    uv_loop_close(&loop->uv);
    pthread_mutex_destroy(&loop->lock);
    mvm__free(loop->heap);
    mvm__free(loop);
    return open;
}
