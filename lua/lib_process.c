/* SPDX-License-Identifier: MIT */
/*
 * Processes of the guest: the class "process". Its streams are made on demand and kept in user
 * values; each keeps the process alive, whose last reference kills what still runs.
 */
#include "mvl.h"

#include <stdio.h>
#include <string.h>

#include "mvm/process.h"

typedef struct mvl_process {
    mvl_obj obj;
    mvm_process *process;
    bool ended; /* copied when it was closed */
    int pid;
} mvl_process;

enum { PROCESS_NUV = 3 };   /* stdin, stdout, stderr */
enum { WORDS_MAX = 60000 }; /* of a command and of an environment */
enum { SIGNAL_TERM = 15, SIGNAL_MAX = 64 };

static void process_release(void *box)
{
    mvl_process *p = box;

    if (p->process) {
        p->ended = mvm_process_ended(p->process);
        p->pid = mvm_process_pid(p->process);
    }
    mvm_process_unref(p->process);
    p->process = NULL;
}

static mvl_process *check_process(lua_State *L, int idx)
{
    mvl_process *p = mvl_check(L, idx, &mvl_process_class);

    if (!p->process)
        mvl_failf(L, MVM_ESTATE, NULL, "the process object is closed");
    return p;
}

/* ---- starting one ----------------------------------------------------------------------- */

/* A scratch list of strings that stay on the stack while it is used. */
typedef struct words {
    const char **list; /* a userdata on the stack */
    size_t count;
} words;

static words words_new(lua_State *L, size_t count)
{
    if (count > WORDS_MAX)
        mvl_failf(L, MVM_ECONFIG, NULL, "a command can't have %zu words", count);
    luaL_checkstack(L, (int)count + 8, "too many words");
    words w = {lua_newuserdatauv(L, (count + 1) * sizeof(char *), 0), 0};
    w.list[0] = NULL;
    return w;
}

/* Adds the string on top of the stack, which stays there. */
static void words_add(lua_State *L, words *w, const char *what)
{
    size_t len = 0;
    const char *text = lua_tolstring(L, -1, &len);

    if (!text)
        mvl_failf(L, MVM_ECONFIG, NULL, "%s: expected a string, got %s", what,
                  luaL_typename(L, -1));
    if (strlen(text) != len)
        mvl_failf(L, MVM_ECONFIG, NULL, "%s: a NUL byte can't be part of it", what);
    w->list[w->count++] = text;
    w->list[w->count] = NULL;
}

static const char *const *read_argv(lua_State *L, int idx)
{
    char what[32];
    lua_Unsigned n = lua_rawlen(L, idx);

    if (n == 0)
        mvl_failf(L, MVM_ECONFIG, "{ \"ls\", \"-l\" }", "a command needs at least one word");
    words w = words_new(L, n);
    for (lua_Unsigned i = 1; i <= n; i++) {
        snprintf(what, sizeof(what), "word %llu of the command", i);
        lua_rawgeti(L, idx, (lua_Integer)i);
        words_add(L, &w, what);
    }
    return w.list;
}

/* Stack: the table at idx; NAME = value becomes "NAME=value". */
static const char *const *read_env(lua_State *L, int idx)
{
    size_t n = 0;

    for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1))
        n++;
    words w = words_new(L, n);
    lua_pushnil(L);
    while (lua_next(L, idx)) {
        bool text = lua_type(L, -2) == LUA_TSTRING && lua_isstring(L, -1);
        const char *name = text ? lua_tostring(L, -2) : "";
        if (!text || !name[0] || strchr(name, '='))
            mvl_failf(L, MVM_ECONFIG, "env = { NAME = \"value\" }",
                      "env: expected names and strings");
        lua_pushvalue(L, -2);
        lua_pushliteral(L, "=");
        lua_pushvalue(L, -3);
        lua_concat(L, 3); // name, value, NAME=value
        words_add(L, &w, "env");
        lua_replace(L, -2);   // name, NAME=value
        lua_pushvalue(L, -2); // the key once more, on top, for lua_next
        lua_remove(L, -3);
    }
    return w.list;
}

/* Leaves on the stack what *exec points to. */
static void read_options(lua_State *L, int idx, mvm_exec *exec)
{
    static const char *const known[] = {"cwd", "env", "stdin_null"};

    luaL_checktype(L, idx, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        if (strcmp(key, known[0]) != 0 && strcmp(key, known[1]) != 0 && strcmp(key, known[2]) != 0)
            mvl_failf(L, MVM_ECONFIG, "cwd, env or stdin_null", "unknown option `%s`", key);
    }
    lua_getfield(L, idx, "stdin_null");
    exec->stdin_null = lua_toboolean(L, -1);
    if (lua_getfield(L, idx, "cwd") != LUA_TNIL) {
        words w = words_new(L, 1);
        lua_pushvalue(L, -2);
        words_add(L, &w, "cwd");
        exec->cwd = w.list[0];
    }
    if (lua_getfield(L, idx, "env") == LUA_TTABLE)
        exec->env = read_env(L, lua_gettop(L));
    else if (!lua_isnil(L, -1))
        mvl_failf(L, MVM_ECONFIG, "env = { NAME = \"value\" }", "env: expected a table");
}

