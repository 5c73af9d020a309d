/* SPDX-License-Identifier: MIT */
/*
 * Tasks and time as Lua sees them: the class "task", core.spawn, sleep, and the end of the run. The
 * scheduler itself is in task.c and sched.c.
 */
#include "mvl.h"

#include <string.h>

#include "mvm/loop.h"

static mvl_task *check_task(lua_State *L, int idx)
{
    return mvl_check(L, idx, &mvl_task_class);
}

void mvl_check_callable(lua_State *L, int idx, const char *who)
{
    if (lua_isfunction(L, idx))
        return;
    if (luaL_getmetafield(L, idx, "__call") == LUA_TNIL)
        mvl_failf(L, MVM_ECONFIG, NULL, "%s needs a function, got %s", who,
                  lua_isnone(L, idx) ? "nil" : luaL_typename(L, idx));
    lua_pop(L, 1);
}

/// core.spawn(fn: function, ...) -> task
/// Runs fn(...) as a task of its own, from the next turn of the loop. Its error goes to who joins
/// it. An error that nobody has taken stays with the task for a later join; when the task can't be
/// reached any more, or the run ends, it is reported once (core.on_error). Tasks that were
/// cancelled are not reported.
static int core_spawn(lua_State *L)
{
    mvl_check_callable(L, 1, "a task");
    mvl_spawn(L, lua_gettop(L) - 1);
    return 1;
}

static int join_then(lua_State *L, const mvm_err *err)
{
    if (err)
        return mvl_fail(L, err);
    return mvl_task_outcome(L, check_task(L, 1));
}

/// task:join(opts?: {timeout?: number}) -> ...
/// Waits until the task has ended (without a deadline unless a timeout is given) and returns its
/// results, or raises its error; `cancelled` when it was cancelled.
static int task_join(lua_State *L)
{
    mvl_task *t = check_task(L, 1);
    double timeout = mvl_opt_timeout(L, 2, -1, NULL);

    lua_settop(L, 1);
    return join_then(L, mvl_task_await(L, t, timeout, join_then));
}

/// task:cancel() -> task
/// Ends what the task waits for with a `cancelled` error, or its next wait; once. Its `<close>`
/// variables are closed and may wait. A task that has ended is left alone.
static int task_cancel(lua_State *L)
{
    mvl_cancel(check_task(L, 1));
    lua_settop(L, 1);
    return 1;
}

static int close_then(lua_State *L, const mvm_err *err)
{
    (void)L;
    (void)err;
    return 0; /* an error of its own that nobody took is reported */
}

/* The end of a task's scope: it is cancelled and waited for. */
static int task_close(lua_State *L)
{
    mvl_task *t = check_task(L, 1);

    if (mvl_ended(t))
        return 0;
    mvl_cancel(t);
    if (!mvl_can_wait(L) || mvl_of(L)->current == t)
        return 0;
    lua_settop(L, 1);
    mvl_wait *w = mvl_wait_closing(L, -1);
    mvl_join(w, t);
    return close_then(L, mvl_await(L, w, close_then));
}

static int task_index(lua_State *L)
{
    static const char *const words[] = {"new",  "ready", "running", "waiting",
                                        "idle", "done",  "failed",  "cancelled"};
    mvl_task *t = check_task(L, 1);

    if (lua_type(L, 2) != LUA_TSTRING)
        return 0;
    if (mvl_method(L))
        return 1;
    const char *key = lua_tostring(L, 2);
    if (strcmp(key, "done") == 0)
        lua_pushboolean(L, mvl_ended(t));
    else if (strcmp(key, "state") == 0)
        lua_pushstring(L, words[t->state]);
    else if (strcmp(key, "traceback") == 0)
        lua_getiuservalue(L, 1, TASK_UV_TRACE);
    else
        return 0;
    return 1;
}

static int task_tostring(lua_State *L)
{
    lua_settop(L, 1);
    lua_getfield(L, 1, "state");
    lua_pushfstring(L, "task (%s)", lua_tostring(L, -1));
    return 1;
}

static const luaL_Reg task_methods[] = {
    {"join", task_join},
    {"cancel", task_cancel},
    {NULL, NULL},
};

