/* SPDX-License-Identifier: MIT */
/*
 * The life of a machine: the table of legal transitions, the verbs that begin
 * one, and the back end's reports that end one. Every change of state goes
 * through enter(), which tells listeners first and waiters second.
 */
#include <string.h>

#include "base/base.h"
#include "mvm/console.h"
#include "vm/mount.h"
#include "vm/record.h"
#include "vm/vm_struct.h"
#include "vm/vsock.h"

#define BIT(state) (1u << MVM_##state)

/* From each state, the states that may follow. `error` and `stopped` follow from every state in
 * which something runs, because it may die at any time. */
static const unsigned g_next[MVM_STATE_COUNT] = {
    [MVM_STOPPED] = BIT(STARTING) | BIT(RESTORING),
    [MVM_STARTING] = BIT(RUNNING) | BIT(STOPPING) | BIT(STOPPED) | BIT(ERROR),
    [MVM_RUNNING] =
        BIT(PAUSING) | BIT(STOPPING) | BIT(SAVING) | BIT(RESTORING) | BIT(STOPPED) | BIT(ERROR),
    [MVM_PAUSING] = BIT(PAUSED) | BIT(RUNNING) | BIT(STOPPING) | BIT(STOPPED) | BIT(ERROR),
    [MVM_PAUSED] =
        BIT(RESUMING) | BIT(STOPPING) | BIT(SAVING) | BIT(RESTORING) | BIT(STOPPED) | BIT(ERROR),
    [MVM_RESUMING] = BIT(RUNNING) | BIT(PAUSED) | BIT(STOPPING) | BIT(STOPPED) | BIT(ERROR),
    [MVM_STOPPING] = BIT(RUNNING) | BIT(STOPPED) | BIT(ERROR),
    [MVM_SAVING] = BIT(RUNNING) | BIT(PAUSED) | BIT(STOPPING) | BIT(STOPPED) | BIT(ERROR),
    [MVM_RESTORING] = BIT(RUNNING) | BIT(PAUSED) | BIT(STOPPING) | BIT(STOPPED) | BIT(ERROR),
    [MVM_ERROR] = BIT(STARTING) | BIT(RESTORING),
};

static const char *const g_words[MVM_STATE_COUNT] = {
#define X(name, word) word,
    MVM_STATE_MAP(X)
#undef X
};

const char *mvm_state_word(mvm_state state)
{
    return state < MVM_STATE_COUNT ? g_words[state] : "unknown";
}

int mvm_state_parse(const char *word)
{
    for (int i = 0; i < MVM_STATE_COUNT; i++)
        if (strcmp(g_words[i], word) == 0)
            return i;
    return -1;
}

mvm_state mvm_vm_state(const mvm_vm *vm)
{
    return vm->state;
}

bool mvm_vm_up(const mvm_vm *vm)
{
    return vm->state != MVM_STOPPED && vm->state != MVM_ERROR;
}

bool mvm_vm_ready(const mvm_vm *vm)
{
    return mvm_vm_up(vm) && mvm__agent_is_ready(vm->agent) && vm->mounts_left == 0;
}

static void enter(mvm_vm *vm, mvm_state state)
{
    mvm_state old = vm->state;

    if (!(g_next[old] & (1u << state)))
        mvm__die("%s: from %s to %s", vm->name, g_words[old], g_words[state]);
    vm->state = state;
    mvm_event event = {.name = "state", .nargs = 2};
    const char *words[2] = {g_words[state], g_words[old]};
    for (int i = 0; i < 2; i++) {
        event.args[i].type = MVM_T_STRING;
        event.args[i].as.string.ptr = words[i];
        event.args[i].as.string.len = strlen(words[i]);
    }
    mvm__vm_emit(vm, &event);
    mvm__waits_done_tag(&vm->waits, state, NULL);
}

/* ---- waits ---------------------------------------------------------------------- */

static mvm_wait *wait_new(mvm_vm *vm, mvm__list *list, int tag, const mvm_waiter *waiter,
                          const char *what)
{
    mvm_wait *w = mvm__wait_new(vm->lab->loop, list, waiter, "%s: %s", vm->name, what);

    w->tag = tag;
    w->subject = vm;
    return w;
}

