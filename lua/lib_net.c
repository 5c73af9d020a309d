/* SPDX-License-Identifier: MIT */
/* What a network device can be asked and told. Loop thread only. */
#include "mvl.h"

#include <string.h>

#include "mvm/device.h"

#define LINK_SECONDS 10

static void push_forward(lua_State *L, const mvm_forward *f)
{
    lua_createtable(L, 0, 5);
    lua_pushstring(L, f->protocol);
    lua_setfield(L, -2, "protocol");
    lua_pushstring(L, f->host);
    lua_setfield(L, -2, "host");
    lua_pushinteger(L, f->port);
    lua_setfield(L, -2, "port");
    lua_pushinteger(L, f->guest_port);
    lua_setfield(L, -2, "guest_port");
}

/* The device of the machine that is this record: for its box. */
static void push_net(lua_State *L, mvm_vm *vm, const mvm_record *net)
{
    mvm_record *device;

    for (size_t i = 0; (device = mvm_record_item(mvm_vm_config(vm), "devices", i)) != NULL; i++) {
        if (device != net)
            continue;
        mvl_push_device(L, device);
        lua_setfield(L, -2, "net");
    }
}

/// vm:forwards() -> {protocol: "tcp"|"udp", host: string, port: integer, guest_port: integer, net: device}[]
/// The addresses of the host that lead into the running guest, with the ports that were picked for
/// port 0. Raises `state` when the machine is not up.
int mvl_vm_forwards(lua_State *L)
{
    mvl_vm *self = mvl_check_vm_box(L, 1);
    mvm_forward forward;
    mvm_err err;

    if (self->obj.ctx->checking)
        return mvl_fail_plan(L);
    if (!mvm_vm_up(self->vm)) {
        mvm_fail(&err, MVM_ESTATE, "forwards nothing while it is %s",
                 mvm_state_word(mvm_vm_state(self->vm)));
        mvm_err_hint(&err, "start it first");
        mvm_err_vm(&err, mvm_vm_name(self->vm));
        return mvl_fail(L, &err);
    }
    lua_newtable(L);
    for (size_t i = 0; mvm_vm_forward(self->vm, i, &forward); i++) {
        push_forward(L, &forward);
        push_net(L, self->vm, forward.net);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/// net:link(up: boolean, opts?: {timeout?: number}) -> device
/// Pulls the plug of a network device (`false`), or puts it back in: the guest sees its carrier go
/// and come, and nothing gets through meanwhile. `network` events tell of it. Holds until the
/// machine stops. Raises `state` when its machine is not up.
int mvl_net_link(lua_State *L)
{
    mvm_record *net = mvl_check_device(L, 1);
    mvm_lab *lab = mvl_of(L)->lab;
    mvm_err err;

    if (strcmp(mvm_record_schema(net)->kind, "net") != 0)
        return mvl_failf(L, MVM_ECONFIG, NULL, "a %s has no link", mvm_record_schema(net)->kind);
    if (!lua_isboolean(L, 2))
        return mvl_failf(L, MVM_ECONFIG, "net:link(false) pulls the plug",
                         "a link is true (up) or false (down), got %s",
                         lua_isnone(L, 2) ? "nil" : luaL_typename(L, 2));
    bool up = lua_toboolean(L, 2);
    double timeout = mvl_opt_timeout(L, 3, LINK_SECONDS, NULL);
    if (mvl_of(L)->checking)
        return mvl_fail_plan(L);
    mvm_vm *vm = mvm_device_vm(lab, net, &err);
    if (!vm)
        return mvl_fail(L, &err);
    lua_settop(L, 1);
    mvl_wait *w = mvl_wait_begin(L, timeout);
    w->core = mvm_net_link(vm, net, up, &w->waiter, &w->err);
    return mvl_then_self(L, mvl_await(L, w, mvl_then_self));
}
