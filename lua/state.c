/* SPDX-License-Identifier: MIT */
/*
 * The context: one lab for each Lua state. It lives in a userdata of the registry, whose
 * finaliser, the last of ours that lua_close calls, closes the lab. It is found through the
 * registry and not through lua_getextraspace: a stock Lua does not clear that of its main thread,
 * and coroutines that are older than the module would have inherited what was in it.
 */
#include "mvl.h"

#include <string.h>

#include "mvm/log.h"

static const char ctx_key;

static int ctx_gc(lua_State *L)
{
    mvl_ctx *ctx = lua_touserdata(L, 1);
    mvm_lab *lab = ctx->lab;

    if (!lab)
        return 0;
    mvl_signals_close(ctx);
    mvl_obj_release_all(ctx); /* those that Lua has not finalised */
    ctx->lab = NULL;          /* from here on no callback enters Lua */
    int leaks = mvm_lab_close(lab);
    mvl_obj_free_all(ctx); /* callbacks may have come up to here */
    if (ctx->leaks)
        *ctx->leaks = leaks;
    return 0;
}

mvl_ctx *mvl_peek(lua_State *L)
{
    if (!lua_checkstack(L, 1))
        return NULL;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &ctx_key);
    mvl_ctx *ctx = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return ctx;
}

mvl_ctx *mvl_of(lua_State *L)
{
    mvl_ctx *ctx = mvl_peek(L);

    if (!ctx || !ctx->lab)
        luaL_error(L, "macvm is closed in this Lua state");
    return ctx;
}

mvl_ctx *mvl_open(lua_State *L)
{
    if (mvl_peek(L))
        return mvl_of(L);
    mvl_ctx *ctx = lua_newuserdatauv(L, sizeof(*ctx), 0);
    memset(ctx, 0, sizeof(*ctx));
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, ctx_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    ctx->L = lua_tothread(L, -1);
    lua_pop(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &ctx_key);
    ctx->lab = mvm_lab_new();
    ctx->loop = mvm_lab_loop(ctx->lab);
    return ctx;
}
