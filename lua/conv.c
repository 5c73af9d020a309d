/* SPDX-License-Identifier: MIT */
/*
 * Lua values to records and back. The schema knows what a field may hold, the core checks and
 * names what is wrong; here the shapes are taken apart: tables into fields, entries and lists, each
 * error with the full path of its field and the script's line.
 */
#include "mvl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void mvl_push_value(lua_State *L, const mvm_value *value)
{
    switch (value->type) {
    case MVM_T_BOOL:
        lua_pushboolean(L, value->as.boolean);
        break;
    case MVM_T_INT:
        lua_pushinteger(L, value->as.integer);
        break;
    case MVM_T_NUMBER:
        lua_pushnumber(L, value->as.number);
        break;
    case MVM_T_STRING:
        lua_pushlstring(L, value->as.string.ptr, value->as.string.len);
        break;
    default:
        lua_pushnil(L);
    }
}

/* ---- Lua to record ---------------------------------------------------------------------- */

static int fail_field(lua_State *L, int level, const char *hint, const char *path,
                      const char *field, const char *fmt, const char *arg)
{
    mvm_err err;

    mvm_fail(&err, MVM_ECONFIG, fmt[0] == '%' ? "%s" : "expected %s", arg);
    mvm_err_field(&err, "%s%s", path, field);
    if (hint)
        mvm_err_hint(&err, "%s", hint);
    return mvl_fail_at(L, &err, level);
}

/* A plain value. A float with an integer's value counts as one, as in 2^30. */
static bool to_value(lua_State *L, int idx, enum mvm_type type, mvm_value *out)
{
    int exact = 0;

    switch (lua_type(L, idx)) {
    case LUA_TNIL:
        out->type = MVM_T_NIL;
        return true;
    case LUA_TBOOLEAN:
        out->type = MVM_T_BOOL;
        out->as.boolean = lua_toboolean(L, idx);
        return true;
    case LUA_TNUMBER:
        out->as.integer = lua_tointegerx(L, idx, &exact);
        out->type = MVM_T_INT;
        if (!exact || type == MVM_T_NUMBER) {
            out->type = MVM_T_NUMBER;
            out->as.number = lua_tonumber(L, idx);
        }
        return true;
    case LUA_TSTRING:
        out->type = MVM_T_STRING;
        out->as.string.ptr = lua_tolstring(L, idx, &out->as.string.len);
        return true;
    default:
        return false;
    }
}

static const mvm_field *find_field(const mvm_record *rec, const char *name)
{
    for (const mvm_field *f = mvm_record_schema(rec)->fields; f->name; f++) {
        if (strcmp(f->name, name) == 0)
            return f;
    }
    return NULL;
}

/* Pushes the smallest string key of the table that comes after the one at `after` (nil: the first),
 * so that what is done for several keys has one order. Other keys: false with *odd set. */
static bool next_key(lua_State *L, int table, int after, bool *odd)
{
    bool found = false;

    luaL_checkstack(L, 5, NULL);
    lua_pushnil(L); // best
    int best = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING) {
            *odd = true;
            continue;
        }
        if ((lua_isnil(L, after) || lua_compare(L, after, -2, LUA_OPLT)) &&
            (!found || lua_compare(L, -2, best, LUA_OPLT))) {
            lua_pushvalue(L, -2);
            lua_replace(L, best);
            found = true;
        }
    }
    if (!found)
        lua_pop(L, 1);
    return found;
}

