/* SPDX-License-Identifier: MIT */
/*
 * The macvm command: a Lua state, the loop, and macvm.cli (stdlib/macvm/cli) as the first task. It
 * ends when that task has ended, no other runs, and no machine is up.
 */
#include "mvl.h"

#include <lualib.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static const char main_key; /* registry: the first task */

/* Pushes require(name). */
static void load(lua_State *L, const char *name)
{
    lua_getglobal(L, "require");
    lua_pushstring(L, name);
    lua_call(L, 1, 1);
}

/* Arguments: argc, argv as a light userdata. */
static int boot(lua_State *L)
{
    int argc = (int)lua_tointeger(L, 1);
    char **argv = lua_touserdata(L, 2);

    luaL_openlibs(L);
    mvl_open_embedded(L);
    load(L, "macvm.core");
    mvl_open_repl(L);
    lua_setfield(L, -2, "repl");
    load(L, "macvm");
    lua_setglobal(L, "macvm");
    load(L, "macvm.cli");
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

/* What the first task returned; 1 when that is 0 and an error went to nobody. */
static int outcome(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &main_key);
    mvl_task_outcome(L, mvl_box(L, -1));
    lua_Integer status = luaL_optinteger(L, 2, 0);
    lua_pushinteger(L, status == 0 && mvl_of(L)->failures > 0 ? 1 : status);
    return 1;
}

/* A closed standard stream would give its number to the next thing that is opened. */
static void fill_standard_streams(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

int main(int argc, char **argv)
{
    int status = 1;

    fill_standard_streams();
    lua_State *L = luaL_newstate();

    if (!L)
        return 1;
    signal(SIGPIPE, SIG_IGN); /* a reader that went away is an error of the write */
    lua_pushcfunction(L, boot);
    lua_pushinteger(L, argc);
    lua_pushlightuserdata(L, argv);
    if (lua_pcall(L, 2, 0, 0) == LUA_OK) {
        mvl_ctx *ctx = mvl_of(L);
        mvl_run(ctx);
        lua_pushcfunction(L, outcome);
        if (lua_pcall(L, 0, 1, 0) == LUA_OK)
            status = (int)lua_tointeger(L, -1);
        status = ctx->quit ? ctx->quit_status : status;
    } else {
        fprintf(stderr, "macvm: %s\n", luaL_tolstring(L, -1, NULL));
    }
    lua_close(L);
    return status;
}
