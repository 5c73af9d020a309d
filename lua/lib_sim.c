/* SPDX-License-Identifier: MIT */
/*
 * Scripting simulated machines from Lua: what a command answers, which operations fail, what the
 * guest does by itself. The script function is called from the loop and can't wait.
 */
#include "mvl.h"

#include "mvm/sim.h"

typedef struct question {
    mvl_obj *box;
    const char *const *argv;
    mvm_sim_reply *reply;
    bool answered;
} question;

static const char *reply_text(lua_State *L, int reply, const char *key, size_t *len)
{
    lua_pushstring(L, key);
    int type = lua_rawget(L, reply);

    if (type != LUA_TNIL && type != LUA_TSTRING)
        luaL_error(L, "sim script: '%s' must be a string", key);
    const char *text = type == LUA_TSTRING ? lua_tolstring(L, -1, len) : NULL;
    lua_pop(L, 1); /* the table, which the box keeps, holds the string */
    return text;
}

static lua_Number reply_number(lua_State *L, int reply, const char *key)
{
    if (lua_getfield(L, reply, key) != LUA_TNIL && !lua_isnumber(L, -1))
        luaL_error(L, "sim script: '%s' must be a number", key);
    lua_Number n = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return n;
}

/* Stack: a light userdata of the question. */
static int ask(lua_State *L)
{
    question *q = lua_touserdata(L, 1);
    mvm_sim_reply *r = q->reply;

    if (!mvl_obj_push(L, q->box)) // 2
        return 0;
    lua_getiuservalue(L, 2, VM_UV_SCRIPT);
    lua_newtable(L);
    for (lua_Integer i = 0; q->argv[i]; i++) {
        lua_pushstring(L, q->argv[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_call(L, 1, 1); // 3: the reply
    if (lua_isnil(L, 3))
        return 0;
    if (lua_type(L, 3) == LUA_TSTRING) {
        lua_createtable(L, 0, 1);
        lua_insert(L, 3);
        lua_setfield(L, 3, "stdout");
    }
    luaL_argexpected(L, lua_istable(L, 3), 3, "table");
    lua_pushvalue(L, 3);
    lua_setiuservalue(L, 2, VM_UV_REPLY);
    *r = (mvm_sim_reply){.delay = reply_number(L, 3, "delay")};
    r->status = (int)reply_number(L, 3, "status");
    r->signal = (int)reply_number(L, 3, "signal");
    r->out = reply_text(L, 3, "stdout", &r->out_len);
    r->err = reply_text(L, 3, "stderr", &r->err_len);
    if (r->signal > 0)
        r->status = 128 + r->signal;
    q->answered = true;
    return 0;
}

static bool on_exec(void *ud, mvm_vm *vm, const char *const *argv, mvm_sim_reply *reply)
{
    static const char broken[] = "the sim script failed\n";
    question q = {ud, argv, reply, false};

    (void)vm;
    if (mvl_enter(q.box->ctx, ask, &q) == LUA_OK)
        return q.answered;
    *reply = (mvm_sim_reply){.status = 126, .err = broken, .err_len = sizeof(broken) - 1};
    return true;
}

/// vm:sim_script(answer: (fun(argv: string[]): table|string|nil)|nil) -> vm
/// Has a simulated machine ask `answer` for every command (`{"sh", "-c", text}` for a text). It
/// returns `{ status =, signal =, stdout =, stderr =, delay = }`, or the standard output alone, or
/// nil: the built-in commands answer. It can't wait. Raises `state` unless the machine is down and
/// simulated.
int mvl_sim_script(lua_State *L)
{
    mvm_vm *vm = mvl_check_vm(L, 1);
    mvm_err err;

    if (!lua_isnoneornil(L, 2))
        luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    bool on = !lua_isnil(L, 2);
    if (mvm_sim_script(vm, on ? on_exec : NULL, mvl_box(L, 1), &err) != 0)
        return mvl_fail(L, &err);
    lua_setiuservalue(L, 1, VM_UV_SCRIPT);
    return 1;
}

/// vm:sim_fail(op: string, count: integer, message: string) -> vm
/// Lets the next `count` runs (-1: all) of an operation of a simulated machine fail: `"start"`,
/// `"pause"`, `"resume"`, `"stop"`, `"kill"`, `"reset"`, `"stats"`, `"exec"`, `"open"`, `"agent"`.
int mvl_sim_fail(lua_State *L)
{
    mvm_err err;

    if (mvm_sim_fail(mvl_check_vm(L, 1), luaL_checkstring(L, 2), (int)luaL_checkinteger(L, 3),
                     luaL_optstring(L, 4, "scripted failure"), &err) != 0)
        return mvl_fail(L, &err);
    lua_settop(L, 1);
    return 1;
}

/// vm:sim_file(path: string, bytes: string) -> vm
/// Puts a file into a simulated machine.
int mvl_sim_file(lua_State *L)
{
    mvm_err err;
    size_t len;
    const char *bytes = luaL_checklstring(L, 3, &len);

    if (mvm_sim_file(mvl_check_vm(L, 1), luaL_checkstring(L, 2), bytes, len, &err) != 0)
        return mvl_fail(L, &err);
    lua_settop(L, 1);
    return 1;
}

/// vm:sim_inject(what: string, text?: string) -> vm
/// Lets a simulated guest act by itself: `"panic"`, `"poweroff"`, `"die"` (the hypervisor is gone),
/// `"agent-exit"`, `"console"` (it prints the text), or any event with one text.
int mvl_sim_inject(lua_State *L)
{
    mvm_err err;
    size_t len;
    const char *text = luaL_optlstring(L, 3, "", &len);

    if (mvm_sim_inject(mvl_check_vm(L, 1), luaL_checkstring(L, 2), text, len, &err) != 0)
        return mvl_fail(L, &err);
    lua_settop(L, 1);
    return 1;
}
