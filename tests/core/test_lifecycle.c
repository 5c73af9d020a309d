/* SPDX-License-Identifier: MIT */
/*
 * The life of a machine through the public API, on simulated machines in virtual time: the matrix
 * of verbs and states, deadlines, cancellation, events. Every test ends with a clean lab.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "support/sim_lab.h"

static int setup(void **state)
{
    *state = sim_lab_new();
    return 0;
}

static int teardown(void **state)
{
    assert_int_equal(0, mvm_lab_close(*state));
    return 0;
}

static mvm_vm *vm_new(mvm_lab *lab)
{
    mvm_err err;
    mvm_vm *vm = mvm_vm_new(lab, NULL, &err);

    assert_non_null(vm);
    return vm;
}

/* ---- verbs, as the matrix calls them -------------------------------------------------- */

typedef mvm_wait *(*verb_fn)(mvm_vm *vm, const mvm_waiter *waiter, mvm_err *err);

enum { START, PAUSE, RESUME, REBOOT, STOP, KILL, VERBS };
static const struct {
    const char *name;
    verb_fn fn;
} g_verbs[VERBS] = {{"start", mvm_vm_start},   {"pause", mvm_vm_pause}, {"resume", mvm_vm_resume},
                    {"reboot", mvm_vm_reboot}, {"stop", mvm_vm_stop},   {"kill", mvm_vm_kill}};

static int verb(mvm_lab *lab, mvm_vm *vm, int which)
{
    ending end;
    mvm_err err;

    if (!g_verbs[which].fn(vm, waiter_for(&end, 60), &err))
        return err.code;
    return await(lab, &end);
}

static void begin(mvm_vm *vm, int which, ending *end)
{
    mvm_err err;

    assert_non_null(g_verbs[which].fn(vm, waiter_for(end, 60), &err));
}

/* Brings a new machine into a state; what is still under way ends in *end. */
static void bring(mvm_lab *lab, mvm_vm *vm, mvm_state state, ending *end)
{
    end->calls = 1;
    if (state == MVM_STOPPED)
        return;
    if (state == MVM_ERROR) {
        assert_int_equal(0, mvm_sim_fail(vm, "start", 1, "no room", NULL));
        assert_int_equal(MVM_EBACKEND, verb(lab, vm, START));
        return;
    }
    if (state == MVM_STARTING) {
        begin(vm, START, end);
        return;
    }
    vm_up(lab, vm);
    if (state == MVM_PAUSED || state == MVM_RESUMING)
        assert_int_equal(0, verb(lab, vm, PAUSE));
    if (state == MVM_PAUSING || state == MVM_RESUMING || state == MVM_STOPPING)
        begin(vm, state == MVM_PAUSING ? PAUSE : state == MVM_RESUMING ? RESUME : STOP, end);
}

#define N MVM_ESTATE
/* What each verb comes to from each state: 0, or refused. */
static const struct {
    mvm_state from;
    int codes[VERBS];      /* start, pause, resume, reboot, stop, kill */
    mvm_state ends[VERBS]; /* where it leads, when it is allowed */
} g_matrix[] = {
    {MVM_STOPPED, {0, N, N, N, 0, 0}, {MVM_RUNNING, 0, 0, 0, MVM_STOPPED, MVM_STOPPED}},
    {MVM_RUNNING, {N, 0, N, 0, 0, 0}, {0, MVM_PAUSED, 0, MVM_RUNNING, MVM_STOPPED, MVM_STOPPED}},
    {MVM_PAUSED, {N, N, 0, N, N, 0}, {0, 0, MVM_RUNNING, 0, 0, MVM_STOPPED}},
    {MVM_ERROR, {0, N, N, N, 0, 0}, {MVM_RUNNING, 0, 0, 0, MVM_ERROR, MVM_ERROR}},
    {MVM_STARTING, {N, N, N, N, N, 0}, {0, 0, 0, 0, 0, MVM_STOPPED}},
    {MVM_PAUSING, {N, N, N, N, N, 0}, {0, 0, 0, 0, 0, MVM_STOPPED}},
    {MVM_RESUMING, {N, N, N, N, N, 0}, {0, 0, 0, 0, 0, MVM_STOPPED}},
    {MVM_STOPPING, {N, N, N, N, 0, 0}, {0, 0, 0, 0, MVM_STOPPED, MVM_STOPPED}},
};
#undef N

