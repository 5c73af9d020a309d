/* SPDX-License-Identifier: MIT */
/*
 * What the core knows by itself, as tables: schemas, words of states, events, codes and abilities,
 * sizes. Manuals, plans and completion are made from it.
 */
#include "mvl.h"

static const char *type_word(enum mvm_type type)
{
    static const char *const words[] = {
        [MVM_T_NIL] = "nil",       [MVM_T_BOOL] = "boolean",    [MVM_T_INT] = "integer",
        [MVM_T_NUMBER] = "number", [MVM_T_STRING] = "string",   [MVM_T_SIZE] = "size",
        [MVM_T_PATH] = "path",     [MVM_T_MAC] = "mac",         [MVM_T_CHOICE] = "choice",
        [MVM_T_NAME] = "name",     [MVM_T_FORWARD] = "forward", [MVM_T_MAP] = "map",
        [MVM_T_RECORD] = "record", [MVM_T_LIST] = "list",
    };

    return words[type];
}

static void set_string(lua_State *L, const char *key, const char *text)
{
    if (!text)
        return;
    lua_pushstring(L, text);
    lua_setfield(L, -2, key);
}

static void push_field(lua_State *L, const mvm_field *f)
{
    lua_createtable(L, 0, 7);
    set_string(L, "name", f->name);
    set_string(L, "type", type_word(f->type));
    set_string(L, "choices", f->choices);
    set_string(L, "fallback", f->fallback);
    set_string(L, "doc", f->doc);
    if (f->min == f->max)
        return;
    lua_pushinteger(L, f->min);
    lua_setfield(L, -2, "min");
    lua_pushinteger(L, f->max);
    lua_setfield(L, -2, "max");
}

static void push_schema(lua_State *L, const mvm_schema *s)
{
    lua_createtable(L, 0, 4);
    set_string(L, "kind", s->kind);
    set_string(L, "doc", s->doc);
    lua_pushboolean(L, s->device);
    lua_setfield(L, -2, "device");
    lua_newtable(L);
    for (lua_Integer i = 0; s->fields[i].name; i++) {
        push_field(L, &s->fields[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "fields");
}

/// core.schemas() -> {kind: string, device: boolean, doc: string, fields: table[]}[]
/// Every kind of record, with the name, type, limits (`min`, `max`), `choices` (words separated by
/// spaces; of a record: its kind), default (`fallback`) and documentation of its fields.
static int core_schemas(lua_State *L)
{
    const mvm_schema *s;

    lua_newtable(L);
    for (size_t i = 0; (s = mvm_schema_at(i)) != NULL; i++) {
        push_schema(L, s);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/// core.abilities() -> string[]
/// Every word that vm:can knows.
static int core_abilities(lua_State *L)
{
    const char *word;

    lua_newtable(L);
    for (size_t i = 0; (word = mvm_vm_ability(i)) != NULL; i++) {
        lua_pushstring(L, word);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/// core.events() -> {name: string, args: string}[]
/// Every event of a machine, with the names of what a handler gets after `vm`.
static int core_events(lua_State *L)
{
    static const char *const events[][2] = {
#define X(name, args) {name, args},
        MVM_EVENT_MAP(X)
#undef X
    };

    lua_newtable(L);
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        lua_createtable(L, 0, 2);
        set_string(L, "name", events[i][0]);
        set_string(L, "args", events[i][1]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/// core.states() -> string[]
/// Every state that a machine can be in.
static int core_states(lua_State *L)
{
    lua_newtable(L);
    for (int i = 0; i < MVM_STATE_COUNT; i++) {
        lua_pushstring(L, mvm_state_word((mvm_state)i));
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/// core.codes() -> {code: string, meaning: string}[]
/// Every code of an error object.
static int core_codes(lua_State *L)
{
    static const char *const codes[][2] = {
#define X(name, word, meaning) {word, meaning},
        MVM_CODE_MAP(X)
#undef X
    };

    lua_newtable(L);
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        lua_createtable(L, 0, 2);
        set_string(L, "code", codes[i][0]);
        set_string(L, "meaning", codes[i][1]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/// core.parse_size(size: integer|string) -> integer
/// `"512M"` as bytes. Raises `config` for what is no size.
static int core_parse_size(lua_State *L)
{
    int64_t bytes;
    mvm_err err;

    if (mvm_parse_size(luaL_checkstring(L, 1), &bytes, &err) != 0)
        return mvl_fail(L, &err);
    lua_pushinteger(L, bytes);
    return 1;
}

/// core.format_size(bytes: integer) -> string
/// 536870912 as `"512M"`: in the largest unit that divides it.
static int core_format_size(lua_State *L)
{
    char text[24];

    lua_pushstring(L, mvm_format_size(luaL_checkinteger(L, 1), text, sizeof(text)));
    return 1;
}

const luaL_Reg mvl_lib_schema[] = {
    {"schemas", core_schemas},
    {"abilities", core_abilities},
    {"events", core_events},
    {"states", core_states},
    {"codes", core_codes},
    {"parse_size", core_parse_size},
    {"format_size", core_format_size},
    {NULL, NULL},
};
