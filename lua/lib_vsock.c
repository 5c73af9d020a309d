/* SPDX-License-Identifier: MIT */
/*
 * Virtio sockets: vm:connect, and what is behind vm:listen. A connection is a stream; every one
 * that the guest opens is served by a task of its own.
 */
#include "mvl.h"

#include "mvm/vsock.h"

#define CONNECT_SECONDS 10

enum { LISTENER_UV_FN = 1, LISTENER_UV_VM, LISTENER_NUV = LISTENER_UV_VM };

typedef struct mvl_listener {
    mvl_obj obj;
    mvm_vm *vm; /* a reference, so that `listener` can't outlive it */
    mvm_vsock_listener *listener;
    uint32_t port;
} mvl_listener;

static uint32_t check_port(lua_State *L, int idx)
{
    lua_Integer port = mvl_arg_integer(L, idx, "the port");

    if (port < 0 || port >= UINT32_MAX)
        mvl_failf(L, MVM_ECONFIG, "0 to 4294967294", "%lld is no vsock port", (long long)port);
    return (uint32_t)port;
}

/* Stack: vm, stream or nil. */
static int connect_then(lua_State *L, const mvm_err *err)
{
    if (err)
        return mvl_fail(L, err); /* the stream's box is garbage, which drops the attempt */
    lua_settop(L, 2);
    return 1;
}

/// vm:connect(port: integer, opts?: {timeout?: number}) -> stream
/// A connection to a vsock port of the guest (10 s), both ways. A guest whose driver is not loaded
/// yet is waited for. Raises `guest` when nobody listens there, `config` when the machine has no
/// vsock device.
int mvl_vm_connect(lua_State *L)
{
    mvl_vm *self = mvl_check_vm_box(L, 1);
    uint32_t port = check_port(L, 2);
    double timeout = mvl_opt_timeout(L, 3, CONNECT_SECONDS, NULL);
    mvm_stream *stream = NULL;

    if (self->obj.ctx->checking)
        return mvl_fail_plan(L);
    lua_settop(L, 1);
    mvl_wait *w = mvl_wait_begin(L, timeout);
    w->core = mvm_vsock_connect(self->vm, port, &w->waiter, &stream, &w->err);
    if (stream) {
        mvl_push_stream(L, stream, 1, false);
        mvm_stream_unref(stream);
    } else {
        lua_pushnil(L);
    }
    return connect_then(L, mvl_await(L, w, connect_then));
}

/* ---- listening -------------------------------------------------------------------------- */

typedef struct arrived {
    mvl_listener *listener;
    mvm_stream *stream;
} arrived;

/* Stack: a light userdata of `arrived`. */
static int serve(lua_State *L)
{
    const arrived *a = lua_touserdata(L, 1);

    if (!mvl_obj_push(L, a->listener))
        return 0;
    lua_getiuservalue(L, 2, LISTENER_UV_FN);
    mvl_push_stream(L, a->stream, 2, false); // ..., fn, stream
    mvl_spawn(L, 1);
    return 0;
}

static void on_accept(void *ud, mvm_stream *stream, uint32_t port)
{
    mvl_listener *self = ud;
    arrived a = {self, stream};

    (void)port;
    if (self->obj.ctx->lab)
        mvl_enter(self->obj.ctx, serve, &a);
    mvm_stream_unref(stream);
}

static void listener_release(void *box)
{
    mvl_listener *self = box;

    mvm_vsock_listener_close(self->listener);
    self->listener = NULL;
    mvm_vm_unref(self->vm);
    self->vm = NULL;
}

/// vm:listen_raw(port: integer, fn: fun(channel: stream)) -> listener
/// vm:listen without the closing of the channel when fn returns.
int mvl_vm_listen(lua_State *L)
{
    mvm_vm *vm = mvl_check_vm(L, 1);
    uint32_t port = check_port(L, 2);
    mvm_err err;

    mvl_check_callable(L, 3, "a handler");
    lua_settop(L, 3);
    mvl_listener *self = mvl_obj_new(L, &mvl_listener_class); // vm, port, fn, listener
    self->port = port;
    lua_pushvalue(L, 3);
    lua_setiuservalue(L, 4, LISTENER_UV_FN);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, 4, LISTENER_UV_VM);
    mvl_vm_keep(L, 1, 4);
    self->listener = mvm_vsock_listen(vm, port, on_accept, self, &err);
    if (!self->listener) {
        mvl_vm_let_go(L, 1, self);
        return mvl_fail(L, &err);
    }
    self->vm = mvm_vm_ref(vm);
    return 1;
}

/// listener:close()
/// Listens no more; connections live on.
static int listener_close(lua_State *L)
{
    mvl_listener *self = mvl_check(L, 1, &mvl_listener_class);

    if (!self->listener)
        return 0;
    listener_release(self);
    lua_getiuservalue(L, 1, LISTENER_UV_VM);
    mvl_vm_let_go(L, -1, self);
    return 0;
}

static int listener_tostring(lua_State *L)
{
    const mvl_listener *self = mvl_check(L, 1, &mvl_listener_class);

    if (self->listener)
        lua_pushfstring(L, "listener on vsock port %I of %s", (LUAI_UACINT)self->port,
                        mvm_vm_name(self->vm));
    else
        lua_pushliteral(L, "listener (closed)");
    return 1;
}

static const luaL_Reg listener_methods[] = {
    {"close", listener_close},
    {NULL, NULL},
};

const mvl_class mvl_listener_class = {
    .name = "listener",
    .tname = "macvm.listener",
    .size = sizeof(mvl_listener),
    .nuv = LISTENER_NUV,
    .pinned = true,
    .release = listener_release,
    .methods = listener_methods,
    .tostring = listener_tostring,
    .close = listener_close,
};
