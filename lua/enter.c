/* SPDX-License-Identifier: MIT */
/*
 * The protected door from callbacks of the loop into Lua, and what happens to errors that nobody
 * catches. Nothing is allocated before the protection stands: a C function without upvalues and a
 * light userdata are plain values. Resuming a task (task.c) is the only other way in, and
 * lua_resume is a protected call itself.
 */
#include "mvl.h"

#include "mvm/log.h"

static const char hook_key;

/* Pushes one line of text for the error at idx. */
static void push_text(lua_State *L, int idx)
{
    if (lua_isnil(L, idx))
        lua_pushliteral(L, "error without a message (nil)");
    else
        luaL_tolstring(L, idx, NULL);
}

/* Stack: error, traceback, task. */
static int report_default(lua_State *L)
{
    push_text(L, 1);
    mvm_log(MVM_LOG_ERROR, "%s", lua_tostring(L, -1));
    if (lua_isstring(L, 2))
        mvm_log(MVM_LOG_INFO, "%s", lua_tostring(L, 2));
    return 0;
}

void mvl_report(lua_State *L, int idx, int task)
{
    mvl_ctx *ctx = mvl_of(L);

    idx = lua_absindex(L, idx);
    luaL_checkstack(L, 8, NULL);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &hook_key) != LUA_TFUNCTION) {
        lua_pop(L, 1);
        lua_pushcfunction(L, report_default);
        ctx->failures++;
    }
    lua_pushvalue(L, idx);
    if (task)
        lua_getiuservalue(L, task, TASK_UV_TRACE);
    else
        lua_pushnil(L);
    if (task)
        lua_pushvalue(L, task);
    else
        lua_pushnil(L); // hook, error, traceback, task
    if (lua_pcall(L, 3, 0, 0) != LUA_OK) {
        const char *text = lua_tostring(L, -1);
        mvm_log(MVM_LOG_ERROR, "%s", text ? text : "an error could not be reported");
        ctx->failures++;
        lua_pop(L, 1);
    }
}

static int report_entered(lua_State *L)
{
    mvl_report(L, 1, 0);
    return 0;
}

int mvl_enter(mvl_ctx *ctx, lua_CFunction fn, void *ud)
{
    lua_State *L = ctx->L;

    if (!ctx->lab)
        return LUA_ERRRUN; /* closing: nobody is there */
    if (!lua_checkstack(L, 4)) {
        mvm_log(MVM_LOG_ERROR, "the main stack of Lua is full");
        ctx->failures++;
        return LUA_ERRMEM;
    }
    lua_pushcfunction(L, fn);
    lua_pushlightuserdata(L, ud);
    int status = lua_pcall(L, 1, 0, 0);
    if (status == LUA_OK)
        return status;
    lua_pushcfunction(L, report_entered); // error, function
    lua_insert(L, -2);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        lua_pop(L, 1);
        mvm_log(MVM_LOG_ERROR, "not enough memory to report an error");
        ctx->failures++;
    }
    return status;
}

/// core.on_error(fn?: fun(err: any, traceback?: string, task?: task)) -> function|nil
/// Sets who is told of errors that nobody catches: of event handlers, and of tasks that failed and
/// that nobody can join any more. Without one they are a line on standard error each, and the
/// command exits with 1. `fn` can't wait. Returns the one that was set before.
int mvl_on_error(lua_State *L)
{
    if (!lua_isnoneornil(L, 1))
        luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &hook_key);
    lua_insert(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &hook_key);
    return 1;
}