/* A wait that is over before it began: decided now, told from the loop. */
static mvm_wait *wait_done(mvm_vm *vm, const mvm_waiter *waiter)
{
    mvm_wait *w = wait_new(vm, NULL, 0, waiter, "");

    mvm__wait_done(w, NULL);
    return w;
}

static int wrong_state(const mvm_vm *vm, mvm_err *err, const char *verb)
{
    mvm__vm_fail(vm, err, MVM_ESTATE, "can't %s: the machine is %s", verb,
                 vm->resetting ? "being reset" : g_words[vm->state]);
    if (!mvm_vm_up(vm))
        mvm_err_hint(err, "start it first");
    else if (vm->state == MVM_PAUSED)
        mvm_err_hint(err, "resume it first, or kill it");
    return MVM_ESTATE;
}

mvm_wait *mvm_vm_wait_state(mvm_vm *vm, mvm_state state, const mvm_waiter *waiter, mvm_err *err)
{
    if (vm->state == state)
        return wait_done(vm, waiter);
    if (vm->state == MVM_ERROR && state != MVM_STARTING) {
        mvm__vm_fail(vm, err, MVM_ESTATE, "will not be %s: %s", g_words[state], vm->why.message);
        return NULL;
    }
    return wait_new(vm, &vm->waits, (int)state, waiter, g_words[state]);
}

bool mvm__vm_panicked(const mvm_vm *vm, mvm_err *err)
{
    if (vm->panicked && err)
        *err = vm->why;
    return vm->panicked;
}

/* A boot that stalls says where: the console's last line goes into the hint. */
static void ready_dropped(mvm_wait *w)
{
    mvm_vm *vm = w->subject;
    uint64_t pos = 0;
    size_t len, start;
    const char *text = mvm_console_text(vm->console, &pos, &len);

    if (w->err->code != MVM_ETIMEOUT)
        return;
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r' || text[len - 1] == ' '))
        len--;
    for (start = len; start > 0 && text[start - 1] != '\n' && len - start < 160; start--)
        ;
    if (len > start)
        mvm_err_hint(w->err, "its console's last line: %.*s", (int)(len - start), text + start);
    else
        mvm_err_hint(w->err, "its console has printed nothing");
}

mvm_wait *mvm_vm_wait_ready(mvm_vm *vm, const mvm_waiter *waiter, mvm_err *err)
{
    const char *reason = NULL;

    if (mvm_vm_ready(vm))
        return wait_done(vm, waiter);
    if (vm->state == MVM_ERROR) {
        mvm__vm_fail(vm, err, MVM_ESTATE, "will not be ready: %s", vm->why.message);
        return NULL;
    }
    if (mvm__vm_panicked(vm, err))
        return NULL;
    if (vm->ops && !mvm_vm_can(vm, "agent", &reason)) {
        mvm__vm_fail(vm, err, MVM_EUNSUPPORTED, "will never be ready: %s", reason);
        return NULL;
    }
    mvm_wait *w = wait_new(vm, &vm->waits, MVM__WAIT_READY, waiter, "its agent to be ready");
    w->dropped = ready_dropped;
    return w;
}

/* The run is over: what was waited for either came true or never will. */
static void end_waits(mvm_vm *vm, const mvm_err *err)
{
    mvm_err why;

    mvm__waits_done_tag(&vm->waits, MVM__WAIT_DOWN, NULL);
    mvm__waits_done_tag(&vm->waits, MVM__WAIT_STOP, err);
    if (err)
        mvm__waits_done_tag(&vm->waits, MVM__WAIT_START, err);
    mvm__vm_fail(vm, &why, MVM_ESTATE, "%s",
                 err          ? err->message
                 : vm->killed ? "was killed"
                              : "the guest powered off");
    if (err)
        mvm_err_hint(&why, "%s", err->hint);
    mvm__waits_done(&vm->waits, &why);
    mvm__waits_done(&vm->verb, &why);
    mvm__waits_done(&vm->stat_waits, &why);
}

