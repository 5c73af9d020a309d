/* SPDX-License-Identifier: MIT */
/*
 * Files of the guest: vm:open, the class "file", and the copies vm:push and vm:pull.
 */
#include "mvl.h"

#include <string.h>

#include "mvm/file.h"

typedef struct mvl_file {
    mvl_obj obj;
    mvm_file *file;
} mvl_file;

static void file_release(void *box)
{
    mvl_file *f = box;

    mvm_file_unref(f->file);
    f->file = NULL;
}

static mvl_file *check_file(lua_State *L, int idx)
{
    mvl_file *f = mvl_check(L, idx, &mvl_file_class);

    if (!f->file)
        mvl_failf(L, MVM_ESTATE, NULL, "the file is closed");
    return f;
}

/* A path without a NUL byte in it. */
static const char *check_path(lua_State *L, int idx)
{
    size_t len;
    const char *path = mvl_arg_text(L, idx, "the path", &len);

    if (len == 0 || strlen(path) != len)
        mvl_failf(L, MVM_ECONFIG, NULL, "\"%s\" is no path", path);
    return path;
}

/// vm:open(path: string, mode: "r"|"w", perm?: integer) -> file
/// Opens a file of the guest and returns at once; what the guest says of it comes from file:wait
/// and, for reading, with the first read. `"w"` creates or replaces the file, once it is complete;
/// `perm` are its mode bits (420 is rw-r--r--), left out: those of a file that exists.
int mvl_vm_open(lua_State *L)
{
    static const char *const modes[] = {"r", "w", NULL};
    mvm_vm *vm = mvl_check_vm(L, 1);
    const char *path = check_path(L, 2);
    int mode = luaL_checkoption(L, 3, "r", modes);
    int perm = (int)luaL_optinteger(L, 4, -1);
    mvm_err err;

    if (mvl_of(L)->checking)
        return mvl_fail_plan(L);
    mvl_file *f = mvl_obj_new(L, &mvl_file_class);
    f->file = mvm_vm_open(vm, path, mode == 0 ? MVM_FILE_READ : MVM_FILE_WRITE, perm, &err);
    return f->file ? 1 : mvl_fail(L, &err);
}

/// file:wait(opts?: {timeout?: number}) -> file
/// After `file.stream:shutdown()` of a file that is written: until the guest has stored every byte
/// (`"r"`: until all was sent). Without a deadline unless a timeout is given. Raises `guest` with
/// the guest's reason.
static int file_wait(lua_State *L)
{
    mvl_file *f = check_file(L, 1);
    double timeout = mvl_opt_timeout(L, 2, -1, NULL);

    mvl_wait *w = mvl_wait_begin(L, timeout);
    w->core = mvm_file_wait(f->file, &w->waiter, &w->err);
    return mvl_then_self(L, mvl_await(L, w, mvl_then_self));
}

/// file:close()
/// Lets go of it. What was written and not waited for is dropped: the old file stays.
static int file_close(lua_State *L)
{
    mvl_file *f = mvl_check(L, 1, &mvl_file_class);

    if (f->file)
        mvm_stream_close(mvm_file_stream(f->file));
    file_release(f);
    return 0;
}

static int file_index(lua_State *L)
{
    if (lua_type(L, 2) != LUA_TSTRING)
        return 0;
    if (mvl_method(L))
        return 1;
    const char *key = lua_tostring(L, 2);
    if (strcmp(key, "stream") == 0) {
        if (lua_getiuservalue(L, 1, 1) == LUA_TUSERDATA)
            return 1;
        mvl_push_stream(L, mvm_file_stream(check_file(L, 1)->file), 1, false);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, 1, 1);
        return 1;
    }
    if (strcmp(key, "perm") != 0)
        return 0;
    int perm = mvm_file_perm(check_file(L, 1)->file);
    if (perm < 0)
        lua_pushnil(L);
    else
        lua_pushinteger(L, perm);
    return 1;
}

static int file_tostring(lua_State *L)
{
    const mvl_file *f = mvl_check(L, 1, &mvl_file_class);

    lua_pushstring(L, f->file ? "file (open)" : "file (closed)");
    return 1;
}

/* ---- copies ----------------------------------------------------------------------------- */

typedef mvm_wait *(*copy_fn)(mvm_vm *vm, const char *from, const char *to, const mvm_waiter *waiter,
                             mvm_err *err);

static int copy(lua_State *L, copy_fn begin)
{
    mvm_vm *vm = mvl_check_vm(L, 1);
    const char *from = check_path(L, 2), *to = check_path(L, 3);
    double timeout = mvl_opt_timeout(L, 4, -1, NULL);

    if (mvl_of(L)->checking)
        return mvl_fail_plan(L);
    mvl_wait *w = mvl_wait_begin(L, timeout);
    w->core = begin(vm, from, to, &w->waiter, &w->err);
    return mvl_then_self(L, mvl_await(L, w, mvl_then_self));
}

/// vm:push(host: string, guest: string, opts?: {timeout?: number}) -> vm
/// Copies one file of the host into the guest, mode bits kept; the target is replaced when all of
/// it has arrived. A target that is a directory gets a file of the same name. Raises `io` for the
/// host's side, `guest` for the guest's.
int mvl_vm_push(lua_State *L)
{
    return copy(L, mvm_vm_push);
}

/// vm:pull(guest: string, host: string, opts?: {timeout?: number}) -> vm
/// Copies one file of the guest to the host, in the same way.
int mvl_vm_pull(lua_State *L)
{
    return copy(L, mvm_vm_pull);
}

static const luaL_Reg file_methods[] = {
    {"wait", file_wait},
    {"close", file_close},
    {NULL, NULL},
};

const mvl_class mvl_file_class = {
    .name = "file",
    .tname = "macvm.file",
    .size = sizeof(mvl_file),
    .nuv = 1,
    .release = file_release,
    .methods = file_methods,
    .index = file_index,
    .tostring = file_tostring,
    .close = file_close,
};