static void test_every_verb_in_every_state(void **state)
{
    for (size_t row = 0; row < MVM_COUNT(g_matrix); row++) {
        for (int which = 0; which < VERBS; which++) {
            mvm_vm *vm = vm_new(*state);
            ending under_way;
            bring(*state, vm, g_matrix[row].from, &under_way);
            assert_int_equal(g_matrix[row].from, mvm_vm_state(vm));

            int code = verb(*state, vm, which);
            if (code != g_matrix[row].codes[which])
                fail_msg("%s while %s: %s", g_verbs[which].name, mvm_state_word(g_matrix[row].from),
                         mvm_code_word(code));
            if (code == 0 && mvm_vm_state(vm) != g_matrix[row].ends[which])
                fail_msg("%s while %s led to %s", g_verbs[which].name,
                         mvm_state_word(g_matrix[row].from), mvm_state_word(mvm_vm_state(vm)));
            if (!under_way.calls)
                await(*state, &under_way);
            assert_int_equal(0, verb(*state, vm, KILL));
            mvm_vm_unref(vm);
        }
    }
}

static void test_refusal_names_state_and_machine(void **state)
{
    mvm_vm *vm = mvm_vm_new(*state, "web", NULL);
    ending end;
    mvm_err err;

    assert_null(mvm_vm_pause(vm, waiter_for(&end, 1), &err));
    assert_int_equal(MVM_ESTATE, err.code);
    assert_non_null(strstr(err.message, "stopped"));
    assert_string_equal("web", err.vm);
    assert_int_equal(0, end.calls);
    mvm_vm_unref(vm);
}

static void test_names_are_unique(void **state)
{
    mvm_err err;
    mvm_vm *web = mvm_vm_new(*state, "web", &err);
    mvm_vm *one = vm_new(*state), *two = vm_new(*state);

    assert_null(mvm_vm_new(*state, "web", &err));
    assert_int_equal(MVM_ECONFIG, err.code);
    assert_string_equal("name", err.field);
    assert_string_not_equal(mvm_vm_name(one), mvm_vm_name(two));
    assert_null(mvm_vm_new(*state, "../etc", &err));
    assert_int_equal(MVM_ECONFIG, err.code);
    mvm_vm_unref(web);
    web = mvm_vm_new(*state, "web", &err); /* free again */
    assert_non_null(web);
    mvm_vm_unref(web);
    mvm_vm_unref(one);
    mvm_vm_unref(two);
}

static void test_config_is_frozen_while_up(void **state)
{
    mvm_vm *vm = vm_new(*state);
    mvm_value two = {.type = MVM_T_INT, .as.integer = 2};
    mvm_err err;

    set_int(mvm_vm_config(vm), "cpus", 1);
    vm_up(*state, vm);
    assert_int_equal(MVM_ESTATE, mvm_record_set(mvm_vm_config(vm), "cpus", &two, &err));
    assert_int_equal(0, verb(*state, vm, STOP));
    assert_int_equal(0, mvm_record_set(mvm_vm_config(vm), "cpus", &two, &err));
    mvm_vm_unref(vm);
}

/* ---- failures ------------------------------------------------------------------------------ */

static void test_failed_start_can_be_started_again(void **state)
{
    mvm_vm *vm = vm_new(*state);
    ending start, ready;
    mvm_err err;

    assert_int_equal(0, mvm_sim_fail(vm, "start", 1, "the shelf is full", NULL));
    assert_non_null(mvm_vm_wait_ready(vm, waiter_for(&ready, 60), &err));
    assert_non_null(mvm_vm_start(vm, waiter_for(&start, 60), &err));
    assert_int_equal(MVM_EBACKEND, await(*state, &start));
    assert_non_null(strstr(start.err.message, "the shelf is full"));
    assert_string_equal(mvm_vm_name(vm), start.err.vm);
    assert_int_equal(MVM_ERROR, mvm_vm_state(vm));
    assert_int_equal(MVM_ESTATE, await(*state, &ready)); /* can't come true any more */
    assert_non_null(strstr(ready.err.message, "the shelf is full"));
    vm_up(*state, vm);
    assert_int_equal(0, verb(*state, vm, STOP));
    assert_int_equal(MVM_STOPPED, mvm_vm_state(vm));
    mvm_vm_unref(vm);
}

static void test_failed_op_leaves_the_state_before(void **state)
{
    mvm_vm *vm = vm_up(*state, vm_new(*state));

    assert_int_equal(0, mvm_sim_fail(vm, "pause", 1, "stuck", NULL));
    assert_int_equal(MVM_EBACKEND, verb(*state, vm, PAUSE));
    assert_int_equal(MVM_RUNNING, mvm_vm_state(vm));
    assert_int_equal(0, verb(*state, vm, PAUSE));
    assert_int_equal(0, mvm_sim_fail(vm, "resume", 2, "stuck", NULL));
    assert_int_equal(MVM_EBACKEND, verb(*state, vm, RESUME));
    assert_int_equal(MVM_EBACKEND, verb(*state, vm, RESUME));
    assert_int_equal(MVM_PAUSED, mvm_vm_state(vm));
    assert_int_equal(0, verb(*state, vm, RESUME));
    mvm_vm_unref(vm);
}

