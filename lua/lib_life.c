/* SPDX-License-Identifier: MIT */
/*
 * The life of machines: the methods of the class "vm" that begin a transition or wait for one, and
 * the end of a machine's scope.
 */
#include "mvl.h"

#include <string.h>

/* In check mode a start validates the machine, and nothing else happens; true: that was it. */
static bool plan(lua_State *L, bool start)
{
    mvl_vm *self = mvl_check_vm_box(L, 1);
    mvm_err err;

    if (!self->obj.ctx->checking)
        return false;
    if (start && mvm_vm_check(self->vm, &err) != 0)
        mvl_fail(L, &err);
    self->planned = self->planned || start;
    lua_settop(L, 1);
    return true;
}

typedef mvm_wait *(*verb_fn)(mvm_vm *vm, const mvm_waiter *waiter, mvm_err *err);

/* Once a machine is down, whoever listens is told before the caller goes on, and nothing but the
 * caller keeps it: a new machine may have its name. */
static int settle(lua_State *L, const mvm_err *err)
{
    mvl_vm *self = mvl_check_vm_box(L, 1);

    if (err)
        return mvl_fail(L, err);
    lua_settop(L, 1);
    if (self->untold && !mvm_vm_up(self->vm))
        return settle(L, mvl_turn(L, settle));
    return 1;
}

static int verb(lua_State *L, verb_fn begin, double timeout)
{
    mvl_vm *self = mvl_check_vm_box(L, 1);

    timeout = mvl_opt_timeout(L, 2, timeout, NULL);
    if (plan(L, begin == mvm_vm_start))
        return 1;
    mvl_wait *w = mvl_wait_begin(L, timeout);
    w->core = begin(self->vm, &w->waiter, &w->err);
    if (mvm_vm_up(self->vm)) {
        mvl_obj_pin(self, true); /* until it is down */
        self->untold = true;
    }
    return settle(L, mvl_await(L, w, settle));
}

/// vm:start(opts?: {timeout?: number}) -> vm
/// Starts the machine and waits until it runs (60 s when no timeout is given). Raises `config` for
/// what is wrong with it, `state` when it is up already, `backend` when the hypervisor fails,
/// `timeout`. Its agent may not be ready yet: see vm:wait.
static int vm_start(lua_State *L)
{
    return verb(L, mvm_vm_start, 60);
}

/// vm:pause(opts?: {timeout?: number}) -> vm
/// Stops its processors until vm:resume (10 s). Raises `state` unless it runs.
static int vm_pause(lua_State *L)
{
    return verb(L, mvm_vm_pause, 10);
}

/// vm:resume(opts?: {timeout?: number}) -> vm
/// Lets a paused machine go on (10 s). Raises `state` unless it is paused.
static int vm_resume(lua_State *L)
{
    return verb(L, mvm_vm_resume, 10);
}

/// vm:reboot(opts?: {timeout?: number}) -> vm
/// Asks the guest to restart, or resets it when it has no agent, and waits until it is ready again
/// (60 s).
static int vm_reboot(lua_State *L)
{
    return verb(L, mvm_vm_reboot, 60);
}

/// vm:stop(opts?: {timeout?: number}) -> vm
/// Asks the guest to power off and waits until the machine is down (20 s). A guest that does not
/// follow runs on, and `timeout` is raised. A machine that is down already is fine.
static int vm_stop(lua_State *L)
{
    return verb(L, mvm_vm_stop, 20);
}

/// vm:kill(opts?: {timeout?: number}) -> vm
/// Ends the machine as a power cut would (20 s). One that is down already is fine.
static int vm_kill(lua_State *L)
{
    return verb(L, mvm_vm_kill, 20);
}

