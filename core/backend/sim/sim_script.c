/* SPDX-License-Identifier: MIT */
/*
 * Scripting simulated machines (mvm/sim.h): answers to commands, files, failures that are asked
 * for, and things that the guest does by itself. Loop thread only.
 */
#include <string.h>

#include "backend/sim/sim.h"
#include "backend/sim/sim_internal.h"

typedef struct failure {
    mvm__link link;
    char *op, *message;
    int count; /* -1: all */
    bool spent;
} failure;

typedef struct injection {
    mvm__link link;
    char *what, *text;
    size_t len;
} injection;

/* 0 with the machine's sim, which must be `up` or down. */
static int sim_get(mvm_vm *vm, bool up, mvm__sim **sim, mvm_err *err)
{
    int status = *mvm_vm_backend(vm) ? 0 : mvm_vm_check(vm, err);

    if (status != 0)
        return status;
    if (strcmp(mvm_vm_backend(vm), mvm__backend_sim.name) != 0) {
        mvm_fail(err, MVM_ESTATE, "runs on %s, which can't be scripted", mvm_vm_backend(vm));
        mvm_err_hint(err, "only machines with backend = \"sim\" can");
    } else if (mvm_vm_up(vm) != up) {
        mvm_fail(err, MVM_ESTATE, "is %s", mvm_state_word(mvm_vm_state(vm)));
        mvm_err_hint(err, up ? "start it first" : "script it while it is down");
    } else {
        *sim = mvm__sim_of(vm);
        return 0;
    }
    mvm_err_vm(err, mvm_vm_name(vm));
    return MVM_ESTATE;
}

int mvm_sim_script(mvm_vm *vm, mvm_sim_exec_fn fn, void *ud, mvm_err *err)
{
    mvm__sim *sim;
    int status = sim_get(vm, false, &sim, err);

    if (status != 0)
        return status;
    sim->script = fn;
    sim->script_ud = ud;
    return 0;
}

int mvm_sim_file(mvm_vm *vm, const char *path, const void *data, size_t len, mvm_err *err)
{
    mvm__sim *sim;
    int status = sim_get(vm, false, &sim, err);

    if (status != 0)
        return status;
    if (path[0] != '/')
        return mvm_fail(err, MVM_ECONFIG, "`%s` is not an absolute path of the guest", path);
    MVM_AUTO_FREE char *clean = mvm__sim_path("/", path);
    mvm__sim_image_add(sim, clean, data, len);
    return 0;
}

/* ---- failures ---------------------------------------------------------------------- */

static void failure_free(failure *f)
{
    mvm__list_remove(&f->link);
    mvm__free(f->op);
    mvm__free(f->message);
    mvm__free(f);
}

void mvm__sim_failures_clear(mvm__sim *sim)
{
    mvm__list_each (it, &sim->failures)
        failure_free(mvm__container_of(it, failure, link));
}

int mvm_sim_fail(mvm_vm *vm, const char *op, int count, const char *message, mvm_err *err)
{
    static const char *const ops[] = {"start",  "pause",  "resume",  "stop", "kill",
                                      "reset",  "stats",  "exec",    "open", "agent",
                                      "attach", "detach", "balloon", "link"};
    bool known = false;

    for (size_t i = 0; i < MVM_COUNT(ops); i++)
        known |= strcmp(ops[i], op) == 0;
    if (!known) {
        const char *near = mvm_nearest(op, ops, MVM_COUNT(ops));
        mvm_fail(err, MVM_ECONFIG, "the sim back end has no operation `%s` to fail", op);
        mvm_err_hint(err, near ? "did you mean `%s`?" : "%s",
                     near ? near : "start pause resume stop kill reset stats exec open agent");
        return MVM_ECONFIG;
    }
    mvm__sim *sim;
    int status = sim_get(vm, mvm_vm_up(vm), &sim, err);
    if (status != 0)
        return status;
    if (count == 0)
        return 0;
    failure *f = mvm__alloc(sizeof(*f));
    f->op = mvm__strdup(op);
    f->message = mvm__strdup(message);
    f->count = count;
    mvm__list_append(&sim->failures, &f->link);
    return 0;
}

const char *mvm__sim_failure(mvm__sim *sim, const char *op)
{
    mvm__list_each (it, &sim->failures) {
        failure *f = mvm__container_of(it, failure, link);
        if (f->spent) {
            failure_free(f);
            continue;
        }
        if (strcmp(f->op, op) != 0)
            continue;
        if (f->count > 0)
            f->spent = --f->count == 0; /* freed by the next call, which the message lives until */
        return f->message;
    }
    return NULL;
}

