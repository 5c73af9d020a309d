/* SPDX-License-Identifier: MIT */
/*
 * Consoles: the class "console". Its box holds a reference of the machine that it belongs to, with
 * which its console lives.
 */
#include "mvl.h"

#include <string.h>

#include "mvm/console.h"

typedef struct mvl_console {
    mvl_obj obj;
    mvm_vm *vm;
    mvm_console *console;
} mvl_console;

enum { CONSOLE_UV_ID = 1, CONSOLE_NUV = CONSOLE_UV_ID };

static void console_release(void *box)
{
    mvl_console *c = box;

    mvm_vm_unref(c->vm);
    c->vm = NULL;
    c->console = NULL;
}

static mvm_console *check_console(lua_State *L, int idx)
{
    mvl_console *c = mvl_check(L, idx, &mvl_console_class);

    if (!c->vm)
        mvl_failf(L, MVM_ESTATE, NULL, "this console is closed");
    return c->console;
}

/* Pushes the console's one userdata of the table of consoles at idx. */
static void push_console(lua_State *L, int idx, mvm_vm *vm, mvm_console *console, const char *id)
{
    if (lua_rawgetp(L, idx, console) != LUA_TUSERDATA) {
        lua_pop(L, 1);
        mvl_console *c = mvl_obj_new(L, &mvl_console_class);
        c->vm = mvm_vm_ref(vm);
        c->console = console;
        lua_pushvalue(L, -1);
        lua_rawsetp(L, idx, console);
    }
    lua_pushstring(L, id);
    lua_setiuservalue(L, -2, CONSOLE_UV_ID);
}

/* Pushes the table of the userdata that stand for the consoles of the machine at 1. */
static void push_known(lua_State *L)
{
    if (lua_getiuservalue(L, 1, VM_UV_CONSOLE) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, VM_UV_CONSOLE);
}

void mvl_push_console(lua_State *L, mvm_vm *vm)
{
    char id[48];
    mvm_console *console = mvm_vm_console_at(vm, 0, id);

    push_known(L);
    push_console(L, lua_gettop(L), vm, console, id);
    lua_remove(L, -2);
}

void mvl_push_consoles(lua_State *L, mvm_vm *vm)
{
    char id[48];
    mvm_console *console;

    push_known(L);
    int known = lua_gettop(L);
    lua_newtable(L);
    for (size_t i = 0; (console = mvm_vm_console_at(vm, i, id)) != NULL; i++) {
        push_console(L, known, vm, console, id);
        lua_pushvalue(L, -1);
        lua_setfield(L, -3, id);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_remove(L, known);
}

static int console_index(lua_State *L)
{
    mvl_check(L, 1, &mvl_console_class);
    if (mvl_method(L))
        return 1;
    if (lua_type(L, 2) != LUA_TSTRING || strcmp(lua_tostring(L, 2), "id") != 0)
        return 0;
    lua_getiuservalue(L, 1, CONSOLE_UV_ID);
    return 1;
}

static uint64_t opt_position(lua_State *L, int idx)
{
    lua_Integer pos = lua_isnoneornil(L, idx) ? 0 : mvl_arg_integer(L, idx, "the position");

    if (pos < 0)
        mvl_failf(L, MVM_ECONFIG, NULL, "the position must not be negative");
    return (uint64_t)pos;
}

/// console:text(from?: integer) -> string, integer|nil
/// What the machine printed: all that is kept, the last MiB. With a position, only what came from
/// there on, and as the second result where the text begins: later than `from` when older text was
/// dropped.
static int console_text(lua_State *L)
{
    mvm_console *console = check_console(L, 1);
    uint64_t pos = opt_position(L, 2);
    size_t len = 0;
    const char *text = mvm_console_text(console, &pos, &len);

    lua_settop(L, 2);
    lua_pushlstring(L, text, len);
    if (lua_isnil(L, 2))
        return 1;
    lua_pushinteger(L, (lua_Integer)pos);
    return 2;
}

/// console:position() -> integer
/// The number of bytes printed since the machine was made.
static int console_position(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)mvm_console_end(check_console(L, 1)));
    return 1;
}

/// console:wait(position: integer, opts?: {timeout?: number}) -> console
/// Waits until something was printed past that position, without a deadline unless a timeout is
/// given. Raises `state` when the machine goes down first.
static int console_wait(lua_State *L)
{
    mvm_console *console = check_console(L, 1);
    uint64_t pos = opt_position(L, 2);
    double timeout = mvl_opt_timeout(L, 3, -1, NULL);

    if (mvl_of(L)->checking)
        return mvl_fail_plan(L);
    mvl_wait *w = mvl_wait_begin(L, timeout);
    w->core = mvm_console_wait(console, pos, &w->waiter, &w->err);
    return mvl_then_self(L, mvl_await(L, w, mvl_then_self));
}

/// console:send(text: string) -> console
/// Types the bytes. Raises `state` when the machine is down.
static int console_send(lua_State *L)
{
    mvm_console *console = check_console(L, 1);
    size_t len;
    const char *text = mvl_arg_text(L, 2, "the text to type", &len);
    mvm_err err;

    if (!mvl_of(L)->checking && mvm_console_send(console, text, len, &err) != 0)
        return mvl_fail(L, &err);
    lua_settop(L, 1);
    return 1;
}

/// console:flush(opts?: {timeout?: number}) -> console
/// Waits until the machine has taken all that was typed, without a deadline unless a timeout is
/// given. Raises `state` when it goes down first.
static int console_flush(lua_State *L)
{
    mvm_console *console = check_console(L, 1);
    double timeout = mvl_opt_timeout(L, 2, -1, NULL);

    if (mvl_of(L)->checking)
        return mvl_fail_plan(L);
    mvl_wait *w = mvl_wait_begin(L, timeout);
    w->core = mvm_console_flush(console, &w->waiter, &w->err);
    return mvl_then_self(L, mvl_await(L, w, mvl_then_self));
}

static int console_tostring(lua_State *L)
{
    const mvl_console *c = mvl_check(L, 1, &mvl_console_class);

    if (c->vm)
        lua_pushfstring(L, "console of %s", mvm_vm_name(c->vm));
    else
        lua_pushliteral(L, "console (closed)");
    return 1;
}

static int console_close(lua_State *L)
{
    (void)L; /* it lives with its machine */
    return 0;
}

static const luaL_Reg console_methods[] = {
    {"text", console_text}, {"position", console_position}, {"wait", console_wait},
    {"send", console_send}, {"flush", console_flush},       {NULL, NULL},
};

const mvl_class mvl_console_class = {
    .name = "console",
    .tname = "macvm.console",
    .size = sizeof(mvl_console),
    .nuv = CONSOLE_NUV,
    .release = console_release,
    .methods = console_methods,
    .index = console_index,
    .tostring = console_tostring,
    .close = console_close,
};
