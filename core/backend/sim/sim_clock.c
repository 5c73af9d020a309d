/* SPDX-License-Identifier: MIT */
/*
 * The clock of a simulated guest: tasks in the order of their time, and one timer of the loop for
 * the first of them. It stands still while the machine is paused. Loop thread only.
 */
#include "backend/sim/sim_internal.h"

/* Sums of seconds round; a task this near is due. */
#define SLACK 1e-9

static void tick(void *ud);

void mvm__sim_clock_init(mvm__sim_clock *clock, mvm_loop *loop)
{
    *clock = (mvm__sim_clock){.loop = loop};
    mvm__list_init(&clock->tasks);
}

double mvm__sim_clock_now(const mvm__sim_clock *clock)
{
    return clock->base + (clock->running ? mvm_loop_now(clock->loop) - clock->since : 0);
}

static void rearm(mvm__sim_clock *clock)
{
    mvm_timer_cancel(clock->timer);
    clock->timer = NULL;
    if (!clock->running || mvm__list_empty(&clock->tasks))
        return;
    mvm__sim_task *first = mvm__container_of(clock->tasks.next, mvm__sim_task, link);
    double delay = first->due - mvm__sim_clock_now(clock);
    clock->timer = mvm_timer_start(clock->loop, MVM_MAX(delay, 0), tick, clock);
}

/* Tasks that are armed anew while the due ones are called wait for the next turn of the loop, so
 * that a busy guest leaves the loop to others. */
static void tick(void *ud)
{
    mvm__sim_clock *clock = ud;
    double now = mvm__sim_clock_now(clock);
    mvm__list due;

    clock->timer = NULL;
    mvm__list_init(&due);
    while (!mvm__list_empty(&clock->tasks)) {
        mvm__sim_task *task = mvm__container_of(clock->tasks.next, mvm__sim_task, link);
        if (task->due > now + SLACK)
            break;
        mvm__list_remove(&task->link);
        mvm__list_append(&due, &task->link);
    }
    for (mvm__link *l; (l = mvm__list_shift(&due)) != NULL;) {
        mvm__sim_task *task = mvm__container_of(l, mvm__sim_task, link);
        task->fn(task->ud);
    }
    rearm(clock);
}

void mvm__sim_clock_run(mvm__sim_clock *clock, bool on)
{
    if (on == clock->running)
        return;
    clock->base = mvm__sim_clock_now(clock);
    clock->since = mvm_loop_now(clock->loop);
    clock->running = on;
    rearm(clock);
}

void mvm__sim_clock_clear(mvm__sim_clock *clock)
{
    while (mvm__list_shift(&clock->tasks))
        continue;
    mvm_timer_cancel(clock->timer);
    clock->timer = NULL;
    clock->base = 0;
    clock->running = false;
}

void mvm__sim_at(mvm__sim_clock *clock, mvm__sim_task *task, double delay, mvm_fn fn, void *ud)
{
    mvm__sim_unset(task);
    task->due = mvm__sim_clock_now(clock) + delay;
    task->fn = fn;
    task->ud = ud;

    mvm__link *after = clock->tasks.prev;
    while (after != &clock->tasks && mvm__container_of(after, mvm__sim_task, link)->due > task->due)
        after = after->prev;
    task->link.prev = after;
    task->link.next = after->next;
    after->next->prev = &task->link;
    after->next = &task->link;
    if (clock->tasks.next == &task->link)
        rearm(clock);
}

/* The timer may then fire for nothing, which does no harm. */
void mvm__sim_unset(mvm__sim_task *task)
{
    mvm__list_remove(&task->link);
}
