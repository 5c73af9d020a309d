/* SPDX-License-Identifier: MIT */
/* vm:balloon. Loop thread only. */
#include "mvl.h"

#include "mvm/device.h"

#define BALLOON_SECONDS 30

/// vm:balloon(size: size, opts?: {timeout?: number}) -> vm
/// Leaves the guest so much of its memory (`"256M"`); the rest is the host's until a larger size is
/// set. Waits until the guest has followed; of a machine that is paused, until the hypervisor knows.
/// Raises `timeout` (30 s) that says how far it has come: the target stands, and the guest may still
/// follow; a guest that runs out of memory takes some back. Raises `config` without a
/// `macvm.balloon` and beyond the limits, from 64M to the machine's memory; `state` when another
/// target is set meanwhile.
int mvl_vm_balloon(lua_State *L)
{
    mvl_vm *self = mvl_check_vm_box(L, 1);
    int64_t bytes = mvl_arg_size(L, 2, "the size");
    double timeout = mvl_opt_timeout(L, 3, BALLOON_SECONDS, NULL);

    if (self->obj.ctx->checking)
        return mvl_fail_plan(L);
    lua_settop(L, 1);
    mvl_wait *w = mvl_wait_begin(L, timeout);
    w->core = mvm_vm_balloon(self->vm, bytes, &w->waiter, &w->err);
    return mvl_then_self(L, mvl_await(L, w, mvl_then_self));
}
