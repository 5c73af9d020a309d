/* SPDX-License-Identifier: MIT */
/*
 * The event loop. One thread owns a loop and everything that hangs off it;
 * mvm_loop_post() is the only function of libmacvm that another thread may
 * call. All times are seconds.
 */
#ifndef MVM_LOOP_H
#define MVM_LOOP_H

#include <stdbool.h>

typedef struct mvm_loop mvm_loop;
typedef struct mvm_timer mvm_timer;
typedef struct mvm_watch mvm_watch;
typedef void (*mvm_fn)(void *ud);

mvm_loop *mvm_loop_new(void);

/* Frees the loop. Returns how many timers, watches or other handles were still
 * open (they are closed): 0 is the sign of a clean program, and tests assert it. */
int mvm_loop_close(mvm_loop *loop);

/* One turn: due timers, deferred calls, then I/O. With `block`, waits until there
 * is something to do. Must not be called from a callback of the same loop. */
void mvm_loop_step(mvm_loop *loop, bool block);

/* Monotonic time. With virtual time on, the clock stands still while there is work
 * and jumps to the next timer when there is none. */
double mvm_loop_now(const mvm_loop *loop);
void mvm_loop_virtual_time(mvm_loop *loop, bool on);

/* Calls fn(ud) from the next turn, in the order of the calls. */
void mvm_loop_defer(mvm_loop *loop, mvm_fn fn, void *ud);

/* The same from any thread. */
void mvm_loop_post(mvm_loop *loop, mvm_fn fn, void *ud);

/* A timer fires once. It is freed when it has fired, or by cancel; do not touch it
 * after either. Cancel accepts NULL. */
mvm_timer *mvm_timer_start(mvm_loop *loop, double seconds, mvm_fn fn, void *ud);
void mvm_timer_cancel(mvm_timer *timer);

/* Calls fn(ud) whenever fd is readable / signum arrives, until closed. Close accepts NULL. */
mvm_watch *mvm_watch_fd(mvm_loop *loop, int fd, mvm_fn fn, void *ud);
mvm_watch *mvm_watch_signal(mvm_loop *loop, int signum, mvm_fn fn, void *ud);
void mvm_watch_close(mvm_watch *watch);

#endif