static void test_failed_stats_and_good_stats(void **state)
{
    mvm_vm *vm = vm_up(*state, vm_new(*state));
    bool accel = false;
    ending end;
    const char *name;
    mvm_value value;

    assert_int_equal(0, mvm_sim_fail(vm, "stats", 1, "no figures", NULL));
    assert_non_null(mvm_vm_stats(vm, waiter_for(&end, 1), NULL));
    assert_int_equal(MVM_EBACKEND, await(*state, &end));
    assert_non_null(mvm_vm_stats(vm, waiter_for(&end, 1), NULL));
    assert_int_equal(0, await(*state, &end));
    for (size_t i = 0; mvm_vm_stat(vm, i, &name, &value); i++)
        accel |= strcmp(name, "accel") == 0 && strcmp(value.as.string.ptr, "sim") == 0;
    assert_true(accel);
    mvm_vm_unref(vm);
}

static void test_unknown_failure_is_refused(void **state)
{
    mvm_vm *vm = vm_new(*state);
    mvm_err err;

    assert_int_equal(MVM_ECONFIG, mvm_sim_fail(vm, "strat", 1, "x", &err));
    assert_non_null(strstr(err.hint, "start"));
    assert_int_equal(MVM_ECONFIG, mvm_sim_inject(vm, "explode", NULL, 0, &err));
    assert_int_equal(MVM_ESTATE, mvm_sim_inject(vm, "panic", NULL, 0, &err));
    mvm_vm_unref(vm);
}

/* ---- deadlines ------------------------------------------------------------------------------- */

static void test_stop_of_a_deaf_guest_times_out(void **state)
{
    mvm_lab *lab = *state;
    mvm_vm *vm = vm_new(lab);
    ending end;

    set_str(sub_of(vm, "sim"), "shutdown", "ignore");
    vm_up(lab, vm);
    double before = mvm_loop_now(mvm_lab_loop(lab));
    assert_non_null(mvm_vm_stop(vm, waiter_for(&end, 7), NULL));
    assert_int_equal(MVM_ETIMEOUT, await(lab, &end));
    assert_float_equal(7, mvm_loop_now(mvm_lab_loop(lab)) - before, 0.001);
    assert_non_null(strstr(end.err.message, "7 s"));
    assert_int_equal(MVM_RUNNING, mvm_vm_state(vm));
    assert_true(mvm_vm_ready(vm));
    assert_int_equal(0, verb(lab, vm, KILL));
    mvm_vm_unref(vm);
}

static void test_stop_of_a_deaf_guest_without_agent(void **state)
{
    mvm_vm *vm = vm_new(*state);
    ending end;

    set_str(sub_of(vm, "sim"), "shutdown", "ignore");
    set_bool(sub_of(vm, "sim"), "agent", false);
    assert_int_equal(0, verb(*state, vm, START));
    assert_non_null(mvm_vm_stop(vm, waiter_for(&end, 3), NULL));
    assert_int_equal(MVM_ETIMEOUT, await(*state, &end));
    assert_int_equal(MVM_RUNNING, mvm_vm_state(vm));
    assert_int_equal(0, verb(*state, vm, KILL));
    mvm_vm_unref(vm);
}

static void test_ready_has_a_deadline(void **state)
{
    mvm_vm *vm = vm_new(*state);
    ending end;

    set_num(sub_of(vm, "sim"), "boot", 40);
    assert_int_equal(0, verb(*state, vm, START));
    assert_non_null(mvm_vm_wait_ready(vm, waiter_for(&end, 39), NULL));
    assert_int_equal(MVM_ETIMEOUT, await(*state, &end));
    assert_non_null(mvm_vm_wait_ready(vm, waiter_for(&end, 39), NULL));
    assert_int_equal(0, await(*state, &end));
    mvm_vm_unref(vm);
}

static void test_without_agent_ready_never_comes(void **state)
{
    mvm_vm *vm = vm_new(*state);
    ending end;
    mvm_err err;

    set_bool(sub_of(vm, "sim"), "agent", false);
    assert_int_equal(0, verb(*state, vm, START));
    assert_null(mvm_vm_wait_ready(vm, waiter_for(&end, 60), &err));
    assert_int_equal(MVM_EUNSUPPORTED, err.code);
    assert_int_equal(0, verb(*state, vm, REBOOT)); /* by a hard reset */
    assert_int_equal(0, mvm_sim_fail(vm, "reset", 1, "stuck", NULL));
    assert_int_equal(MVM_EBACKEND, verb(*state, vm, REBOOT));
    assert_int_equal(0, verb(*state, vm, STOP)); /* by the power button */
    assert_int_equal(MVM_STOPPED, mvm_vm_state(vm));
    mvm_vm_unref(vm);
}

