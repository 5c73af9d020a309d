/* SPDX-License-Identifier: MIT */
/* Waits: a deadline, a cancel, and a callback that comes exactly once, from the loop. */
#include "io/wait.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/base.h"

static void fire(void *ud)
{
    mvm_wait *w = ud;
    mvm_wait_fn fn = w->fn;
    void *fn_ud = w->ud;
    mvm_err *err = w->err;

    mvm__free(w);
    fn(fn_ud, err);
    mvm__free(err);
}

static void decide(mvm_wait *w, mvm_err *err)
{
    w->decided = true;
    w->err = err;
    mvm__list_remove(&w->link);
    mvm_timer_cancel(w->timer);
    w->timer = NULL;
    mvm_loop_defer(w->loop, fire, w);
}

static void drop(mvm_wait *w, mvm_err *err)
{
    decide(w, err);
    if (w->dropped)
        w->dropped(w);
}

static void on_deadline(void *ud)
{
    mvm_wait *w = ud;
    mvm_err *err = mvm__alloc(sizeof(*err));

    w->timer = NULL; /* a timer that fires is gone */
    mvm_fail(err, MVM_ETIMEOUT, "timed out after %g s waiting for %s", w->timeout, w->what);
    drop(w, err);
}

mvm_wait *mvm__wait_new(mvm_loop *loop, mvm__list *list, const mvm_waiter *waiter,
                        const char *what_fmt, ...)
{
    mvm_wait *w = mvm__alloc(sizeof(*w));

    w->loop = loop;
    w->fn = waiter->fn;
    w->ud = waiter->ud;
    w->timeout = waiter->timeout;
    va_list args;
    va_start(args, what_fmt);
    vsnprintf(w->what, sizeof(w->what), what_fmt, args);
    va_end(args);
    if (list)
        mvm__list_append(list, &w->link);
    if (waiter->timeout >= 0)
        w->timer = mvm_timer_start(loop, waiter->timeout, on_deadline, w);
    return w;
}

void mvm__wait_done(mvm_wait *wait, const mvm_err *err)
{
    if (wait->decided)
        return;
    mvm_err *copy = NULL;
    if (err) {
        copy = mvm__alloc(sizeof(*copy));
        *copy = *err;
    }
    decide(wait, copy);
}

void mvm__wait_discard(mvm_wait *wait)
{
    mvm__list_remove(&wait->link);
    mvm_timer_cancel(wait->timer);
    mvm__free(wait);
}

void mvm_wait_cancel(mvm_wait *wait)
{
    if (wait->decided)
        return;
    mvm_err *err = mvm__alloc(sizeof(*err));
    mvm_fail(err, MVM_ECANCELLED, "cancelled while waiting for %s", wait->what);
    drop(wait, err);
}

void mvm__waits_done(mvm__list *list, const mvm_err *err)
{
    mvm__list_each (l, list)
        mvm__wait_done(mvm__container_of(l, mvm_wait, link), err);
}

void mvm__waits_done_tag(mvm__list *list, int tag, const mvm_err *err)
{
    mvm__list_each (l, list) {
        mvm_wait *w = mvm__container_of(l, mvm_wait, link);
        if (w->tag == tag)
            mvm__wait_done(w, err);
    }
}
