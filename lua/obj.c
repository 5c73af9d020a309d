/* SPDX-License-Identifier: MIT */
/*
 * Boxes: what stands for a thing of the core. A box is made closed, then its maker acquires; __gc
 * and __close let go by the same idempotent function.
 *
 * The box itself is C memory and the userdata only leads to it: Lua frees an object without calling
 * __gc when there is no memory for that call. Such a box stays in the context's list, callbacks of
 * the core find it, but nobody behind it, and it is let go before the lab is closed. This is the
 * only malloc of the layer, and it happens when the userdata is there to free it.
 */
#include "mvl.h"

#include <stdlib.h>

static const char ids_key, pins_key, classes_key;

static void box_free(mvl_obj *obj)
{
    *(obj->prev ? &obj->prev->next : &obj->ctx->objs) = obj->next;
    if (obj->next)
        obj->next->prev = obj->prev;
    free(obj);
}

void mvl_obj_release_all(mvl_ctx *ctx)
{
    for (mvl_obj *obj = ctx->objs; obj; obj = obj->next)
        obj->class->release(obj);
}

void mvl_obj_free_all(mvl_ctx *ctx)
{
    while (ctx->objs)
        box_free(ctx->objs);
}

void *mvl_obj_new(lua_State *L, const mvl_class *class)
{
    mvl_ctx *ctx = mvl_of(L);
    luaL_checkstack(L, 6, NULL);
    mvl_obj **ref = lua_newuserdatauv(L, sizeof(*ref), class->nuv);

    *ref = NULL;
    luaL_setmetatable(L, class->tname);
    mvl_obj *obj = calloc(1, class->size);
    if (!obj)
        luaL_error(L, "not enough memory");
    obj->class = class;
    obj->ctx = ctx;
    obj->next = ctx->objs;
    if (obj->next)
        obj->next->prev = obj;
    ctx->objs = *ref = obj;
    if (class->pinned) {
        mvl_id_set(L, obj);
        lua_rawgetp(L, LUA_REGISTRYINDEX, &pins_key);
        lua_pushboolean(L, 0); /* takes the slot now, so that pinning never allocates */
        lua_rawsetp(L, -2, obj);
        lua_pop(L, 1);
    }
    return obj;
}

void *mvl_box(lua_State *L, int idx)
{
    mvl_obj **ref = lua_touserdata(L, idx);

    return *ref;
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

/* Did the class's own finaliser, which may raise, keep the object alive? */
static bool lives_on(lua_State *L, const mvl_obj *obj)
{
    if (!obj->class->finalise)
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

/* The context has let go of every box when it ended, and freed it. */
static bool is_open(lua_State *L)
{
    const mvl_ctx *ctx = mvl_peek(L);

    return ctx && ctx->lab;
}

static int obj_gc(lua_State *L)
{
    mvl_obj *obj = mvl_box(L, 1);

    if (!obj || !is_open(L) || lives_on(L, obj))
        return 0;
    obj->class->release(obj);
    if (obj->class->pinned) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, &pins_key);
        lua_pushnil(L);
        lua_rawsetp(L, -2, obj);
    }
    *(mvl_obj **)lua_touserdata(L, 1) = NULL;
    if (!obj->awaited)
        box_free(obj);
    return 0;
}

static int obj_close(lua_State *L)
{
    mvl_obj *obj = mvl_box(L, 1);

    if (obj && is_open(L))
        obj->class->release(obj);
    return 0;
}

void *mvl_check(lua_State *L, int idx, const mvl_class *class)
{
    mvl_obj **ref = luaL_checkudata(L, idx, class->tname);

    if (!*ref || !is_open(L))
        mvl_failf(L, MVM_ESTATE, NULL, "this %s is closed", class->name);
    return *ref;
}

bool mvl_method(lua_State *L)
{
    lua_pushvalue(L, 2);
    lua_gettable(L, lua_upvalueindex(1)); /* the stdlib may answer for more (later.lua) */
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
