/* SPDX-License-Identifier: MIT */
/* Internal side of mvm/wait.h: lists of waits and their decision. */
#ifndef MVM_IO_WAIT_H
#define MVM_IO_WAIT_H

#include <stdbool.h>

#include "base/list.h"
#include "mvm/loop.h"
#include "mvm/wait.h"

struct mvm_wait {
    mvm__link link; /* in its waitlist until decided, then in the loop's queue */
    mvm_loop *loop;
    mvm_timer *timer;
    mvm_wait_fn fn;
    void *ud;
    int tag;                      /* the owner's: what is waited for */
    void *subject;                /* the owner's */
    void (*dropped)(mvm_wait *w); /* the wait was cancelled or timed out, before fn; may be NULL */
    double timeout;
    bool decided;
    mvm_err *err; /* owned; NULL: success */
    char what[120];
};

/* The list is optional (NULL). `what` completes "timed out after 5 s waiting for ...". */
mvm_wait *mvm__wait_new(mvm_loop *loop, mvm__list *list, const mvm_waiter *waiter,
                        const char *what_fmt, ...) __attribute__((format(printf, 4, 5)));
/* Decides it: fn is called from the loop. err is copied. No-op once decided. */
void mvm__wait_done(mvm_wait *wait, const mvm_err *err);
/* Takes back a wait that is not decided: fn is never called. */
void mvm__wait_discard(mvm_wait *wait);
/* All of a list, or those with one tag. */
void mvm__waits_done(mvm__list *list, const mvm_err *err);
void mvm__waits_done_tag(mvm__list *list, int tag, const mvm_err *err);

#endif