static void test_wait_for_a_state(void **state)
{
    mvm_vm *vm = vm_up(*state, vm_new(*state));
    ending paused, now, never;

    assert_non_null(mvm_vm_wait_state(vm, MVM_PAUSED, waiter_for(&paused, 60), NULL));
    assert_non_null(mvm_vm_wait_state(vm, MVM_RUNNING, waiter_for(&now, 60), NULL));
    assert_int_equal(0, await(*state, &now));
    assert_int_equal(0, verb(*state, vm, PAUSE));
    assert_int_equal(0, await(*state, &paused));
    assert_non_null(mvm_vm_wait_state(vm, MVM_RUNNING, waiter_for(&never, 60), NULL));
    assert_int_equal(0, verb(*state, vm, KILL));
    assert_int_equal(MVM_ESTATE, await(*state, &never));
    mvm_vm_unref(vm);
}

/* ---- cancelling
 * ----------------------------------------------------------------------------------- */

static void cancel(mvm_lab *lab, mvm_wait *wait, ending *end)
{
    assert_non_null(wait);
    mvm_wait_cancel(wait);
    assert_int_equal(0, end->calls); /* told from the loop, not from inside */
    assert_int_equal(MVM_ECANCELLED, await(lab, end));
}

static void test_every_wait_can_be_cancelled(void **state)
{
    mvm_lab *lab = *state;
    mvm_vm *vm = vm_new(lab);
    ending end;

    cancel(lab, mvm_vm_start(vm, waiter_for(&end, 60), NULL), &end);
    cancel(lab, mvm_vm_wait_ready(vm, waiter_for(&end, 60), NULL), &end);
    vm_up(lab, (verb(lab, vm, KILL), vm));
    cancel(lab, mvm_vm_stats(vm, waiter_for(&end, 60), NULL), &end);
    cancel(lab, mvm_vm_reboot(vm, waiter_for(&end, 60), NULL), &end);
    pass(lab, 1);
    assert_true(mvm_vm_ready(vm)); /* what was waited for happened all the same */
    cancel(lab, mvm_vm_wait_state(vm, MVM_PAUSED, waiter_for(&end, 60), NULL), &end);
    cancel(lab, mvm_vm_pause(vm, waiter_for(&end, 60), NULL), &end);
    pass(lab, 1);
    assert_int_equal(MVM_PAUSED, mvm_vm_state(vm));
    cancel(lab, mvm_vm_resume(vm, waiter_for(&end, 60), NULL), &end);
    pass(lab, 1);
    assert_int_equal(MVM_RUNNING, mvm_vm_state(vm));
    cancel(lab, mvm_vm_kill(vm, waiter_for(&end, 60), NULL), &end);
    pass(lab, 1);
    assert_int_equal(MVM_STOPPED, mvm_vm_state(vm));
    mvm_vm_unref(vm);
}

static void test_cancelled_stop_of_a_deaf_guest_runs_on(void **state)
{
    mvm_vm *vm = vm_new(*state);
    ending first, second;
    mvm_wait *wait;

    set_str(sub_of(vm, "sim"), "shutdown", "ignore");
    vm_up(*state, vm);
    wait = mvm_vm_stop(vm, waiter_for(&first, 60), NULL);
    assert_non_null(mvm_vm_stop(vm, waiter_for(&second, 5), NULL));
    cancel(*state, wait, &first);
    assert_int_equal(MVM_STOPPING, mvm_vm_state(vm)); /* the second still waits */
    assert_int_equal(MVM_ETIMEOUT, await(*state, &second));
    assert_int_equal(MVM_RUNNING, mvm_vm_state(vm));
    assert_int_equal(0, verb(*state, vm, KILL));
    mvm_vm_unref(vm);
}

/* ---- events
 * ------------------------------------------------------------------------------------------ */

typedef struct journal {
    mvm__buf text;
    mvm_sub *sub, *other;
    int calls;
} journal;

/* Notes "name(arg,arg) ". */
static void note(void *ud, mvm_vm *vm, const mvm_event *event)
{
    journal *j = ud;

    (void)vm;
    j->calls++;
    if (strcmp(event->name, "console") == 0)
        return;
    mvm__buf_printf(&j->text, "%s(", event->name);
    for (int i = 0; i < event->nargs; i++)
        if (event->args[i].type == MVM_T_STRING)
            mvm__buf_printf(&j->text, "%s%s", i ? "," : "", event->args[i].as.string.ptr);
    mvm__buf_printf(&j->text, ") ");
}