/* ---- verbs ------------------------------------------------------------------------ */

mvm_wait *mvm_vm_start(mvm_vm *vm, const mvm_waiter *waiter, mvm_err *err)
{
    if (mvm_vm_up(vm)) {
        wrong_state(vm, err, "start");
        return NULL;
    }
    if (mvm_vm_check(vm, err) != 0)
        return NULL;
    vm->started = mvm_loop_now(vm->lab->loop);
    vm->nmarks = 0;
    vm->killed = vm->rebooting = vm->resetting = vm->agent_seen = vm->panicked = false;
    mvm__vm_clear_stats(vm);
    if (mvm__vm_ports_begin(vm, err) != 0 || vm->ops->start(vm, err) != 0) {
        mvm__vm_ports_abandon(vm);
        mvm_err_vm(err, vm->name);
        return NULL;
    }
    vm->why = (mvm_err){0};
    mvm_vm_ref(vm); /* the lab's, until on_exit */
    mvm__record_freeze(vm->config, true);
    enter(vm, MVM_STARTING);
    return wait_new(vm, &vm->waits, MVM__WAIT_START, waiter, "running");
}

static mvm_wait *verb(mvm_vm *vm, const char *word, mvm_state from, mvm_state during,
                      int (*op)(mvm_vm *, mvm_err *), const mvm_waiter *waiter, mvm_err *err)
{
    const char *reason = NULL;

    if (vm->state != from || vm->resetting) {
        wrong_state(vm, err, word);
        return NULL;
    }
    if (!mvm_vm_can(vm, "pause", &reason)) {
        mvm__vm_fail(vm, err, MVM_EUNSUPPORTED, "can't %s: %s", word, reason);
        return NULL;
    }
    if (op(vm, err) != 0) {
        mvm_err_vm(err, vm->name);
        return NULL;
    }
    enter(vm, during);
    return wait_new(vm, &vm->verb, 0, waiter, word);
}

mvm_wait *mvm_vm_pause(mvm_vm *vm, const mvm_waiter *waiter, mvm_err *err)
{
    return verb(vm, "pause", MVM_RUNNING, MVM_PAUSING, vm->ops ? vm->ops->pause : NULL, waiter,
                err);
}

mvm_wait *mvm_vm_resume(mvm_vm *vm, const mvm_waiter *waiter, mvm_err *err)
{
    return verb(vm, "resume", MVM_PAUSED, MVM_RESUMING, vm->ops ? vm->ops->resume : NULL, waiter,
                err);
}

/* Nobody waits for the reboot any more: from now on an agent that goes away is news again. */
static void reboot_dropped(mvm_wait *w)
{
    mvm_vm *vm = w->subject;

    vm->rebooting = false;
    mvm__list_each (l, &vm->waits) {
        if (mvm__container_of(l, mvm_wait, link)->tag == MVM__WAIT_REBOOT)
            vm->rebooting = true;
    }
}

mvm_wait *mvm_vm_reboot(mvm_vm *vm, const mvm_waiter *waiter, mvm_err *err)
{
    if (vm->state != MVM_RUNNING || vm->resetting) {
        wrong_state(vm, err, "reboot");
        return NULL;
    }
    bool asked = mvm__agent_is_ready(vm->agent);
    int rc = asked ? mvm__agent_power(vm->agent, 1, err) : vm->ops->reset(vm, err);
    if (rc != 0) {
        mvm_err_vm(err, vm->name);
        return NULL;
    }
    vm->resetting = !asked;
    if (!vm->agent_seen)
        return wait_new(vm, &vm->verb, 0, waiter, "reset");
    vm->rebooting = true;
    mvm_wait *w = wait_new(vm, &vm->waits, MVM__WAIT_REBOOT, waiter, "its agent to be ready again");
    w->dropped = reboot_dropped;
    return w;
}

