/* SPDX-License-Identifier: MIT */
/*
 * coroutine.resume, wrap, close and status for states with tasks. A blocking verb inside a
 * script's own coroutine suspends the whole task: it yields the sentinel, which these functions
 * hand up to the task, and they hand the resumption down. A coroutine that waits so keeps the
 * sentinel on top of its stack; nobody but the resumer that parked it may resume it.
 * Otherwise they do what lcorolib.c of Lua 5.4 does.
 */
#include "mvl.h"

static bool parked(lua_State *co)
{
    return lua_status(co) == LUA_YIELD && lua_gettop(co) >= 1 &&
           lua_touserdata(co, -1) == &mvl_sentinel;
}

static lua_State *check_co(lua_State *L)
{
    lua_State *co = lua_tothread(L, 1);

    luaL_argexpected(L, co, 1, "coroutine");
    return co;
}

/* Moves nargs values to co and runs it. Returns the number of values it gave (now on L), -1 for an
 * error (its value is on L), or -2 when it waits for the loop. */
static int resume(lua_State *L, lua_State *co, int nargs)
{
    mvl_ctx none = {0}, *ctx = mvl_peek(L) ? mvl_peek(L) : &none;
    lua_State *top = ctx->top;
    bool pass = ctx->pass;
    int nres = 0;

    if (!lua_checkstack(co, nargs)) {
        lua_pushliteral(L, "too many arguments to resume");
        return -1;
    }
    lua_xmove(L, co, nargs);
    ctx->pass = pass && L == top && lua_isyieldable(L);
    ctx->top = co;
    int status = lua_resume(co, L, nargs, &nres);
    ctx->top = top;
    ctx->pass = pass;
    if (status != LUA_OK && status != LUA_YIELD) {
        lua_xmove(co, L, 1);
        return -1;
    }
    if (parked(co))
        return -2;
    if (!lua_checkstack(L, nres + 1)) {
        lua_pop(co, nres);
        lua_pushliteral(L, "too many results to resume");
        return -1;
    }
    lua_xmove(co, L, nres);
    return nres;
}

static int pass_up(lua_State *L, lua_KFunction then)
{
    lua_pushlightuserdata(L, (void *)&mvl_sentinel);
    return lua_yieldk(L, 1, 0, then);
}

static bool refuse(lua_State *L, lua_State *co)
{
    if (!parked(co))
        return false;
    lua_pushliteral(L, "cannot resume a coroutine that waits in a task");
    return true;
}

static int co_resume_done(lua_State *L, int n)
{
    lua_pushboolean(L, n >= 0);
    lua_insert(L, n >= 0 ? -(n + 1) : -2);
    return n >= 0 ? n + 1 : 2;
}

static int co_resume_again(lua_State *L, int status, lua_KContext k)
{
    lua_State *co = check_co(L);

    (void)status;
    (void)k;
    if (parked(co))
        lua_pop(co, 1);
    int n = resume(L, co, 0);
    return n == -2 ? pass_up(L, co_resume_again) : co_resume_done(L, n);
}

static int co_resume(lua_State *L)
{
    lua_State *co = check_co(L);

    if (refuse(L, co))
        return co_resume_done(L, -1);
    luaL_checkstack(L, 4, NULL);
    int n = resume(L, co, lua_gettop(L) - 1);
    return n == -2 ? pass_up(L, co_resume_again) : co_resume_done(L, n);
}

static int wrap_done(lua_State *L, lua_State *co, int n)
{
    if (n >= 0)
        return n;
    int status = lua_status(co);
    if (status != LUA_OK && status != LUA_YIELD) { /* the error was raised in it */
        lua_pushvalue(L, -1);
        lua_xmove(L, co, 1); /* lua_resetthread expects it there */
        status = lua_resetthread(co);
        lua_xmove(co, L, 1);
    }
    if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int wrap_again(lua_State *L, int status, lua_KContext k)
{
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));

    (void)status;
    (void)k;
    if (parked(co))
        lua_pop(co, 1);
    int n = resume(L, co, 0);
    return n == -2 ? pass_up(L, wrap_again) : wrap_done(L, co, n);
}

static int wrap_call(lua_State *L)
{
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));

    if (refuse(L, co))
        return lua_error(L);
    luaL_checkstack(L, 4, NULL);
    int n = resume(L, co, lua_gettop(L));
    return n == -2 ? pass_up(L, wrap_again) : wrap_done(L, co, n);
}

static int co_wrap(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    lua_pushcclosure(L, wrap_call, 1);
    return 1;
}

/* A waiting coroutine is "normal": active, but not the one that runs. */
static int co_status(lua_State *L)
{
    lua_State *co = check_co(L);

    if (parked(co)) {
        lua_pushliteral(L, "normal");
        return 1;
    }
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

static int co_close(lua_State *L)
{
    if (parked(check_co(L)))
        return luaL_error(L, "cannot close a coroutine that waits in a task");
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, LUA_MULTRET);
    return lua_gettop(L);
}

void mvl_open_coroutine(lua_State *L)
{
    if (lua_getglobal(L, "coroutine") == LUA_TTABLE) {
        lua_pushcfunction(L, co_resume);
        lua_setfield(L, -2, "resume");
        lua_pushcfunction(L, co_wrap);
        lua_setfield(L, -2, "wrap");
        lua_getfield(L, -1, "status");
        lua_pushcclosure(L, co_status, 1);
        lua_setfield(L, -2, "status");
        lua_getfield(L, -1, "close");
        lua_pushcclosure(L, co_close, 1);
        lua_setfield(L, -2, "close");
    }
    lua_pop(L, 1);
}
