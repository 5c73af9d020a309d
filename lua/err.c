/* SPDX-License-Identifier: MIT */
/*
 * Error objects: tables of the class "macvm.error" with code, message, field, hint, vm and where.
 * tostring gives one readable line, "FILE:LINE: VM: FIELD: MESSAGE (HINT)".
 */
#include "mvl.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Pushes "FILE:LINE" of the first frame from `level` on that is a script's, or nil. */
static void push_where(lua_State *L, int level)
{
    lua_Debug ar;

    for (; level > 0 && lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline > 0 && strncmp(ar.source, "=macvm/", 7) != 0) {
            lua_pushfstring(L, "%s:%d", ar.short_src, ar.currentline);
            return;
        }
    }
    lua_pushnil(L);
}

static void set_text(lua_State *L, const char *key, const char *text)
{
    if (!text[0])
        return;
    lua_pushstring(L, text);
    lua_setfield(L, -2, key);
}

void mvl_push_error(lua_State *L, const mvm_err *err, int level)
{
    luaL_checkstack(L, 6, NULL);
    lua_createtable(L, 0, 6);
    set_text(L, "code", mvm_code_word(err->code));
    set_text(L, "message", err->message);
    set_text(L, "field", err->field);
    set_text(L, "hint", err->hint);
    set_text(L, "vm", err->vm);
    push_where(L, level);
    lua_setfield(L, -2, "where");
    luaL_setmetatable(L, MVL_ERROR);
}

int mvl_fail_at(lua_State *L, const mvm_err *err, int level)
{
    mvl_push_error(L, err, level);
    return lua_error(L);
}

int mvl_fail(lua_State *L, const mvm_err *err)
{
    return mvl_fail_at(L, err, 1);
}

int mvl_failf(lua_State *L, int code, const char *hint, const char *fmt, ...)
{
    mvm_err err;
    char text[sizeof(err.message)];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    mvm_fail(&err, code, "%s", text);
    if (hint)
        mvm_err_hint(&err, "%s", hint);
    return mvl_fail(L, &err);
}

void mvl_place_error(lua_State *L)
{
    if (!mvl_is_error(L, -1, NULL))
        return;
    lua_pushliteral(L, "where");
    if (lua_rawget(L, -2) == LUA_TNIL) {
        push_where(L, 1);
        lua_setfield(L, -3, "where");
    }
    lua_pop(L, 1);
}

int mvl_fail_plan(lua_State *L)
{
    mvm_err err;

    mvm_fail(&err, MVM_ECANCELLED, "a plan has no live machine that could answer this");
    mvl_push_error(L, &err, 1);
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "plan");
    return lua_error(L);
}

bool mvl_is_error(lua_State *L, int idx, const char *code)
{
    bool is = false;

    idx = lua_absindex(L, idx);
    if (!lua_istable(L, idx) || !lua_getmetatable(L, idx))
        return false;
    luaL_getmetatable(L, MVL_ERROR);
    if (lua_rawequal(L, -1, -2)) {
        lua_pushliteral(L, "code");
        lua_rawget(L, idx);
        is = !code || (lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), code) == 0);
        lua_pop(L, 1);
    }
    lua_pop(L, 2);
    return is;
}

static void add_part(lua_State *L, luaL_Buffer *b, const char *key)
{
    if (lua_getfield(L, 1, key) == LUA_TSTRING) {
        luaL_addvalue(b);
        luaL_addstring(b, ": ");
    } else {
        lua_pop(L, 1);
    }
}

/* Replaces the text on top of the stack by one without control characters. */
static void one_line(lua_State *L)
{
    size_t len;
    const char *text = lua_tolstring(L, -1, &len);
    luaL_Buffer b;
    char *line = luaL_buffinitsize(L, &b, len);

    for (size_t i = 0; i < len; i++)
        line[i] = iscntrl((unsigned char)text[i]) ? '?' : text[i];
    luaL_pushresultsize(&b, len);
}

static int error_tostring(lua_State *L)
{
    luaL_Buffer b;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    luaL_buffinit(L, &b);
    add_part(L, &b, "where");
    add_part(L, &b, "vm");
    add_part(L, &b, "field");
    if (lua_getfield(L, 1, "message") == LUA_TSTRING)
        luaL_addvalue(&b);
    else
        lua_pop(L, 1);
    if (lua_getfield(L, 1, "hint") == LUA_TSTRING) {
        lua_pushfstring(L, " (%s)", lua_tostring(L, -1));
        lua_remove(L, -2);
        luaL_addvalue(&b);
    } else {
        lua_pop(L, 1);
    }
    luaL_pushresult(&b);
    one_line(L);
    return 1;
}

static int error_concat(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    luaL_tolstring(L, 2, NULL);
    lua_concat(L, 2);
    return 1;
}

/// core.error(fields: table) -> error
/// Makes an error object, for `error()`, from `code` and `message` and, where they apply, `field`,
/// `hint` and `vm`. `code` is one of core.codes(). `level` says whose line is named, as in Lua's
/// `error`: 1 (the default) is the caller, 0 names none; lines of macvm's own Lua files are
/// passed over.
static int core_error(lua_State *L)
{
    static const char *const texts[] = {"code", "message", "field", "hint", "vm", NULL};

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_getfield(L, 1, "level");
    int level = (int)luaL_optinteger(L, -1, 1);
    lua_createtable(L, 0, 6);
    for (int i = 0; texts[i]; i++) {
        int type = lua_getfield(L, 1, texts[i]);
        if (type != LUA_TSTRING && (i < 2 || type != LUA_TNIL))
            return luaL_error(L, "core.error: '%s' must be a string", texts[i]);
        if (type == LUA_TSTRING && lua_rawlen(L, -1) == 0) {
            lua_pop(L, 1);
            continue;
        }
        lua_setfield(L, -2, texts[i]);
    }
    push_where(L, level);
    lua_setfield(L, -2, "where");
    luaL_setmetatable(L, MVL_ERROR);
    return 1;
}

void mvl_open_error(lua_State *L)
{
    luaL_newmetatable(L, MVL_ERROR);
    lua_pushcfunction(L, error_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushcfunction(L, error_concat);
    lua_setfield(L, -2, "__concat");
    lua_pop(L, 1);
    lua_pushcfunction(L, core_error);
}