/* A guest that does not follow: the machine runs on, unless another stop still waits. */
static void stop_dropped(mvm_wait *w)
{
    mvm_vm *vm = w->subject;

    mvm__list_each (l, &vm->waits) {
        if (mvm__container_of(l, mvm_wait, link)->tag == MVM__WAIT_STOP)
            return;
    }
    if (vm->state == MVM_STOPPING && !vm->killed)
        enter(vm, MVM_RUNNING);
}

mvm_wait *mvm_vm_stop(mvm_vm *vm, const mvm_waiter *waiter, mvm_err *err)
{
    if (!mvm_vm_up(vm))
        return wait_done(vm, waiter);
    if ((vm->state != MVM_RUNNING && vm->state != MVM_STOPPING) || vm->resetting) {
        wrong_state(vm, err, "stop");
        return NULL;
    }
    if (mvm__vm_panicked(vm, err)) {
        mvm_err_hint(err, "vm:kill() ends it");
        return NULL;
    }
    if (vm->state == MVM_RUNNING) {
        int rc = mvm__agent_is_ready(vm->agent) ? mvm__agent_power(vm->agent, 0, err)
                                                : vm->ops->power_button(vm, err);
        if (rc != 0) {
            mvm_err_vm(err, vm->name);
            return NULL;
        }
        enter(vm, MVM_STOPPING);
    }
    mvm_wait *w = wait_new(vm, &vm->waits, MVM__WAIT_STOP, waiter, "the guest to power off");
    w->dropped = stop_dropped;
    return w;
}

mvm_wait *mvm_vm_kill(mvm_vm *vm, const mvm_waiter *waiter, mvm_err *err)
{
    (void)err; /* there is no state in which it can't be asked */
    if (!mvm_vm_up(vm))
        return wait_done(vm, waiter);
    if (!vm->killed) {
        vm->killed = true;
        if (vm->state != MVM_STOPPING)
            enter(vm, MVM_STOPPING);
        vm->ops->kill(vm);
    }
    return wait_new(vm, &vm->waits, MVM__WAIT_DOWN, waiter, "the end of the machine");
}

/* ---- reports of the back end ---------------------------------------------------------- */

void mvm__vm_on_running(mvm_vm *vm)
{
    if (vm->state != MVM_STARTING && vm->state != MVM_RESUMING)
        return; /* kill or the guest's end came first */
    mvm__vm_mark(vm, "running");
    enter(vm, MVM_RUNNING);
    mvm__waits_done_tag(&vm->waits, MVM__WAIT_START, NULL);
    mvm__waits_done(&vm->verb, NULL);
    mvm_err never;
    const char *reason = NULL;
    if (mvm_vm_can(vm, "agent", &reason))
        return;
    mvm__vm_fail(vm, &never, MVM_EUNSUPPORTED, "will never be ready: %s", reason);
    mvm__waits_done_tag(&vm->waits, MVM__WAIT_READY, &never);
}

void mvm__vm_on_paused(mvm_vm *vm)
{
    if (vm->state != MVM_PAUSING)
        return;
    enter(vm, MVM_PAUSED);
    mvm__waits_done(&vm->verb, NULL);
}

void mvm__vm_on_reset(mvm_vm *vm)
{
    vm->panicked = false;
    vm->resetting = false;
    mvm__vm_vsock_reset(vm->vsock);
    mvm__waits_done(&vm->verb, NULL);
}

void mvm__vm_on_failed(mvm_vm *vm, const mvm_err *err)
{
    mvm_err copy = *err;

    mvm_err_vm(&copy, vm->name);
    if (vm->state == MVM_PAUSING) {
        enter(vm, MVM_RUNNING);
    } else if (vm->state == MVM_RESUMING) {
        enter(vm, MVM_PAUSED);
    } else if (vm->resetting) {
        vm->resetting = vm->rebooting = false;
        mvm__waits_done_tag(&vm->waits, MVM__WAIT_REBOOT, &copy);
    }
    mvm__waits_done(&vm->verb, &copy);
}