static void journal_is(journal *j, const char *expected)
{
    assert_string_equal(expected, mvm__buf_str(&j->text));
    mvm__buf_free(&j->text);
    mvm_sub_cancel(j->sub);
}

static void test_events_in_order_from_the_first(void **state)
{
    mvm_vm *vm = vm_new(*state);
    journal j = {0};

    j.sub = mvm_vm_subscribe(vm, "*", note, &j, NULL);
    vm_up(*state, vm);
    verb(*state, vm, PAUSE);
    verb(*state, vm, RESUME);
    verb(*state, vm, STOP);
    pass(*state, 1);
    journal_is(&j, "state(starting,stopped) state(running,starting) ready() "
                   "state(pausing,running) state(paused,pausing) state(resuming,paused) "
                   "state(running,resuming) state(stopping,running) guest-shutdown(shutdown) "
                   "state(stopped,stopping) ");
    mvm_vm_unref(vm);
}

static void test_power_that_is_refused(void **state)
{
    mvm_vm *vm = vm_up(*state, vm_new(*state));
    ending first, second;
    journal j = {0};

    j.sub = mvm_vm_subscribe(vm, "*", note, &j, NULL);
    assert_int_equal(0, mvm_sim_fail(vm, "stop", 1, "a backup runs", NULL));
    begin(vm, STOP, &first);
    assert_int_equal(MVM_STOPPING, mvm_vm_state(vm));
    begin(vm, STOP, &second);
    assert_int_equal(MVM_EGUEST, await(*state, &first));
    assert_int_equal(MVM_EGUEST, await(*state, &second));
    assert_string_equal("a backup runs", first.err.message);
    assert_string_equal(mvm_vm_name(vm), first.err.vm);
    assert_int_equal(MVM_RUNNING, mvm_vm_state(vm));
    assert_true(mvm_vm_ready(vm));
    assert_int_equal(0, mvm_sim_fail(vm, "reset", 1, "not now", NULL));
    assert_int_equal(MVM_EGUEST, verb(*state, vm, REBOOT));
    assert_int_equal(MVM_RUNNING, mvm_vm_state(vm));
    journal_is(&j, "state(stopping,running) state(running,stopping) ");
    /* A kill that comes first is not taken back. */
    assert_int_equal(0, mvm_sim_fail(vm, "stop", 1, "a backup runs", NULL));
    begin(vm, STOP, &first);
    begin(vm, KILL, &second);
    assert_int_equal(0, await(*state, &second));
    await(*state, &first);
    assert_int_equal(MVM_STOPPED, mvm_vm_state(vm));
    vm_up(*state, vm);
    assert_int_equal(0, verb(*state, vm, REBOOT));
    assert_int_equal(0, verb(*state, vm, STOP));
    mvm_vm_unref(vm);
}

static void test_kill_while_starting(void **state)
{
    mvm_vm *vm = vm_new(*state);
    ending start, end;
    journal j = {0};

    j.sub = mvm_vm_subscribe(vm, "state", note, &j, NULL);
    begin(vm, START, &start);
    begin(vm, KILL, &end);
    assert_int_equal(MVM_ESTATE, await(*state, &start));
    assert_non_null(strstr(start.err.message, "killed"));
    assert_int_equal(0, await(*state, &end));
    pass(*state, 1);
    journal_is(&j, "state(starting,stopped) state(stopping,starting) state(stopped,stopping) ");
    vm_up(*state, vm);
    mvm_vm_unref(vm);
}

static void cancel_other(void *ud, mvm_vm *vm, const mvm_event *event)
{
    journal *j = ud;

    note(ud, vm, event);
    mvm_sub_cancel(j->other);
    j->other = NULL;
}

static void test_listener_cancelled_in_mid_delivery(void **state)
{
    mvm_vm *vm = vm_new(*state);
    journal first = {0}, second = {0}, third = {0};

    first.sub = mvm_vm_subscribe(vm, "ready", cancel_other, &first, NULL);
    second.sub = mvm_vm_subscribe(vm, "ready", note, &second, NULL);
    third.sub = mvm_vm_subscribe(vm, "ready", note, &third, NULL);
    first.other = second.sub;
    vm_up(*state, vm);
    pass(*state, 1);
    assert_int_equal(0, second.calls);
    journal_is(&first, "ready() ");
    journal_is(&third, "ready() ");
    mvm_vm_unref(vm);
}

