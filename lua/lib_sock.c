/* SPDX-License-Identifier: MIT */
/*
 * Unix sockets and the process's own terminal as streams: what the lab's control socket and the
 * commands that talk to it are made of. A connection is served by a task beside the lab.
 */
#include "mvl.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include "mvm/sock.h"
#include "mvm/term.h"

typedef struct mvl_server {
    mvl_obj obj;
    mvm_listener *listener;
} mvl_server;

enum { SERVER_UV_FN = 1, SERVER_NUV = SERVER_UV_FN };

static void server_release(void *box)
{
    mvl_server *l = box;

    if (!l->listener)
        return;
    mvm_listener_close(l->listener);
    l->listener = NULL;
    mvl_obj_pin(l, false);
}

typedef struct arrival {
    mvl_server *listener;
    mvm_stream *stream;
} arrival;

/* A task of its own for the connection: fn(stream). */
static int arrive(lua_State *L)
{
    const arrival *a = lua_touserdata(L, 1);

    if (!mvl_obj_push(L, a->listener))
        return 0;
    lua_getiuservalue(L, -1, SERVER_UV_FN);
    lua_pushnil(L);
    mvl_push_stream(L, a->stream, lua_gettop(L), false);
    lua_remove(L, -2);
    mvl_spawn_aside(L, 1);
    return 0;
}

static void on_accepted(void *ud, mvm_stream *stream)
{
    mvl_server *l = ud;

    mvl_enter(l->obj.ctx, arrive, &(arrival){l, stream});
    mvm_stream_unref(stream); /* closes it when that failed */
}

/// core.listen(path: string, fn: function) -> server
/// Listens on a unix socket, which only this user can connect to, and calls fn(stream) for every
/// connection in a task beside the lab: it does not keep the lab alive. A socket that a dead
/// process left there is replaced; anything else that is there is a `config` error.
static int core_listen(lua_State *L)
{
    const char *path = mvl_arg_text(L, 1, "the path of the socket", NULL);
    mvm_err err;

    mvl_check_callable(L, 2, "a listener");
    mvl_server *l = mvl_obj_new(L, &mvl_server_class);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, SERVER_UV_FN);
    l->listener = mvm_sock_listen(l->obj.ctx->loop, path, on_accepted, l, &err);
    if (!l->listener)
        return mvl_fail(L, &err);
    mvl_obj_pin(l, true);
    return 1;
}

static int push_own_stream(lua_State *L, mvm_stream *stream, const mvm_err *err)
{
    if (!stream)
        return mvl_fail(L, err);
    lua_pushnil(L);
    mvl_push_stream(L, stream, lua_gettop(L), false);
    mvm_stream_unref(stream);
    return 1;
}

/// core.dial(path: string) -> stream
/// Connects to a unix socket. Raises `io` when nobody listens there.
static int core_dial(lua_State *L)
{
    const char *path = mvl_arg_text(L, 1, "the path of the socket", NULL);
    mvm_err err;

    lua_settop(L, 1);
    luaL_checkstack(L, 8, NULL);
    return push_own_stream(L, mvm_sock_connect(mvl_of(L)->loop, path, &err), &err);
}

/// core.terminal(raw?: boolean) -> stream
/// Standard input and output as one stream, until it is closed. With `raw`, where standard input is
/// a terminal, every key is read as it is.
static int core_terminal(lua_State *L)
{
    bool raw = lua_toboolean(L, 1);
    mvm_err err;

    luaL_checkstack(L, 8, NULL);
    return push_own_stream(L, mvm_term_open(mvl_of(L)->loop, raw, &err), &err);
}

/// core.rows() -> integer
/// The height of the terminal, 24 when there is none.
static int core_rows(lua_State *L)
{
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0;

    lua_pushinteger(L, known ? size.ws_row : 24);
    return 1;
}

/// core.spawn_aside(fn: function, ...) -> task
/// Like core.spawn, beside the lab: the task does not keep it alive and ends with it, without a
/// chance to clean up.
static int core_spawn_aside(lua_State *L)
{
    mvl_check_callable(L, 1, "a task");
    mvl_spawn_aside(L, lua_gettop(L) - 1);
    return 1;
}

/// core.lab_dir() -> string
/// The lab's private directory, made when it is not there; it goes with the lab.
static int core_lab_dir(lua_State *L)
{
    mvm_err err;
    const char *dir = mvm_lab_dir(mvl_of(L)->lab, &err);

    if (!dir)
        return mvl_fail(L, &err);
    lua_pushstring(L, dir);
    return 1;
}

static void add_lab(void *ud, long pid, const char *dir)
{
    lua_State *L = ud;

    lua_createtable(L, 0, 2);
    lua_pushinteger(L, pid);
    lua_setfield(L, -2, "pid");
    lua_pushstring(L, dir);
    lua_setfield(L, -2, "dir");
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
}

/// core.labs() -> {pid: integer, dir: string}[]
/// The private directories of this user's labs, also of other processes. A process that was killed
/// leaves its own behind until the next lab begins.
static int core_labs(lua_State *L)
{
    lua_newtable(L);
    luaL_checkstack(L, 8, NULL);
    mvm_lab_list(add_lab, L);
    return 1;
}

/// server:close()
/// Ends it and removes the socket. Its connections live on.
static int server_close(lua_State *L)
{
    server_release(mvl_check(L, 1, &mvl_server_class));
    return 0;
}

static int server_tostring(lua_State *L)
{
    const mvl_server *l = mvl_check(L, 1, &mvl_server_class);

    lua_pushstring(L, l->listener ? "server" : "server (closed)");
    return 1;
}

static const luaL_Reg server_methods[] = {
    {"close", server_close},
    {NULL, NULL},
};

const mvl_class mvl_server_class = {
    .name = "server",
    .tname = "macvm.server",
    .size = sizeof(mvl_server),
    .nuv = SERVER_NUV,
    .pinned = true,
    .release = server_release,
    .methods = server_methods,
    .tostring = server_tostring,
    .close = server_close,
};

const luaL_Reg mvl_lib_sock[] = {
    {"listen", core_listen},     {"dial", core_dial},
    {"terminal", core_terminal}, {"spawn_aside", core_spawn_aside},
    {"lab_dir", core_lab_dir},   {"labs", core_labs},
    {"rows", core_rows},         {NULL, NULL},
};
