/* SPDX-License-Identifier: MIT */
/*
 * The macvm command: a Lua state, the loop, and macvm.cli (stdlib/macvm/cli) as the first task. It
 * ends when that task has ended, no other runs, and no machine is up.
 */
#include "mvl.h"

#include <lualib.h>
#include <signal.h>
#include <stdio.h>

static const char main_key; /* registry: the first task */

/* (argc, argv) as light userdata. */
static int boot(lua_State *L)
{
    int argc = (int)lua_tointeger(L, 1);
    char **argv = lua_touserdata(L, 2);

    luaL_openlibs(L);
    mvl_open_embedded(L);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "macvm.core");
    lua_call(L, 1, 1);
    mvl_open_repl(L);
    lua_setfield(L, -2, "repl");
    lua_getglobal(L, "require");
    lua_pushliteral(L, "macvm");
    lua_call(L, 1, 1);
    lua_setglobal(L, "macvm");
    lua_getglobal(L, "require");
    lua_pushliteral(L, "macvm.cli");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "main");
    lua_createtable(L, argc, 0);
    for (int i = 1; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i);
    }
    mvl_spawn(L, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &main_key);
    return 0;
}

/* What the first task returned. */
static int outcome(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &main_key);
    mvl_task_outcome(L, mvl_box(L, -1));
    lua_pushinteger(L, lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0);
    return 1;
}

int main(int argc, char **argv)
{
    int status = 1;
    lua_State *L = luaL_newstate();

    signal(SIGPIPE, SIG_IGN); /* a reader that went away is an error of the write */
    if (!L) {
        fputs("macvm: not enough memory\n", stderr);
        return status;
    }
    lua_pushcfunction(L, boot);
    lua_pushinteger(L, argc);
    lua_pushlightuserdata(L, argv);
    if (lua_pcall(L, 2, 0, 0) == LUA_OK) {
        mvl_ctx *ctx = mvl_of(L);
        mvl_run(ctx);
        lua_pushcfunction(L, outcome);
        if (ctx->quit)
            status = ctx->quit_status;
        else if (lua_pcall(L, 0, 1, 0) == LUA_OK)
            status = (int)lua_tointeger(L, -1);
        if (status == 0 && ctx->failures > 0)
            status = 1;
    } else {
        fprintf(stderr, "macvm: %s\n", luaL_tolstring(L, -1, NULL));
    }
    lua_close(L);
    return status;
}