static void subscribe_more(void *ud, mvm_vm *vm, const mvm_event *event)
{
    journal *j = ud;

    if (!j->other)
        j->other = mvm_vm_subscribe(vm, event->name, note, ud, NULL);
}

static void test_listener_that_subscribes_hears_what_follows(void **state)
{
    mvm_vm *vm = vm_new(*state);
    journal j = {0};

    j.sub = mvm_vm_subscribe(vm, "state", subscribe_more, &j, NULL);
    begin(vm, START, &(ending){0}); /* "starting" is not told yet */
    pass(*state, 1);
    mvm_sub_cancel(j.other);
    mvm__buf text = j.text;
    mvm_sub_cancel(j.sub);
    /* It subscribed while "starting" was told, after "running" may have happened: it never hears
     * "starting", and each of the others at most once. */
    assert_null(strstr(mvm__buf_str(&text), "starting,stopped"));
    mvm__buf_free(&text);
    mvm_vm_unref(vm);
}

static void test_listener_cancels_itself(void **state)
{
    mvm_vm *vm = vm_new(*state);
    journal j = {0}, all = {0};

    all.sub = mvm_vm_subscribe(vm, "state", note, &all, NULL);
    j.other = mvm_vm_subscribe(vm, "state", cancel_other, &j, NULL);
    vm_up(*state, vm);
    pass(*state, 1);
    assert_int_equal(1, j.calls);
    assert_int_equal(2, all.calls);
    mvm_sub_cancel(all.sub);
    mvm__buf_free(&j.text);
    mvm__buf_free(&all.text);
    mvm_vm_unref(vm);
}

static void test_misspelt_event(void **state)
{
    mvm_vm *vm = vm_new(*state);
    mvm_err err;

    assert_null(mvm_vm_subscribe(vm, "redy", note, NULL, &err));
    assert_int_equal(MVM_ECONFIG, err.code);
    assert_non_null(strstr(err.hint, "ready"));
    mvm_vm_unref(vm);
}

static void test_subscription_outlives_its_machine(void **state)
{
    mvm_vm *vm = vm_new(*state);
    journal j = {0};

    j.sub = mvm_vm_subscribe(vm, "*", note, &j, NULL);
    mvm_vm_unref(vm);
    journal_is(&j, "");
}

/* ---- the guest acts
 * ------------------------------------------------------------------------------------ */

static void test_guest_powers_itself_off(void **state)
{
    mvm_vm *vm = vm_up(*state, vm_new(*state));
    ending down;
    journal j = {0};

    j.sub = mvm_vm_subscribe(vm, "*", note, &j, NULL);
    assert_non_null(mvm_vm_wait_state(vm, MVM_STOPPED, waiter_for(&down, 60), NULL));
    assert_int_equal(0, mvm_sim_inject(vm, "poweroff", NULL, 0, NULL));
    assert_int_equal(0, await(*state, &down));
    pass(*state, 1);
    journal_is(&j, "guest-shutdown(shutdown) state(stopping,running) state(stopped,stopping) ");
    mvm_vm_unref(vm);
}

static void test_guest_restarts_itself(void **state)
{
    mvm_vm *vm = vm_up(*state, vm_new(*state));
    journal j = {0};

    j.sub = mvm_vm_subscribe(vm, "*", note, &j, NULL);
    assert_int_equal(0, mvm_sim_inject(vm, "reset", NULL, 0, NULL));
    pass(*state, 1);
    assert_true(mvm_vm_ready(vm));
    journal_is(&j, "guest-shutdown(reset) ready() ");
    mvm_vm_unref(vm);
}

static mvm_process *spawn(mvm_vm *vm, const char *command)
{
    const char *argv[] = {"sh", "-c", command, NULL};
    mvm_process *p = mvm_vm_spawn(vm, &(mvm_exec){.argv = argv, .stdin_null = true}, NULL);

    assert_non_null(p);
    return p;
}

/* Runs `what` against a machine in the middle of a command; the command must end at once. */
static void die_in_mid_command(mvm_lab *lab, const char *what, mvm_state after)
{
    mvm_vm *vm = vm_up(lab, vm_new(lab));
    mvm_process *p = spawn(vm, "sleep 1000");
    ending end;

    pass(lab, 1);
    double before = mvm_loop_now(mvm_lab_loop(lab));
    assert_non_null(mvm_process_wait(p, waiter_for(&end, 60), NULL));
    assert_int_equal(0, mvm_sim_inject(vm, what, NULL, 0, NULL));
    assert_int_equal(MVM_EAGENT, await(lab, &end));
    assert_string_equal(mvm_vm_name(vm), end.err.vm);
    assert_float_equal(0, mvm_loop_now(mvm_lab_loop(lab)) - before, 0.001);
    pass(lab, 0.001);
    assert_int_equal(after, mvm_vm_state(vm));
    mvm_process_unref(p);
    mvm_vm_unref(vm);
}

