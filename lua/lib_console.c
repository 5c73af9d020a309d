/* SPDX-License-Identifier: MIT */
/*
 * The serial console: the class "console". Its box holds a reference of the machine that it
 * belongs to.
 */
#include "mvl.h"

#include "mvm/console.h"

typedef struct mvl_console {
    mvl_obj obj;
    mvm_vm *vm;
} mvl_console;

static void console_release(void *box)
{
    mvl_console *c = box;

    mvm_vm_unref(c->vm);
    c->vm = NULL;
}

static mvm_console *check_console(lua_State *L, int idx)
{
    mvl_console *c = mvl_check(L, idx, &mvl_console_class);

    if (!c->vm)
        mvl_failf(L, MVM_ESTATE, NULL, "this console is closed");
    return mvm_vm_console(c->vm);
}

void mvl_push_console(lua_State *L, mvm_vm *vm)
{
    mvl_console *c = mvl_obj_new(L, &mvl_console_class);

    c->vm = mvm_vm_ref(vm);
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
    {"text", console_text}, {"position", console_position},
    {"wait", console_wait}, {"send", console_send},
    {NULL, NULL},
};

const mvl_class mvl_console_class = {
    .name = "console",
    .tname = "macvm.console",
    .size = sizeof(mvl_console),
    .release = console_release,
    .methods = console_methods,
    .tostring = console_tostring,
    .close = console_close,
};
