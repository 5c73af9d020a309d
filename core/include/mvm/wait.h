/* SPDX-License-Identifier: MIT */
/*
 * A wait: one thing that somebody waits for, with a deadline and a way to
 * cancel. Every function that waits takes an mvm_waiter and returns an
 * mvm_wait, or NULL with *err filled (then fn is never called). fn runs once,
 * from the loop; the mvm_wait is gone when fn is called.
 */
#ifndef MVM_WAIT_H
#define MVM_WAIT_H

#include "mvm/status.h"

typedef struct mvm_wait mvm_wait;

/* err is NULL on success; it lives only during the call. */
typedef void (*mvm_wait_fn)(void *ud, const mvm_err *err);

typedef struct mvm_waiter {
    double timeout; /* seconds; negative: no deadline */
    mvm_wait_fn fn;
    void *ud;
} mvm_waiter;

/* Ends the wait with MVM_ECANCELLED; fn is still called, from the loop. What was
 * waited for is not undone. No-op when the wait has already been decided. */
void mvm_wait_cancel(mvm_wait *wait);

#endif
