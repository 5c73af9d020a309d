/* SPDX-License-Identifier: MIT */
/*
 * Raw verbs of an interactive session (core.repl): one terminal at a time, its lines, what is
 * printed above them. What a line means, and what is answered to Tab and Ctrl-C, is
 * stdlib/macvm/repl.lua. Runs on the loop thread.
 */
#include "mvl.h"

#include <string.h>

#include "mvm/tty.h"

#define TERMINAL "macvm.terminal"

typedef struct terminal {
    mvl_ctx *ctx;
    mvm_tty *tty; /* NULL: closed */
} terminal;

enum { TERM_UV_COMPLETE = 1, TERM_UV_INTERRUPT, TERM_NUV = TERM_UV_INTERRUPT };

static const char terminal_key; /* registry: the open terminal */

static terminal *check(lua_State *L)
{
    terminal *t = luaL_checkudata(L, 1, TERMINAL);

    if (!t->tty)
        mvl_failf(L, MVM_ESTATE, NULL, "the terminal is closed");
    return t;
}

/* ---- from the loop ---------------------------------------------------------------------- */

/* Pushes the terminal and a callback of it; false (nothing pushed): there is none. */
static bool push_callback(lua_State *L, int slot)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &terminal_key) == LUA_TUSERDATA &&
        lua_getiuservalue(L, -1, slot) == LUA_TFUNCTION)
        return true;
    lua_settop(L, 1);
    return false;
}

static int call_interrupt(lua_State *L)
{
    if (!push_callback(L, TERM_UV_INTERRUPT)) // ud, terminal, function
        return 0;
    lua_pushboolean(L, lua_touserdata(L, 1) != NULL);
    lua_call(L, 1, 0);
    return 0;
}

static void on_interrupt(void *ud, bool typing)
{
    terminal *t = ud;

    mvl_enter(t->ctx, call_interrupt, typing ? t : NULL);
}

struct typed {
    const char *text;
    size_t len;
};

static int call_complete(lua_State *L)
{
    const struct typed *typed = lua_touserdata(L, 1);
    size_t len;

    if (!push_callback(L, TERM_UV_COMPLETE)) // ud, terminal, function
        return 0;
    terminal *t = lua_touserdata(L, 2);
    lua_pushlstring(L, typed->text, typed->len);
    lua_call(L, 1, 2); // ud, terminal, text to insert, text to show
    const char *show = lua_tolstring(L, 4, &len);
    if (show && t->tty)
        mvm_tty_above(t->tty, show, len);
    const char *insert = lua_tolstring(L, 3, &len);
    if (insert && t->tty)
        mvm_tty_insert(t->tty, insert, len);
    return 0;
}

static void on_complete(void *ud, const char *text, size_t len)
{
    terminal *t = ud;
    struct typed typed = {text, len};

    mvl_enter(t->ctx, call_complete, &typed);
}

/* ---- verbs ------------------------------------------------------------------------------ */

static int read_then(lua_State *L, const mvm_err *err)
{
    const char *line;
    size_t len;

    if (err)
        return mvl_fail(L, err);
    terminal *t = check(L);
    switch (mvm_tty_line(t->tty, &line, &len)) {
    case MVM_TTY_LINE:
        lua_pushlstring(L, line, len);
        return 1;
    case MVM_TTY_INTERRUPT:
        lua_pushnil(L);
        lua_pushliteral(L, "interrupt");
        return 2;
    case MVM_TTY_EOF:
    default:
        lua_pushnil(L);
        lua_pushliteral(L, "end");
        return 2;
    }
}

/// terminal:read(prompt: string) -> string|nil, "end"|"interrupt"|nil
/// Waits for a line of the user. Tasks and machines run on meanwhile. nil and `"end"` at the end of
/// input, nil and `"interrupt"` when Ctrl-C threw the line away. The prompt is shown on a terminal
/// only. Raises `state` while another task reads.
static int term_read(lua_State *L)
{
    terminal *t = check(L);
    const char *prompt = luaL_checkstring(L, 2);

    lua_settop(L, 2);
    mvl_wait *w = mvl_wait_begin(L, -1);
    w->core = mvm_tty_read(t->tty, prompt, &w->waiter, &w->err);
    return read_then(L, mvl_await(L, w, read_then));
}

/// terminal:above(text: string)
/// Prints text on standard output, above the line being typed when there is one.
static int term_above(lua_State *L)
{
    size_t len;
    terminal *t = check(L);
    const char *text = luaL_checklstring(L, 2, &len);

    mvm_tty_above(t->tty, text, len);
    return 0;
}

/// terminal:remember(line: string)
/// Adds a line to the history.
static int term_remember(lua_State *L)
{
    terminal *t = check(L);

    mvm_tty_remember(t->tty, luaL_checkstring(L, 2));
    return 0;
}

