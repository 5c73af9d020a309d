/* SPDX-License-Identifier: MIT */
/* What a disk can be told to do. Loop thread only. */
#include "mvl.h"

#include <string.h>

#include "mvm/device.h"

#define RESIZE_SECONDS 30

/// disk:resize(size: size, opts?: {timeout?: number}) -> device
/// Grows a disk. While its machine is up, the guest sees the new capacity at once (30 s). While it
/// is down, the image is grown; an `ephemeral` disk is larger from its next start on. Raises
/// `config` for a size that is not larger and for a disk that is `readonly`; `unsupported` for a
/// qcow2 image that has to be grown by its running machine.
int mvl_disk_resize(lua_State *L)
{
    mvm_record *disk = mvl_check_device(L, 1);
    mvm_lab *lab = mvl_of(L)->lab;
    mvm_err err;

    if (strcmp(mvm_record_schema(disk)->kind, "disk") != 0)
        return mvl_failf(L, MVM_ECONFIG, NULL, "a %s has no resize", mvm_record_schema(disk)->kind);
    int64_t bytes = mvl_arg_size(L, 2, "the size");
    double timeout = mvl_opt_timeout(L, 3, RESIZE_SECONDS, NULL);
    if (mvl_of(L)->checking)
        return mvl_fail_plan(L);
    mvm_vm *vm = mvm_device_vm(lab, disk, &err);
    lua_settop(L, 1);
    if (!vm) {
        if (mvm_disk_grow(disk, bytes, &err) != 0)
            return mvl_fail(L, &err);
        return 1;
    }
    mvl_wait *w = mvl_wait_begin(L, timeout);
    w->core = mvm_disk_resize(vm, disk, bytes, &w->waiter, &w->err);
    return mvl_then_self(L, mvl_await(L, w, mvl_then_self));
}
