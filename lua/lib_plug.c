/* SPDX-License-Identifier: MIT */
/* Attaching devices to a machine and taking them away again, down or up. */
#include "mvl.h"

#include "mvm/device.h"

#define PLUG_SECONDS 30

typedef mvm_wait *(*plug_fn)(mvm_vm *vm, mvm_record *device, const mvm_waiter *waiter,
                             mvm_err *err);

/* While the machine is up the guest has to follow, so the caller waits. */
static int plug(lua_State *L, plug_fn fn)
{
    mvl_vm *self = mvl_check_vm_box(L, 1);
    mvm_record *device = mvl_check_device(L, 2);
    double timeout = mvl_opt_timeout(L, 3, PLUG_SECONDS, NULL);

    if (self->obj.ctx->checking)
        return mvl_fail_plan(L);
    lua_settop(L, 1);
    mvl_wait *w = mvl_wait_begin(L, timeout);
    w->core = fn(self->vm, device, &w->waiter, &w->err);
    return mvl_then_self(L, mvl_await(L, w, mvl_then_self));
}

/// vm:attach(device: device, opts?: {timeout?: number}) -> vm
/// Adds a device. While the machine is up it is plugged in: returns when the hypervisor has it (30
/// s); the guest finds it a moment later. Raises `unsupported` where devices can't be plugged in
/// (`vm:can "hotplug"`), `config` for what is wrong with the device.
int mvl_vm_attach(lua_State *L)
{
    mvl_vm *self = mvl_check_vm_box(L, 1);
    mvm_record *device = mvl_check_device(L, 2);
    mvm_err err;

    if (mvm_vm_up(self->vm))
        return plug(L, mvm_vm_plug);
    if (mvm_vm_attach(self->vm, device, &err) != 0)
        return mvl_fail(L, &err);
    lua_settop(L, 1);
    return 1;
}

/// vm:detach(device: device, opts?: {timeout?: number}) -> vm
/// Takes a device away. While the machine is up the guest is asked, and has to let go (30 s); the
/// disk that it booted from stays, and on aarch64 whatever was there from the start. Raises
/// `timeout` when it does not let go, and may be called again then; `guest` when it refuses;
/// `unsupported` for a device that stays.
int mvl_vm_detach(lua_State *L)
{
    mvl_vm *self = mvl_check_vm_box(L, 1);
    mvm_record *device = mvl_check_device(L, 2);
    mvm_err err;

    if (mvm_vm_up(self->vm))
        return plug(L, mvm_vm_unplug);
    if (mvm_vm_detach(self->vm, device, &err) != 0)
        return mvl_fail(L, &err);
    lua_settop(L, 1);
    return 1;
}
