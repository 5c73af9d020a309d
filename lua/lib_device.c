/* SPDX-License-Identifier: MIT */
/*
 * Devices, and the sub-records of a machine such as vm.boot: boxes around a record of the core,
 * whose fields are read and written by its schema. Each holds one reference.
 */
#include "mvl.h"

#include <string.h>

typedef struct mvl_device {
    mvl_obj obj;
    mvm_record *rec;
} mvl_device;

static void device_release(void *box)
{
    mvl_device *d = box;

    mvm_record_unref(d->rec);
    d->rec = NULL;
}

static mvm_record *opened(lua_State *L, int idx, const mvl_class *class)
{
    mvl_device *d = mvl_check(L, idx, class);

    if (!d->rec)
        mvl_failf(L, MVM_ESTATE, NULL, "this %s is closed", class->name);
    return d->rec;
}

mvm_record *mvl_check_device(lua_State *L, int idx)
{
    if (!luaL_testudata(L, idx, mvl_device_class.tname))
        mvl_failf(L, MVM_ECONFIG, "such as macvm.net {}", "expected a device, got %s",
                  lua_isnone(L, idx) ? "nil" : luaL_typename(L, idx));
    return opened(L, idx, &mvl_device_class);
}

void mvl_push_device(lua_State *L, mvm_record *rec)
{
    if (mvl_id_push(L, rec)) {
        mvl_device *known = mvl_box(L, -1);
        if (known && known->obj.class == &mvl_device_class && known->rec == rec)
            return;
        lua_pop(L, 1);
    }
    mvl_device *d = mvl_obj_new(L, &mvl_device_class);
    d->rec = mvm_record_ref(rec);
    mvl_id_set(L, rec);
}

void mvl_push_sub_record(lua_State *L, mvm_record *parent, const char *field)
{
    mvm_err err;
    mvl_device *d = mvl_obj_new(L, &mvl_record_class);
    mvm_record *sub = mvm_record_sub(parent, field, &err);

    if (!sub)
        mvl_fail(L, &err);
    d->rec = mvm_record_ref(sub);
}

/// core.device(kind: string, fields: table, level?: integer) -> device
/// A device of that kind, its fields checked against the schema. Raises `config` that names the
/// field; `level` says whose line is named, as in Lua's `error`.
static int core_device(lua_State *L)
{
    const char *kind = luaL_checkstring(L, 1);
    const mvm_schema *schema = mvm_schema_find(kind);
    int level = (int)luaL_optinteger(L, 3, 1);

    if (!schema || !schema->device)
        return mvl_failf(L, MVM_ECONFIG, NULL, "there is no device `%s`", kind);
    if (!lua_istable(L, 2))
        return mvl_failf(L, MVM_ECONFIG, NULL, "a %s is made from a table, got %s", kind,
                         luaL_typename(L, 2));
    mvl_device *d = mvl_obj_new(L, &mvl_device_class);
    d->rec = mvm_record_new(schema);
    mvl_id_set(L, d->rec);
    mvl_record_fill(L, d->rec, "", 2, NULL, level);
    return 1;
}

static int record_index(lua_State *L, const mvl_class *class)
{
    mvm_record *rec = opened(L, 1, class);

    if (lua_type(L, 2) != LUA_TSTRING)
        return 0;
    const char *key = lua_tostring(L, 2);
    if (mvl_method(L) || mvl_record_push(L, rec, key))
        return 1;
    if (strcmp(key, "kind") != 0)
        return 0;
    lua_pushstring(L, mvm_record_schema(rec)->kind);
    return 1;
}

static int device_index(lua_State *L)
{
    return record_index(L, &mvl_device_class);
}

static int sub_index(lua_State *L)
{
    return record_index(L, &mvl_record_class);
}

static int device_newindex(lua_State *L)
{
    mvl_record_set(L, opened(L, 1, &mvl_device_class), "", luaL_checkstring(L, 2), 3, 1);
    return 0;
}

static int sub_newindex(lua_State *L)
{
    mvm_record *rec = opened(L, 1, &mvl_record_class);
    const char *path = lua_pushfstring(L, "%s.", mvm_record_schema(rec)->kind);

    mvl_record_set(L, rec, path, luaL_checkstring(L, 2), 3, 1);
    return 0;
}

/* `disk { path = /a/b.img, size = 1073741824 }`: what was set. */
static int record_tostring(lua_State *L, const mvl_class *class)
{
    const mvm_record *rec = opened(L, 1, class);
    luaL_Buffer b;
    int shown = 0;

    luaL_buffinit(L, &b);
    luaL_addstring(&b, mvm_record_schema(rec)->kind);
    luaL_addstring(&b, " {");
    for (const mvm_field *f = mvm_record_schema(rec)->fields; f->name; f++) {
        mvm_value value = mvm_record_get(rec, f->name);
        if (f->type >= MVM_T_FORWARD || !mvm_record_has(rec, f->name))
            continue;
        lua_pushfstring(L, "%s %s = ", shown++ ? "," : "", f->name);
        luaL_addvalue(&b);
        mvl_push_value(L, &value);
        luaL_tolstring(L, -1, NULL);
        lua_remove(L, -2);
        luaL_addvalue(&b);
    }
    luaL_addstring(&b, shown ? " }" : "}");
    luaL_pushresult(&b);
    return 1;
}

static int device_tostring(lua_State *L)
{
    return record_tostring(L, &mvl_device_class);
}

static int sub_tostring(lua_State *L)
{
    return record_tostring(L, &mvl_record_class);
}

static const luaL_Reg no_methods[] = {{NULL, NULL}};

/* Each checks that the device is of its kind. */
static const luaL_Reg device_methods[] = {
    {"resize", mvl_disk_resize},
    {"link", mvl_net_link},
    {NULL, NULL},
};

const mvl_class mvl_device_class = {
    .name = "device",
    .tname = "macvm.device",
    .size = sizeof(mvl_device),
    .release = device_release,
    .methods = device_methods,
    .index = device_index,
    .newindex = device_newindex,
    .tostring = device_tostring,
};

const mvl_class mvl_record_class = {
    .name = "record",
    .tname = "macvm.record",
    .size = sizeof(mvl_device),
    .release = device_release,
    .methods = no_methods,
    .index = sub_index,
    .newindex = sub_newindex,
    .tostring = sub_tostring,
};

const luaL_Reg mvl_lib_device[] = {
    {"device", core_device},
    {NULL, NULL},
};
