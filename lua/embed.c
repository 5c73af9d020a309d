/* SPDX-License-Identifier: MIT */
/*
 * macvm's own Lua files, embedded in the binary (scripts/embed.lua makes the table), and the
 * searcher that `require` finds them by. With MACVM_STDLIB=DIR they are read from DIR/macvm/...
 * instead, for who works on them. Chunk names are "=macvm/...", so that errors can tell a script's
 * lines from ours: those of files begin with "@".
 */
#include "mvl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const mvl_embedded_file *find(const char *name)
{
    for (const mvl_embedded_file *f = mvl_embedded; f->name; f++) {
        if (strcmp(f->name, name) == 0)
            return f;
    }
    return NULL;
}

typedef struct source {
    FILE *file;
    char buffer[BUFSIZ];
} source;

static const char *read_source(lua_State *L, void *ud, size_t *len)
{
    source *s = ud;

    (void)L;
    *len = fread(s->buffer, 1, sizeof(s->buffer), s->file);
    return *len ? s->buffer : NULL;
}

/* Loads a file under the chunk name that the embedded one has. */
static int load_source(lua_State *L, const char *dir, const mvl_embedded_file *f)
{
    const char *path = lua_pushfstring(L, "%s/%s", dir, f->path);
    const char *chunk = lua_pushfstring(L, "=%s", f->path);
    source s = {.file = fopen(path, "rb")};

    if (!s.file)
        return luaL_error(L, "can't open %s", path);
    int status = lua_load(L, read_source, &s, chunk, "t"); /* catches every error */
    fclose(s.file);
    return status;
}

/* A module whose file is NAME/init.lua: one instance, whichever name it is required by. */
static int load_init(lua_State *L)
{
    lua_getglobal(L, "require");
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_call(L, 1, 1);
    return 1;
}

static int searcher(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    const char *dir = getenv("MACVM_STDLIB");

    if (strcmp(name, "macvm.core") == 0) {
        lua_pushcfunction(L, luaopen_macvm_core);
        return 1;
    }
    const mvl_embedded_file *f = find(name);
    if (!f && find(lua_pushfstring(L, "%s.init", name))) {
        lua_pushcclosure(L, load_init, 1);
        return 1;
    }
    if (!f) {
        lua_pushfstring(L, "no file of macvm's own is called '%s'", name);
        return 1;
    }
    int status;
    if (dir && dir[0])
        status = load_source(L, dir, f);
    else
        status = luaL_loadbufferx(L, f->data, f->len, lua_pushfstring(L, "=%s", f->path), "t");
    if (status != LUA_OK)
        return lua_error(L);
    lua_pushstring(L, f->path);
    return 2;
}

void mvl_open_embedded(lua_State *L)
{
    lua_getglobal(L, "package");
    if (lua_getfield(L, -1, "searchers") == LUA_TTABLE) { // package, searchers
        /* Behind package.preload, before the file system. */
        for (lua_Integer i = (lua_Integer)lua_rawlen(L, -1); i >= 2; i--) {
            lua_rawgeti(L, -1, i);
            lua_rawseti(L, -2, i + 1);
        }
        lua_pushcfunction(L, searcher);
        lua_rawseti(L, -2, 2);
    }
    lua_pop(L, 2);
}