const mvl_class mvl_task_class = {
    .name = "task",
    .tname = "macvm.task",
    .size = sizeof(mvl_task),
    .nuv = TASK_NUV,
    .pinned = true,
    .release = mvl_task_release,
    .methods = task_methods,
    .index = task_index,
    .tostring = task_tostring,
    .close = task_close,
    .finalise = mvl_task_finalise,
};

/* ---- time --------------------------------------------------------------------------------- */

/// core.sleep(seconds: number)
/// Blocks this task for so long. In a plan it returns at once.
static int core_sleep(lua_State *L)
{
    lua_settop(L, 1);
    double seconds = lua_tonumber(L, 1);
    if (!lua_isnumber(L, 1) || !(seconds >= 0))
        mvl_failf(L, MVM_ECONFIG, "seconds, such as 0.5", "can't sleep for %s",
                  luaL_tolstring(L, 1, NULL));
    lua_settop(L, 0);
    return mvl_of(L)->checking ? 0 : mvl_sleep(L, seconds);
}

/// core.now() -> number
/// The loop's clock in seconds; it never goes back.
static int core_now(lua_State *L)
{
    lua_pushnumber(L, mvm_loop_now(mvl_of(L)->loop));
    return 1;
}

/// core.virtual_time(on: boolean)
/// Lets the clock stand still while there is work and jump to the next timer when there is none.
static int core_virtual_time(lua_State *L)
{
    mvm_loop_virtual_time(mvl_of(L)->loop, lua_toboolean(L, 1));
    return 0;
}

/* ---- the run ------------------------------------------------------------------------------ */

/// core.current() -> task|nil
/// The task that runs this; nil in the main program of a stock Lua.
static int core_current(lua_State *L)
{
    mvl_ctx *ctx = mvl_of(L);

    if (!ctx->current || !mvl_obj_push(L, ctx->current))
        lua_pushnil(L);
    return 1;
}

/// core.tasks() -> task[]
/// Every task that has not ended, those that run event handlers included; the newest first.
static int core_tasks(lua_State *L)
{
    mvl_ctx *ctx = mvl_of(L);
    lua_Integer n = 0;

    lua_newtable(L);
    /* Making room may collect garbage, but no task that is alive. */
    for (mvl_task *t = ctx->live; t; t = t->next) {
        if (mvl_obj_push(L, t))
            lua_rawseti(L, -2, ++n);
    }
    return 1;
}

static int drain_then(lua_State *L, const mvm_err *err)
{
    return err ? mvl_fail(L, err) : 0;
}

/// core.drain()
/// Waits until no other task is left and no machine is up, and errors that nobody took have been
/// reported: the end of a lab. In the main program of a stock Lua: runs the lab.
static int core_drain(lua_State *L)
{
    lua_settop(L, 0);
    /* Whoever cancels everything means what is waited for, not the wait. */
    mvl_wait *w = mvl_wait_closing(L, -1);
    w->drain = true;
    return drain_then(L, mvl_await(L, w, drain_then));
}

/// core.exit(status: integer)
/// Ends the run of the macvm command after this turn of the loop, whatever still goes on.
static int core_exit(lua_State *L)
{
    mvl_ctx *ctx = mvl_of(L);

    ctx->quit_status = (int)luaL_optinteger(L, 1, 0);
    ctx->quit = true;
    return 0;
}

/// core.check_mode(on: boolean)
/// A plan is made: vm:start only validates the machine (vm.planned tells), waits return at once,
/// and what only a live machine could answer raises `cancelled` with the field `plan = true`.
static int core_check_mode(lua_State *L)
{
    mvl_of(L)->checking = lua_toboolean(L, 1);
    return 0;
}

/// core.report_early(on: boolean)
/// For interactive use: the error of a task is reported in the turn after its end even when the
/// task could still be joined.
static int core_report_early(lua_State *L)
{
    mvl_of(L)->eager = lua_toboolean(L, 1);
    return 0;
}

const luaL_Reg mvl_lib_task[] = {
    {"spawn", core_spawn},
    {"sleep", core_sleep},
    {"now", core_now},
    {"virtual_time", core_virtual_time},
    {"current", core_current},
    {"tasks", core_tasks},
    {"drain", core_drain},
    {"exit", core_exit},
    {"check_mode", core_check_mode},
    {"report_early", core_report_early},
    {"on_error", mvl_on_error},
    {"on_signal", mvl_on_signal},
    {NULL, NULL},
};