static void test_death_in_mid_command(void **state)
{
    die_in_mid_command(*state, "die", MVM_ERROR);
    die_in_mid_command(*state, "poweroff", MVM_STOPPED);
    die_in_mid_command(*state, "reset", MVM_RUNNING);
    die_in_mid_command(*state, "agent-exit", MVM_RUNNING);
    die_in_mid_command(*state, "panic", MVM_RUNNING);
}

static void test_death_is_told(void **state)
{
    mvm_vm *vm = vm_up(*state, vm_new(*state));
    ending paused;
    mvm_err err;
    journal j = {0};

    j.sub = mvm_vm_subscribe(vm, "*", note, &j, NULL);
    assert_non_null(mvm_vm_wait_state(vm, MVM_PAUSED, waiter_for(&paused, 60), NULL));
    assert_int_equal(0, mvm_sim_inject(vm, "die", "struck by lightning", 19, NULL));
    assert_int_equal(MVM_ESTATE, await(*state, &paused));
    assert_non_null(strstr(paused.err.message, "struck by lightning"));
    assert_null(mvm_vm_wait_ready(vm, waiter_for(&paused, 60), &err));
    assert_non_null(strstr(err.message, "struck by lightning"));
    pass(*state, 1);
    journal_is(&j, "state(error,running) error() ");
    vm_up(*state, vm);
    mvm_vm_unref(vm);
}

static void test_panic_is_an_event_with_its_text(void **state)
{
    mvm_vm *vm = vm_up(*state, vm_new(*state));
    journal j = {0};

    j.sub = mvm_vm_subscribe(vm, "panic", note, &j, NULL);
    assert_int_equal(0, mvm_sim_inject(vm, "panic", "out of coffee", 13, NULL));
    pass(*state, 10);
    assert_int_equal(1, j.calls);
    assert_non_null(strstr(mvm__buf_str(&j.text), "out of coffee"));
    mvm__buf_free(&j.text);
    mvm_sub_cancel(j.sub);
    mvm_vm_unref(vm);
}

static void test_paused_guest_does_nothing(void **state)
{
    mvm_vm *vm = vm_up(*state, vm_new(*state));
    mvm_process *p = spawn(vm, "sleep 2");
    ending end;

    pass(*state, 1);
    assert_int_equal(0, verb(*state, vm, PAUSE));
    assert_int_equal(MVM_ESTATE, mvm_sim_inject(vm, "panic", NULL, 0, NULL));
    pass(*state, 1000);
    assert_false(mvm_process_ended(p));
    assert_int_equal(0, verb(*state, vm, RESUME));
    double before = mvm_loop_now(mvm_lab_loop(*state));
    assert_non_null(mvm_process_wait(p, waiter_for(&end, 60), NULL));
    assert_int_equal(0, await(*state, &end));
    assert_float_equal(1, mvm_loop_now(mvm_lab_loop(*state)) - before, 0.01);
    mvm_process_unref(p);
    mvm_vm_unref(vm);
}

static void test_lab_close_kills_what_runs(void **state)
{
    mvm_lab *lab = sim_lab_new();

    (void)state;
    for (int i = 0; i < 20; i++)
        mvm_vm_unref(vm_up(lab, vm_new(lab))); /* the lab holds it while it is up */
    assert_int_equal(20, mvm_lab_up(lab));
    assert_int_equal(0, mvm_lab_close(lab));
}

/* ---- resets, and agents that never come -------------------------------------------------------
 */

static void test_reset_that_fails_is_told_at_once(void **state)
{
    mvm_lab *lab = *state;
    mvm_err err;
    ending end;
    mvm_vm *vm = mvm_vm_new(lab, "a", &err);

    set_num(sub_of(vm, "sim"), "boot", 3600);
    mvm_vm_start(vm, waiter_for(&end, 60), &err);
    await(lab, &end);
    mvm_sim_fail(vm, "reset", 1, "no reset today", &err);
    assert_non_null(mvm_vm_reboot(vm, waiter_for(&end, 600), &err));
    await(lab, &end);
    assert_int_equal(MVM_EBACKEND, end.err.code);
    assert_non_null(strstr(end.err.message, "no reset today"));
    mvm_vm_unref(vm);
}