/* ---- acts of the guest ----------------------------------------------------------------- */

static void injection_free(injection *in)
{
    mvm__list_remove(&in->link);
    mvm__free(in->what);
    mvm__free(in->text);
    mvm__free(in);
}

void mvm__sim_injections_clear(mvm__sim *sim)
{
    mvm__list_each (it, &sim->injections)
        injection_free(mvm__container_of(it, injection, link));
}

static void emit(mvm__sim *sim, const injection *in)
{
    mvm_event event = {.name = in->what, .at = mvm_loop_now(sim->loop)};
    mvm_err err;

    if (strcmp(in->what, "error") == 0) {
        mvm_fail(&err, MVM_EBACKEND, "%s", in->text);
        mvm_err_vm(&err, mvm_vm_name(sim->vm));
        event.err = &err;
    } else if (in->len > 0) {
        event.nargs = 1;
        event.args[0] = (mvm_value){.type = MVM_T_STRING, .as.string = {in->text, in->len}};
    }
    mvm__vm_emit(sim->vm, &event);
}

static void act(mvm__sim *sim, const injection *in)
{
    const char *text = in->len > 0 ? in->text : NULL;

    if (strcmp(in->what, "die") == 0)
        mvm__sim_die(sim, text ? text : "the simulated hypervisor died");
    else if (strcmp(in->what, "panic") == 0)
        mvm__sim_panic(sim, text ? text : "Fatal exception");
    else if (strcmp(in->what, "poweroff") == 0)
        mvm__sim_power(sim, false);
    else if (strcmp(in->what, "reset") == 0)
        mvm__sim_power(sim, true);
    else if (strcmp(in->what, "agent-exit") == 0)
        mvm__sim_agent_stop(sim, true);
    else if (strcmp(in->what, "console") == 0)
        mvm__sim_console_print(sim, in->text, in->len);
    else
        emit(sim, in);
}

static void inject_all(void *ud)
{
    mvm__sim *sim = ud;
    mvm__list now;

    sim->inject_timer = NULL;
    mvm__list_move(&now, &sim->injections);
    for (mvm__link *l; (l = mvm__list_shift(&now)) != NULL;) {
        injection *in = mvm__container_of(l, injection, link);
        if (sim->up && sim->op != MVM__SIM_EXIT)
            act(sim, in);
        injection_free(in);
    }
}

static bool is_event(const char *word)
{
    static const char *const names[] = {
#define X(name, args) name,
        MVM_EVENT_MAP(X)
#undef X
    };

    for (size_t i = 0; i < MVM_COUNT(names); i++)
        if (strcmp(names[i], word) == 0)
            return true;
    return false;
}

/* Can `what` be injected? *guest: it is an act of the guest, which does none while it is paused. */
static bool inject_known(const char *what, bool *guest)
{
    static const char *const acts[] = {"panic", "poweroff", "reset", "agent-exit", "console"};

    *guest = false;
    for (size_t i = 0; i < MVM_COUNT(acts); i++)
        *guest |= strcmp(acts[i], what) == 0;
    return *guest || strcmp(what, "die") == 0 || is_event(what);
}

int mvm_sim_inject(mvm_vm *vm, const char *what, const char *text, size_t len, mvm_err *err)
{
    bool guest;

    if (!inject_known(what, &guest)) {
        mvm_fail(err, MVM_ECONFIG, "a simulated machine can't `%s`", what);
        mvm_err_hint(err, "panic, poweroff, reset, die, agent-exit, console, or an event");
        return MVM_ECONFIG;
    }
    mvm__sim *sim;
    int status = sim_get(vm, true, &sim, err);
    if (status != 0)
        return status;
    if (guest && !sim->clock.running) {
        mvm_fail(err, MVM_ESTATE, "is %s", mvm_state_word(mvm_vm_state(vm)));
        mvm_err_vm(err, mvm_vm_name(vm));
        return MVM_ESTATE;
    }
    injection *in = mvm__alloc(sizeof(*in));
    in->what = mvm__strdup(what);
    in->text = mvm__strndup(text ? text : "", text ? len : 0);
    in->len = text ? len : 0;
    mvm__list_append(&sim->injections, &in->link);
    if (!sim->inject_timer)
        sim->inject_timer = mvm_timer_start(sim->loop, 0, inject_all, sim);
    return 0;
}