void mvm__vm_on_kernel_panic(mvm_vm *vm, const char *why)
{
    mvm_err err;

    mvm__vm_fail(vm, &err, MVM_EAGENT, "the guest's kernel panicked%s%.200s", why[0] ? ": " : "",
                 why);
    if (!vm->panicked || why[0])
        vm->why = err;
    vm->panicked = true;
    mvm__agent_reset(vm->agent, &err);
    mvm__waits_done_tag(&vm->waits, MVM__WAIT_READY, &err);
    mvm__waits_done_tag(&vm->waits, MVM__WAIT_REBOOT, &err);
}

void mvm__vm_on_guest_shutdown(mvm_vm *vm, const char *reason)
{
    mvm__vm_emit_text(vm, "guest-shutdown", reason);
    if (strcmp(reason, "reset") == 0) {
        vm->panicked = false;
        mvm_err err;
        mvm__vm_fail(vm, &err, MVM_EAGENT, "the guest restarted");
        mvm__agent_reset(vm->agent, &err);
    } else if (strcmp(reason, "panic") == 0) {
        mvm__vm_on_kernel_panic(vm, "");
    } else if (strcmp(reason, "shutdown") == 0 && vm->state == MVM_RUNNING) {
        enter(vm, MVM_STOPPING);
    }
}

static void release_run(void *ud)
{
    mvm_vm_unref(ud);
}

void mvm__vm_on_exit(mvm_vm *vm, const mvm_err *err)
{
    mvm_err copy, gone;

    if (!mvm_vm_up(vm))
        mvm__die("%s: its end was reported twice", vm->name);
    if (vm->killed)
        err = NULL; /* dying is what was asked for */
    if (err) {
        copy = *err;
        mvm_err_vm(&copy, vm->name);
        err = &copy;
        vm->why = copy;
    }
    mvm__vm_fail(vm, &gone, MVM_EAGENT, "the machine went down%s%s", err ? ": " : "",
                 err          ? err->message
                 : vm->killed ? " (killed)"
                              : "");
    mvm__agent_down(vm->agent, &gone);
    gone.code = MVM_ESTATE;
    mvm__vm_ports_down(vm, &gone);
    mvm__record_freeze(vm->config, false);
    vm->rebooting = vm->resetting = vm->panicked = false;
    enter(vm, err ? MVM_ERROR : MVM_STOPPED);
    if (err)
        mvm__vm_emit(vm, &(mvm_event){.name = "error", .err = err});
    end_waits(vm, err);
    mvm_loop_defer(vm->lab->loop, release_run, vm);
}

void mvm__vm_on_agent_ready(mvm_vm *vm, const mvm__agent_info *info)
{
    double now = mvm_loop_now(vm->lab->loop) - vm->started;

    vm->agent_seen = true;
    /* The guest's clock began with its kernel, so its own figures place these two. */
    mvm__vm_mark_at(vm, "kernel", now - (double)info->now_ns * 1e-9);
    mvm__vm_mark_at(vm, "init", now - (double)(info->now_ns - info->init_ns) * 1e-9);
    mvm__mounts_begin(vm);
}

void mvm__vm_on_mounted(mvm_vm *vm)
{
    mvm__vm_mark(vm, "ready");
    mvm__vm_emit(vm, &(mvm_event){.name = "ready"});
    mvm__waits_done_tag(&vm->waits, MVM__WAIT_READY, NULL);
    if (vm->rebooting) {
        vm->rebooting = false;
        mvm__waits_done_tag(&vm->waits, MVM__WAIT_REBOOT, NULL);
    }
}

void mvm__vm_on_power_refused(mvm_vm *vm, const mvm_err *err)
{
    vm->rebooting = false;
    if (vm->state == MVM_STOPPING && !vm->killed)
        enter(vm, MVM_RUNNING);
    mvm__waits_done_tag(&vm->waits, MVM__WAIT_STOP, err);
    mvm__waits_done_tag(&vm->waits, MVM__WAIT_REBOOT, err);
}

void mvm__vm_on_agent_lost(mvm_vm *vm, const mvm_err *err)
{
    if (vm->rebooting || vm->state != MVM_RUNNING)
        return;
    mvm__vm_emit(vm, &(mvm_event){.name = "error", .err = err});
    mvm__waits_done_tag(&vm->waits, MVM__WAIT_READY, err);
}