static void test_no_verb_during_a_reset(void **state)
{
    mvm_lab *lab = *state;
    mvm_err err;
    ending end, other;
    mvm_vm *vm = mvm_vm_new(lab, "a", &err);

    set_bool(sub_of(vm, "sim"), "agent", false);
    mvm_vm_start(vm, waiter_for(&end, 60), &err);
    await(lab, &end);
    assert_non_null(mvm_vm_reboot(vm, waiter_for(&end, 60), &err));
    assert_null(mvm_vm_pause(vm, waiter_for(&other, 60), &err));
    assert_int_equal(MVM_ESTATE, err.code);
    assert_non_null(strstr(err.message, "being reset"));
    assert_null(mvm_vm_stop(vm, waiter_for(&other, 60), &err));
    await(lab, &end); /* without an agent: until it has been reset */
    assert_int_equal(0, end.err.code);
    assert_non_null(mvm_vm_pause(vm, waiter_for(&other, 60), &err));
    await(lab, &other);
    assert_int_equal(MVM_PAUSED, mvm_vm_state(vm));
    mvm_vm_unref(vm);
}

static void test_ready_that_can_not_come_is_told_when_it_runs(void **state)
{
    mvm_lab *lab = *state;
    mvm_err err;
    ending end, ready;
    mvm_vm *vm = mvm_vm_new(lab, "a", &err);

    set_bool(sub_of(vm, "sim"), "agent", false);
    assert_non_null(mvm_vm_wait_ready(vm, waiter_for(&ready, 500), &err));
    mvm_vm_start(vm, waiter_for(&end, 60), &err);
    await(lab, &end);
    await(lab, &ready);
    assert_int_equal(MVM_EUNSUPPORTED, ready.err.code);
    mvm_vm_unref(vm);
}

/* After a panic nothing answers: waits and commands end at once, now and later, until a reset. */
static void test_panicked_guest_stays_panicked(void **state)
{
    mvm_lab *lab = *state;
    mvm_err err;
    ending end;
    mvm_vm *vm = mvm_vm_new(lab, "a", &err);
    const char *argv[] = {"true", NULL};

    vm_up(lab, vm);
    assert_int_equal(0, mvm_sim_inject(vm, "panic", "bad luck", 8, &err));
    while (mvm_vm_ready(vm))
        mvm_loop_step(mvm_lab_loop(lab), true);
    assert_null(mvm_vm_wait_ready(vm, waiter_for(&end, 500), &err));
    assert_int_equal(MVM_EAGENT, err.code);
    assert_non_null(strstr(err.message, "panicked"));
    assert_null(mvm_vm_spawn(vm, &(mvm_exec){.argv = argv}, &err));
    assert_int_equal(MVM_EAGENT, err.code);
    assert_null(mvm_vm_stop(vm, waiter_for(&end, 500), &err));
    assert_int_equal(MVM_EAGENT, err.code);
    assert_non_null(mvm_vm_kill(vm, waiter_for(&end, 60), &err));
    await(lab, &end);
    /* A new run, a new kernel: who waits for it before it starts is not told of the old one. */
    assert_non_null(mvm_vm_wait_ready(vm, waiter_for(&end, 60), &err));
    vm_up(lab, vm);
    await(lab, &end);
    assert_int_equal(0, end.err.code);
    mvm_vm_unref(vm);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(every_verb_in_every_state),
        T(refusal_names_state_and_machine),
        T(names_are_unique),
        T(config_is_frozen_while_up),
        T(failed_start_can_be_started_again),
        T(failed_op_leaves_the_state_before),
        T(failed_stats_and_good_stats),
        T(unknown_failure_is_refused),
        T(stop_of_a_deaf_guest_times_out),
        T(stop_of_a_deaf_guest_without_agent),
        T(ready_has_a_deadline),
        T(without_agent_ready_never_comes),
        T(wait_for_a_state),
        T(every_wait_can_be_cancelled),
        T(cancelled_stop_of_a_deaf_guest_runs_on),
        T(events_in_order_from_the_first),
        T(power_that_is_refused),
        T(kill_while_starting),
        T(listener_cancelled_in_mid_delivery),
        T(listener_that_subscribes_hears_what_follows),
        T(listener_cancels_itself),
        T(misspelt_event),
        T(subscription_outlives_its_machine),
        T(guest_powers_itself_off),
        T(guest_restarts_itself),
        T(death_in_mid_command),
        T(death_is_told),
        T(panic_is_an_event_with_its_text),
        T(paused_guest_does_nothing),
        T(lab_close_kills_what_runs),
        T(reset_that_fails_is_told_at_once),
        T(no_verb_during_a_reset),
        T(ready_that_can_not_come_is_told_when_it_runs),
        T(panicked_guest_stays_panicked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