/* The value on top of the stack, or each of a list: several guest ports of host port 0. */
static void set_entry(lua_State *L, mvm_record *rec, const mvm_field *f, const char *key, int level)
{
    mvm_value value = {.type = MVM_T_NIL};
    mvm_err err;
    size_t len = strlen(key);
    bool picks = f->type == MVM_T_FORWARD && len > 2 && strcmp(key + len - 2, ":0") == 0;
    lua_Integer n = picks && lua_istable(L, -1) ? luaL_len(L, -1) : 0;

    for (lua_Integer i = n > 0; i <= n; i++) {
        if (n > 0)
            lua_geti(L, -1, i);
        if (!to_value(L, -1, MVM_T_STRING, &value))
            value.type = MVM_T_LIST; /* refused below with the words for it */
        if (mvm_record_set_entry(rec, f->name, key, &value, &err) != 0)
            mvl_fail_at(L, &err, level);
        if (n > 0)
            lua_pop(L, 1);
    }
}

static void set_entries(lua_State *L, mvm_record *rec, const char *path, const mvm_field *f,
                        int idx, int level)
{
    mvm_value value = {.type = MVM_T_NIL};
    mvm_err err;
    bool odd = false;

    if (mvm_record_set(rec, f->name, &value, &err) != 0) /* empties it, or it is frozen */
        mvl_fail_at(L, &err, level);
    lua_pushnil(L);
    int key = lua_gettop(L);
    while (next_key(L, idx, key, &odd)) {
        lua_replace(L, key);
        lua_pushvalue(L, key);
        lua_rawget(L, idx);
        set_entry(L, rec, f, lua_tostring(L, key), level);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    if (odd)
        fail_field(L, level, f->type == MVM_T_FORWARD ? "[\"127.0.0.1:8080\"] = 80" : NULL, path,
                   f->name, "expected %s", "strings as keys");
}

/* What a list of n has besides would be lost without a word. */
static void refuse_rest(lua_State *L, const char *path, const mvm_field *f, int idx, lua_Integer n,
                        int level)
{
    char name[64];

    lua_pushnil(L);
    while (lua_next(L, idx)) {
        lua_pop(L, 1);
        lua_Integer i = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
        if (i >= 1 && i <= n)
            continue;
        if (i < 1)
            fail_field(L, level, "devices = { macvm.net {}, ... }", path, f->name, "expected %s",
                       "a list");
        snprintf(name, sizeof(name), "%s[%lld]", f->name, (long long)n + 1);
        fail_field(L, level, "a list has no gaps: vm:attach adds what may be missing", path, name,
                   "%s", "is nil");
    }
}

static void append_devices(lua_State *L, mvm_record *rec, const char *path, const mvm_field *f,
                           int idx, int level)
{
    mvm_err err;
    char name[64];

    lua_Integer n = 0;
    for (; lua_geti(L, idx, n + 1) != LUA_TNIL; n++) {
        snprintf(name, sizeof(name), "%s[%lld]", f->name, (long long)n + 1);
        if (!luaL_testudata(L, -1, mvl_device_class.tname))
            fail_field(L, level, "such as macvm.disk { path = \"data.img\" }", path, name,
                       "expected %s", "a device");
        mvm_record *device = mvl_check_device(L, -1);
        if (mvm_record_append(rec, f->name, device, &err) != 0)
            mvl_fail_at(L, &err, level);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    refuse_rest(L, path, f, idx, n, level);
}

void mvl_record_set(lua_State *L, mvm_record *rec, const char *path, const char *field, int idx,
                    int level)
{
    const mvm_field *f = find_field(rec, field);
    mvm_value value = {.type = MVM_T_NIL};
    mvm_err err;
    int top = lua_gettop(L);

    idx = lua_absindex(L, idx);
    bool shaped = f && f->type >= MVM_T_FORWARD && !lua_isnil(L, idx);
    if (shaped && !lua_istable(L, idx))
        fail_field(L, level, NULL, path, field, "expected %s",
                   f->type == MVM_T_LIST ? "a list in braces" : "a table");
    if (shaped && f->type == MVM_T_RECORD) {
        char sub_path[128];
        mvm_record *sub = mvm_record_sub(rec, field, &err);
        if (!sub)
            mvl_fail_at(L, &err, level);
        snprintf(sub_path, sizeof(sub_path), "%s%s.", path, field);
        mvl_record_fill(L, sub, sub_path, idx, NULL, level);
    } else if (shaped && f->type == MVM_T_LIST) {
        append_devices(L, rec, path, f, idx, level);
    } else if (shaped) {
        set_entries(L, rec, path, f, idx, level);
    } else {
        if (!to_value(L, idx, f ? f->type : MVM_T_STRING, &value) && f)
            fail_field(L, level, NULL, path, field, "%s",
                       lua_pushfstring(L, "can't be a %s", luaL_typename(L, idx)));
        if (mvm_record_set(rec, field, &value, &err) != 0)
            mvl_fail_at(L, &err, level);
    }
    lua_settop(L, top);
}

/* The first unknown key makes the error. */
static void refuse_unknown(lua_State *L, mvm_record *rec, const char *path, int idx,
                           const char *skip, int level)
{
    bool odd = false;

    lua_pushnil(L);
    int key = lua_gettop(L);
    while (next_key(L, idx, key, &odd)) {
        lua_replace(L, key);
        const char *name = lua_tostring(L, key);
        if (find_field(rec, name) || (skip && strcmp(name, skip) == 0))
            continue;
        lua_pushvalue(L, key);
        lua_rawget(L, idx);
        mvl_record_set(L, rec, path, name, -1, level); /* names what is near, and raises */
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    if (odd)
        fail_field(L, level, "devices go into devices = { ... }", path, "", "expected %s",
                   "only named fields");
}

void mvl_record_fill(lua_State *L, mvm_record *rec, const char *path, int idx, const char *skip,
                     int level)
{
    idx = lua_absindex(L, idx);
    luaL_checkstack(L, 10, "configuration nested too deeply");
    for (const mvm_field *f = mvm_record_schema(rec)->fields; f->name; f++) {
        if (skip && strcmp(f->name, skip) == 0)
            continue;
        if (lua_getfield(L, idx, f->name) != LUA_TNIL)
            mvl_record_set(L, rec, path, f->name, -1, level);
        lua_pop(L, 1);
    }
    refuse_unknown(L, rec, path, idx, skip, level);
}

/* ---- record to Lua ---------------------------------------------------------------------- */

static void push_entries(lua_State *L, const mvm_record *rec, const char *field)
{
    const char *key;
    mvm_value value;

    lua_newtable(L);
    for (size_t i = 0; mvm_record_entry(rec, field, i, &key, &value); i++) {
        int type = lua_getfield(L, -1, key); // t, what the key has already
        if (type == LUA_TNUMBER) {           // one of several becomes a list
            lua_createtable(L, 2, 0);
            lua_insert(L, -2);
            lua_rawseti(L, -2, 1);
        }
        mvl_push_value(L, &value);
        if (type == LUA_TNUMBER || type == LUA_TTABLE)
            lua_rawseti(L, -2, luaL_len(L, -2) + 1);
        else
            lua_remove(L, -2); // t, value
        lua_setfield(L, -2, key);
    }
}

static void push_items(lua_State *L, const mvm_record *rec, const char *field)
{
    mvm_record *item;

    lua_newtable(L);
    for (size_t i = 0; (item = mvm_record_item(rec, field, i)) != NULL; i++) {
        mvl_push_device(L, item);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

bool mvl_record_push(lua_State *L, mvm_record *rec, const char *field)
{
    const mvm_field *f = find_field(rec, field);

    if (!f)
        return false;
    luaL_checkstack(L, 6, NULL);
    if (f->type == MVM_T_LIST) {
        push_items(L, rec, field);
    } else if (f->type == MVM_T_RECORD) {
        if (mvm_record_peek(rec, field))
            mvl_push_sub_record(L, rec, field);
        else
            lua_pushnil(L);
    } else if (f->type == MVM_T_MAP || f->type == MVM_T_FORWARD) {
        if (mvm_record_has(rec, field))
            push_entries(L, rec, field);
        else
            lua_pushnil(L);
    } else {
        mvm_value value = mvm_record_get(rec, field);
        mvl_push_value(L, &value);
    }
    return true;
}

/* ---- arguments and options of verbs ------------------------------------------------------- */

static const char *type_or_nil(lua_State *L, int idx)
{
    return lua_isnone(L, idx) ? "nil" : luaL_typename(L, idx);
}

const char *mvl_arg_text(lua_State *L, int idx, const char *what, size_t *len)
{
    const char *text = lua_tolstring(L, idx, len);

    if (!text)
        mvl_failf(L, MVM_ECONFIG, NULL, "%s must be a string, got %s", what, type_or_nil(L, idx));
    return text;
}

lua_Integer mvl_arg_integer(lua_State *L, int idx, const char *what)
{
    int exact = 0;
    lua_Integer n = lua_tointegerx(L, idx, &exact);

    if (!exact)
        mvl_failf(L, MVM_ECONFIG, NULL, "%s must be an integer, got %s", what,
                  lua_isnumber(L, idx) ? lua_tostring(L, idx) : type_or_nil(L, idx));
    return n;
}

int64_t mvl_arg_size(lua_State *L, int idx, const char *what)
{
    int64_t bytes = 0;
    mvm_err err;

    if (lua_type(L, idx) == LUA_TNUMBER)
        return mvl_arg_integer(L, idx, what);
    if (lua_type(L, idx) != LUA_TSTRING) {
        mvm_fail(&err, MVM_ECONFIG, "%s must be a size, got %s", what, type_or_nil(L, idx));
        mvm_err_hint(&err, "bytes as an integer, or a text such as \"512M\" or \"2G\"");
        mvl_fail(L, &err);
    }
    if (mvm_parse_size(lua_tostring(L, idx), &bytes, &err) != 0)
        mvl_fail(L, &err);
    return bytes;
}

static int fail_option(lua_State *L, const char *name, const char *hint, const char *message)
{
    mvm_err err;

    mvm_fail(&err, MVM_ECONFIG, "%s", message);
    mvm_err_field(&err, "%s", name);
    if (hint)
        mvm_err_hint(&err, "%s", hint);
    return mvl_fail(L, &err);
}

/* `extra`: names, with blanks between. */
static void refuse_option(lua_State *L, const char *name, const char *extra)
{
    const char *known[4] = {"timeout"};
    size_t n = 1;
    char hint[96], words[64];
    char *save = NULL;

    snprintf(words, sizeof(words), "%s", extra ? extra : "");
    for (char *w = strtok_r(words, " ", &save); w && n < 4; w = strtok_r(NULL, " ", &save))
        known[n++] = w;
    for (size_t i = 0; i < n; i++)
        if (strcmp(name, known[i]) == 0)
            return;
    const char *near = mvm_nearest(name, known, n);
    snprintf(hint, sizeof(hint), near ? "did you mean `%s`?" : "it has: %s",
             near ? near : known[0]);
    fail_option(L, name, hint, "unknown option");
}

double mvl_opt_timeout(lua_State *L, int idx, double fallback, const char *extra)
{
    if (lua_isnoneornil(L, idx))
        return fallback;
    if (!lua_istable(L, idx))
        mvl_failf(L, MVM_ECONFIG, "{ timeout = 5 }", "options must be a table, got %s",
                  luaL_typename(L, idx));
    for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            mvl_failf(L, MVM_ECONFIG, "{ timeout = 5 }", "options must be named");
        refuse_option(L, lua_tostring(L, -2), extra);
    }
    int type = lua_getfield(L, idx, "timeout");
    double timeout = lua_tonumber(L, -1);
    if (type == LUA_TNIL)
        timeout = fallback;
    else if (type != LUA_TNUMBER || !(timeout >= 0))
        fail_option(L, "timeout", "seconds, such as 2.5; math.huge: none", "is not a time to wait");
    lua_pop(L, 1);
    return isinf(timeout) ? -1 : timeout;
}