/// vm:spawn_raw(argv: string[], opts?: table) -> process
/// Starts a process in the guest and returns at once; one that can't be started ends with a `guest`
/// error from process:wait. Options: `cwd`, `env = { NAME = "value" }`, and `stdin_null`, which
/// gives it no standard input. Raises `state` when the machine is down, `agent` when its agent is
/// not ready.
int mvl_vm_spawn(lua_State *L)
{
    mvm_vm *vm = mvl_check_vm(L, 1);
    mvm_exec exec = {0};
    mvm_err err;

    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 3);
    if (mvl_of(L)->checking)
        return mvl_fail_plan(L);
    mvl_process *p = mvl_obj_new(L, &mvl_process_class); // vm, argv, opts, process
    exec.argv = read_argv(L, 2);
    if (!lua_isnil(L, 3))
        read_options(L, 3, &exec);
    p->process = mvm_vm_spawn(vm, &exec, &err);
    if (!p->process)
        return mvl_fail(L, &err);
    lua_settop(L, 4);
    return 1;
}

/* ---- methods ---------------------------------------------------------------------------- */

static int wait_then(lua_State *L, const mvm_err *err)
{
    mvl_process *p = check_process(L, 1);
    int status, signal;

    if (err)
        return mvl_fail(L, err);
    mvm_process_result(p->process, &status, &signal);
    lua_pushinteger(L, status);
    if (signal == 0)
        return 1;
    lua_pushinteger(L, signal);
    return 2;
}

/// process:wait(opts?: {timeout?: number}) -> integer, integer|nil
/// Waits until it has ended (without a deadline unless a timeout is given); its outputs may still be
/// read, and stay open while background children hold them. Returns its exit
/// status, or 128 + signal and the signal that killed it. Raises `guest` when it could not be
/// started, `agent` when the guest or its agent dies.
static int process_wait(lua_State *L)
{
    mvl_process *p = check_process(L, 1);
    double timeout = mvl_opt_timeout(L, 2, -1, NULL);

    lua_settop(L, 1);
    mvl_wait *w = mvl_wait_begin(L, timeout);
    w->core = mvm_process_wait(p->process, &w->waiter, &w->err);
    return wait_then(L, mvl_await(L, w, wait_then));
}

/* The guest is Linux, whatever the host. */
static int signal_number(lua_State *L, int idx)
{
    static const struct {
        const char *name;
        int number;
    } names[] = {{"HUP", 1},   {"INT", 2},   {"QUIT", 3},  {"ABRT", 6},  {"KILL", 9},
                 {"USR1", 10}, {"SEGV", 11}, {"USR2", 12}, {"PIPE", 13}, {"ALRM", 14},
                 {"TERM", 15}, {"CONT", 18}, {"STOP", 19}, {"TSTP", 20}, {"WINCH", 28}};

    if (lua_isnoneornil(L, idx))
        return SIGNAL_TERM;
    if (lua_type(L, idx) == LUA_TNUMBER) {
        lua_Integer number = mvl_arg_integer(L, idx, "a signal");
        if (number < 1 || number > SIGNAL_MAX)
            mvl_failf(L, MVM_ECONFIG, NULL, "%lld is no signal (1 to %d)", (long long)number,
                      SIGNAL_MAX);
        return (int)number;
    }
    const char *name = mvl_arg_text(L, idx, "a signal", NULL);
    const char *plain = strncmp(name, "SIG", 3) == 0 ? name + 3 : name;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i].name, plain) == 0)
            return names[i].number;
    }
    return mvl_failf(L, MVM_ECONFIG, "such as \"TERM\", \"KILL\" or a number",
                     "there is no signal \"%s\"", name);
}

/// process:kill(signal?: string|integer) -> process
/// Sends a signal to the process and its children, `"TERM"` when none is given. After its end it
/// goes to the children that still hold an output open, or to nobody.
static int process_kill(lua_State *L)
{
    mvl_process *p = check_process(L, 1);
    int signum = signal_number(L, 2);
    mvm_err err;

    if (mvm_process_kill(p->process, signum, &err) != 0 && !mvm_process_ended(p->process))
        return mvl_fail(L, &err);
    lua_settop(L, 1);
    return 1;
}

static int push_stream(lua_State *L, int fd)
{
    if (lua_getiuservalue(L, 1, fd + 1) == LUA_TUSERDATA)
        return 1;
    mvl_process *p = check_process(L, 1);
    mvl_push_stream(L, mvm_process_stream(p->process, fd), 1, fd == 0);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, fd + 1);
    return 1;
}

static int process_index(lua_State *L)
{
    static const char *const streams[PROCESS_NUV] = {"stdin", "stdout", "stderr"};
    const mvl_process *p = mvl_check(L, 1, &mvl_process_class);

    if (lua_type(L, 2) != LUA_TSTRING)
        return 0;
    if (mvl_method(L))
        return 1;
    const char *key = lua_tostring(L, 2);
    for (int fd = 0; fd < PROCESS_NUV; fd++) {
        if (strcmp(key, streams[fd]) == 0)
            return push_stream(L, fd);
    }
    if (strcmp(key, "pid") == 0)
        lua_pushinteger(L, p->process ? mvm_process_pid(p->process) : p->pid);
    else if (strcmp(key, "ended") == 0)
        lua_pushboolean(L, p->process ? mvm_process_ended(p->process) : p->ended);
    else
        return 0;
    return 1;
}

static int process_tostring(lua_State *L)
{
    const mvl_process *p = mvl_check(L, 1, &mvl_process_class);

    if (!p->process)
        lua_pushliteral(L, "process (closed)");
    else
        lua_pushfstring(L, "process %d (%s)", mvm_process_pid(p->process),
                        mvm_process_ended(p->process) ? "ended" : "running");
    return 1;
}

static const luaL_Reg process_methods[] = {
    {"wait", process_wait},
    {"kill", process_kill},
    {NULL, NULL},
};

const mvl_class mvl_process_class = {
    .name = "process",
    .tname = "macvm.process",
    .size = sizeof(mvl_process),
    .nuv = PROCESS_NUV,
    .release = process_release,
    .methods = process_methods,
    .index = process_index,
    .tostring = process_tostring,
};
