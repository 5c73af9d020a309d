/* SPDX-License-Identifier: MIT */
/*
 * Two streams joined by two pumps, one a direction. A pump takes what its source has while its sink
 * has room; it waits for one of the two at a time, so nothing is held here and a slow reader stops
 * the writer behind it. Loop thread only.
 */
#include "io/splice.h"

#include "base/base.h"

#define HIGH_WATER (256u * 1024u) /* queued in a sink: no more is taken from the source */

typedef struct splice splice;

typedef struct pump {
    splice *owner;
    mvm_stream *from, *to;
    mvm_wait *wait;
    bool done;
} pump;

struct splice {
    mvm__link link;
    pump pumps[2];
    mvm_stream *a, *b;
    bool closing;
};

static void pump_go(pump *p);

static void splice_end(splice *s)
{
    if (s->pumps[0].wait || s->pumps[1].wait)
        return; /* its callback comes, and then this again */
    mvm__list_remove(&s->link);
    mvm_stream_unref(s->a);
    mvm_stream_unref(s->b);
    mvm__free(s);
}

static void splice_close(splice *s)
{
    s->closing = true;
    mvm_stream_close(s->a);
    mvm_stream_close(s->b);
    for (int i = 0; i < 2; i++)
        if (s->pumps[i].wait)
            mvm_wait_cancel(s->pumps[i].wait);
}

static void on_wait(void *ud, const mvm_err *err)
{
    pump *p = ud;
    splice *s = p->owner;

    p->wait = NULL;
    if (err && !s->closing)
        splice_close(s);
    if (!s->closing)
        pump_go(p);
    if (s->closing || (s->pumps[0].done && s->pumps[1].done))
        splice_end(s);
}

/* Moves what can be moved, then arms the wait for more; or is done, when the end and all before it
 * has been passed on. */
static void pump_go(pump *p)
{
    const mvm_waiter waiter = {.fn = on_wait, .ud = p, .timeout = -1};
    mvm_err err;
    size_t len = 0;
    bool full = mvm_stream_queued(p->to) >= HIGH_WATER;
    const char *data = mvm_stream_peek(p->from, &len);

    if (len > 0 && !full) {
        if (mvm_stream_write(p->to, data, len, &err) != 0) {
            splice_close(p->owner);
            return;
        }
        mvm_stream_consume(p->from, len);
        len = 0;
    }
    bool ended = len == 0 && mvm_stream_eof(p->from);
    if (ended) {
        mvm_stream_shutdown(p->to);
        p->done = mvm_stream_queued(p->to) == 0; /* else closing it would lose the rest */
    }
    if (p->done)
        return;
    p->wait = len > 0 || ended ? mvm_stream_wait_writable(p->to, &waiter, &err)
                               : mvm_stream_wait_readable(p->from, &waiter, &err);
    if (!p->wait)
        splice_close(p->owner);
}

void mvm__splice(mvm__list *list, mvm_stream *a, mvm_stream *b)
{
    splice *s = mvm__alloc(sizeof(*s));

    s->a = a;
    s->b = b;
    s->pumps[0] = (pump){.owner = s, .from = a, .to = b};
    s->pumps[1] = (pump){.owner = s, .from = b, .to = a};
    mvm__list_append(list, &s->link);
    pump_go(&s->pumps[0]);
    if (!s->closing)
        pump_go(&s->pumps[1]);
    if (s->closing || (s->pumps[0].done && s->pumps[1].done))
        splice_end(s);
}

void mvm__splices_close(mvm__list *list)
{
    mvm__list_each (l, list) {
        splice *s = mvm__container_of(l, splice, link);
        mvm__list_remove(l);
        splice_close(s);
        splice_end(s);
    }
}