/// vm:wait(what: string, opts?: {timeout?: number}) -> vm
/// Waits until the agent answers (`"ready"`) or the machine is in a state (`"running"`,
/// `"stopped"`, ...), 60 s when no timeout is given. Raises `state` at once when that can't come
/// true any more, with the reason.
static int vm_wait(lua_State *L)
{
    mvl_vm *self = mvl_check_vm_box(L, 1);
    const char *what = mvl_arg_text(L, 2, "what to wait for", NULL);
    int state = mvm_state_parse(what);

    if (state < 0 && strcmp(what, "ready") != 0) {
        const char *words[MVM_STATE_COUNT + 1] = {"ready"};
        for (int i = 0; i < MVM_STATE_COUNT; i++)
            words[i + 1] = mvm_state_word((mvm_state)i);
        const char *near = mvm_nearest(what, words, MVM_STATE_COUNT + 1);
        return mvl_failf(L, MVM_ECONFIG,
                         near ? lua_pushfstring(L, "did you mean `%s`?", near)
                              : "\"ready\", or a state such as \"running\"",
                         "there is no state \"%s\" to wait for", what);
    }
    double timeout = mvl_opt_timeout(L, 3, 60, NULL);
    if (plan(L, false))
        return 1;
    mvl_wait *w = mvl_wait_begin(L, timeout);
    w->vm = self->vm;
    w->core = state < 0 ? mvm_vm_wait_ready(self->vm, &w->waiter, &w->err)
                        : mvm_vm_wait_state(self->vm, (mvm_state)state, &w->waiter, &w->err);
    return mvl_then_self(L, mvl_await(L, w, mvl_then_self));
}

static int close_killed(lua_State *L, const mvm_err *err)
{
    (void)err;
    return settle(L, NULL);
}

static int close_stopped(lua_State *L, const mvm_err *err)
{
    mvl_vm *self = mvl_check_vm_box(L, 1);

    if (!err || !mvm_vm_up(self->vm))
        return settle(L, NULL);
    mvl_wait *w = mvl_wait_closing(L, 10);
    w->core = mvm_vm_kill(self->vm, &w->waiter, &w->err);
    return close_killed(L, mvl_await(L, w, close_killed));
}

static void killed_unheard(void *ud, const mvm_err *err)
{
    (void)ud;
    (void)err;
}

/* Has it anything to lose? macvm's own guest touches no disk before its agent is ready; of another
 * guest with a disk that it may write to, nobody knows. */
static bool worth_asking(mvm_vm *vm)
{
    const mvm_record *config = mvm_vm_config(vm);
    bool own =
        !mvm_record_peek(config, "boot") && strcmp(mvm_record_str(config, "guest"), "linux") == 0;
    mvm_record *device;

    if (mvm_vm_state(vm) != MVM_RUNNING)
        return false;
    for (size_t i = 0; !own && (device = mvm_record_item(config, "devices", i)) != NULL; i++)
        if (strcmp(mvm_record_schema(device)->kind, "disk") == 0 &&
            !mvm_record_bool(device, "readonly"))
            return true;
    return mvm_vm_ready(vm);
}

/* The end of a machine's scope: it is down afterwards, whatever that takes. */
int mvl_vm_close(lua_State *L)
{
    mvl_vm *self = mvl_check(L, 1, &mvl_vm_class);

    if (!self->vm || (!mvm_vm_up(self->vm) && !self->untold))
        return 0;
    lua_settop(L, 1);
    if (!mvl_can_wait(L)) {
        mvm_waiter nobody = {20, killed_unheard, NULL};
        mvm_err err;
        mvm_vm_kill(self->vm, &nobody, &err);
        return 0;
    }
    if (!mvm_vm_up(self->vm))
        return settle(L, NULL);
    mvl_wait *w = mvl_wait_closing(L, 10);
    if (worth_asking(self->vm))
        w->core = mvm_vm_stop(self->vm, &w->waiter, &w->err);
    else
        mvm_fail(&w->err, MVM_ESTATE, "not asked");
    return close_stopped(L, mvl_await(L, w, close_stopped));
}

const luaL_Reg mvl_vm_life[] = {
    {"start", vm_start}, {"pause", vm_pause}, {"resume", vm_resume}, {"reboot", vm_reboot},
    {"stop", vm_stop},   {"kill", vm_kill},   {"wait", vm_wait},     {NULL, NULL},
};
