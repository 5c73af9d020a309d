/* SPDX-License-Identifier: MIT */
/*
 * Boxes: the userdata that stand for things of the core. A box is made closed, then its maker
 * acquires; __gc and __close let go by the same idempotent function. The context keeps a list of
 * open boxes, so that whatever Lua did not finalise is let go before the lab is closed.
 */
#include "mvl.h"

#include <string.h>

static const char ids_key, pins_key, classes_key;

static void unlink_obj(mvl_obj *obj)
{
    if (!obj->ctx)
        return;
    *(obj->prev ? &obj->prev->next : &obj->ctx->objs) = obj->next;
    if (obj->next)
        obj->next->prev = obj->prev;
    obj->prev = obj->next = NULL;
}

void *mvl_obj_new(lua_State *L, const mvl_class *class)
{
    mvl_ctx *ctx = mvl_of(L);
    luaL_checkstack(L, 6, NULL);
    mvl_obj *obj = lua_newuserdatauv(L, class->size, class->nuv);

    memset(obj, 0, class->size);
    obj->class = class;
    luaL_setmetatable(L, class->tname);
    obj->ctx = ctx;
    obj->next = ctx->objs;
    if (obj->next)
        obj->next->prev = obj;
    ctx->objs = obj;
    if (class->pinned) {
        mvl_id_set(L, obj);
        lua_rawgetp(L, LUA_REGISTRYINDEX, &pins_key);
        lua_pushboolean(L, 0); /* takes the slot now, so that pinning never allocates */
        lua_rawsetp(L, -2, obj);
        lua_pop(L, 1);
    }
    return obj;
}

void mvl_id_set(lua_State *L, const void *ptr)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &ids_key);
    lua_pushvalue(L, -2);
    lua_rawsetp(L, -2, ptr);
    lua_pop(L, 1);
}

bool mvl_id_push(lua_State *L, const void *ptr)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &ids_key);
    lua_rawgetp(L, -1, ptr);
    lua_remove(L, -2);
    if (lua_isuserdata(L, -1))
        return true;
    lua_pop(L, 1);
    return false;
}

bool mvl_obj_push(lua_State *L, const void *box)
{
    return mvl_id_push(L, box);
}

void mvl_obj_pin(void *box, bool on)
{
    lua_State *L = ((mvl_obj *)box)->ctx->L;

    if (!lua_checkstack(L, 4))
        return; /* only when the main stack is at its limit: then nothing can be pinned */
    lua_rawgetp(L, LUA_REGISTRYINDEX, &pins_key);
    if (!on || !mvl_id_push(L, box))
        lua_pushboolean(L, 0);
    lua_rawsetp(L, -2, box); /* the key is there: no allocation */
    lua_pop(L, 1);
}

/* Did the class's own finaliser, which may raise, keep the box alive? */
static bool lives_on(lua_State *L, const mvl_obj *obj)
{
    if (!obj->class->finalise || !obj->ctx || !obj->ctx->lab)
        return false;
    lua_pushcfunction(L, obj->class->finalise);
    lua_pushvalue(L, 1);
    bool alive = lua_pcall(L, 1, 1, 0) == LUA_OK && lua_toboolean(L, -1);
    lua_pop(L, 1);
    if (alive) { /* marks it for finalisation again */
        lua_getmetatable(L, 1);
        lua_setmetatable(L, 1);
    }
    return alive;
}

static int obj_gc(lua_State *L)
{
    mvl_obj *obj = lua_touserdata(L, 1);

    if (!obj || !obj->class || lives_on(L, obj))
        return 0;
    obj->class->release(obj);
    if (obj->ctx && obj->class->pinned) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, &pins_key);
        lua_pushnil(L);
        lua_rawsetp(L, -2, obj);
    }
    unlink_obj(obj);
    obj->ctx = NULL;
    return 0;
}

static int obj_close(lua_State *L)
{
    mvl_obj *obj = lua_touserdata(L, 1);

    if (obj && obj->class && obj->ctx)
        obj->class->release(obj);
    return 0;
}

void *mvl_check(lua_State *L, int idx, const mvl_class *class)
{
    return luaL_checkudata(L, idx, class->tname);
}

bool mvl_method(lua_State *L)
{
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    if (!lua_isnil(L, -1))
        return true;
    lua_pop(L, 1);
    return false;
}

static void class_open(lua_State *L, const mvl_class *class)
{
    luaL_newmetatable(L, class->tname);
    lua_pushcfunction(L, obj_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, class->close ? class->close : obj_close);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, class->tostring);
    lua_setfield(L, -2, "__tostring");
    if (class->newindex) {
        lua_pushcfunction(L, class->newindex);
        lua_setfield(L, -2, "__newindex");
    }
    lua_newtable(L); // metatable, methods
    luaL_setfuncs(L, class->methods, 0);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &classes_key);
    lua_pushvalue(L, -2); // metatable, methods, classes, methods
    lua_setfield(L, -2, class->name);
    lua_pop(L, 1);
    if (class->index)
        lua_pushcclosure(L, class->index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

/// core.class(name: string) -> table
/// The method table of a class (`"vm"`, `"device"`, `"process"`, `"stream"`, `"file"`, `"console"`,
/// `"subscription"`, `"task"`, `"record"`). What is added to it becomes a method of every object.
static int core_class(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);

    lua_rawgetp(L, LUA_REGISTRYINDEX, &classes_key);
    if (lua_getfield(L, -1, name) != LUA_TTABLE)
        return luaL_error(L, "no class '%s'", name);
    return 1;
}

void mvl_classes_open(lua_State *L, const mvl_class *const *classes)
{
    lua_newtable(L);
    lua_newtable(L);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &ids_key);
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &pins_key);
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &classes_key);
    for (; *classes; classes++)
        class_open(L, *classes);
    lua_pushcfunction(L, core_class);
}