/// terminal:history(path: string)
/// Takes the lines of a file into the history, and appends to it what is remembered from now on.
/// The file is made, for its owner only, when there is none. Raises `io`.
static int term_history(lua_State *L)
{
    mvm_err err;
    terminal *t = check(L);

    if (mvm_tty_history(t->tty, luaL_checkstring(L, 2), &err))
        return mvl_fail(L, &err);
    return 0;
}

static void count_hook(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    luaL_checkstack(L, 4, NULL);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &terminal_key) != LUA_TUSERDATA) {
        lua_sethook(L, NULL, 0, 0); /* the session is over */
    } else {
        terminal *t = lua_touserdata(L, -1);
        if (t->tty && mvm_tty_interrupted(t->tty))
            mvl_failf(L, MVM_ECANCELLED, NULL, "interrupted");
    }
    lua_pop(L, 1);
}

/// terminal:guard()
/// From here on Ctrl-C also ends a computation of the calling coroutine that never waits: it raises
/// `cancelled`.
static int term_guard(lua_State *L)
{
    enum { INSTRUCTIONS = 10000 }; /* a fraction of a millisecond */
    terminal *t = check(L);

    mvm_tty_interrupted(t->tty); /* forgets an older one */
    lua_sethook(L, count_hook, LUA_MASKCOUNT, INSTRUCTIONS);
    return 0;
}

/// terminal:interactive() -> boolean
/// Is it a terminal? Else plain lines are read, without a prompt.
static int term_interactive(lua_State *L)
{
    lua_pushboolean(L, mvm_tty_interactive(check(L)->tty));
    return 1;
}

/// terminal:typing() -> boolean
/// Is a line being typed just now?
static int term_typing(lua_State *L)
{
    lua_pushboolean(L, mvm_tty_typing(check(L)->tty));
    return 1;
}

/// terminal:close()
/// Gives the terminal back as it was. Also done by `<close>`.
static int term_close(lua_State *L)
{
    terminal *t = luaL_checkudata(L, 1, TERMINAL);
    mvm_tty *tty = t->tty;

    if (!tty)
        return 0;
    t->tty = NULL;
    t->ctx->holds--;
    mvm_tty_close(tty);
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &terminal_key);
    return 0;
}

static int term_tostring(lua_State *L)
{
    const terminal *t = luaL_checkudata(L, 1, TERMINAL);

    lua_pushstring(L, t->tty ? "terminal" : "terminal (closed)");
    return 1;
}

/// core.repl.open(calls: {complete: (fun(text: string): string|nil, string|nil)|nil, interrupt:
/// fun(typing: boolean)}) -> terminal Takes standard input, output and Ctrl-C over for an
/// interactive session. `complete` is called for Tab with what stands before the cursor, and
/// returns what to insert there and what to show above; `interrupt` is called for Ctrl-C. Neither
/// can wait. Raises `state` when the process has such a session.
static int repl_open(lua_State *L)
{
    static const mvm_tty_calls calls = {on_interrupt, on_complete};
    mvm_err err;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    mvl_ctx *ctx = mvl_of(L);
    terminal *t = lua_newuserdatauv(L, sizeof(*t), TERM_NUV);
    memset(t, 0, sizeof(*t));
    luaL_setmetatable(L, TERMINAL);
    lua_getfield(L, 1, "complete");
    lua_setiuservalue(L, 2, TERM_UV_COMPLETE);
    if (lua_getfield(L, 1, "interrupt") != LUA_TFUNCTION)
        return luaL_argerror(L, 1, "`interrupt` must be a function");
    lua_setiuservalue(L, 2, TERM_UV_INTERRUPT);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &terminal_key) != LUA_TNIL)
        return mvl_failf(L, MVM_ESTATE, NULL, "there is an interactive session already");
    lua_pushvalue(L, 2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &terminal_key); /* until close */
    t->ctx = ctx;
    t->tty = mvm_tty_new(ctx->loop, &calls, t, &err);
    if (!t->tty) {
        lua_pushnil(L);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &terminal_key);
        return mvl_fail(L, &err);
    }
    ctx->holds++; /* waiting for the user is waiting for something that can come true */
    lua_settop(L, 2);
    return 1;
}

int mvl_open_repl(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"read", term_read},       {"above", term_above}, {"remember", term_remember},
        {"history", term_history}, {"guard", term_guard}, {"interactive", term_interactive},
        {"typing", term_typing},   {"close", term_close}, {NULL, NULL},
    };
    static const luaL_Reg meta[] = {
        {"__gc", term_close},
        {"__close", term_close},
        {"__tostring", term_tostring},
        {NULL, NULL},
    };
    static const luaL_Reg verbs[] = {{"open", repl_open}, {NULL, NULL}};

    luaL_newmetatable(L, TERMINAL);
    luaL_setfuncs(L, meta, 0);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newlib(L, verbs);
    return 1;
}
