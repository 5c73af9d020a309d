/* SPDX-License-Identifier: MIT */
/*
 * Shares that come and go while the machine is up. A guest whose agent is not ready mounts what
 * there is when it is (mount.h), so then there is nothing to wait for. Loop thread only.
 */
#include "vm/share.h"

#include <string.h>

#include "base/base.h"
#include "vm/mount.h"
#include "vm/vm_struct.h"

#define OUT_SECONDS 10

static bool to_mount(const mvm_vm *vm, const mvm_record *device)
{
    return device && strcmp(mvm_record_schema(device)->kind, "share") == 0 &&
           mvm_record_has(device, "mount") && mvm_vm_ready(vm) && vm->ops->share_driver;
}

/* The answer of a guest that is paused comes when it goes on; the job's own deadline counts. */
static double seconds(const mvm_vm *vm)
{
    return vm->state == MVM_PAUSED ? -1 : MVM__MOUNT_TIMEOUT;
}

static bool still_up(const mvm_vm *vm)
{
    return vm->state == MVM_RUNNING || vm->state == MVM_PAUSED;
}

/* ---- in ------------------------------------------------------------------------------ */

typedef struct failure {
    mvm__job *job;
    mvm_err err;
} failure;

/* It is out again, or the guest keeps it: either way the mounting is what failed. */
static void on_out_again(void *ud, const mvm_err *err)
{
    failure *f = ud;

    (void)err;
    mvm__job_done(f->job, &f->err);
    mvm__free(f);
}

static void on_mounted(void *ud, const mvm_err *err)
{
    mvm__job *job = ud;
    mvm_vm *vm = job->vm;

    if (!err || !still_up(vm)) {
        mvm__job_done(job, err);
        return;
    }
    failure *f = mvm__alloc(sizeof(*f));
    *f = (failure){job, *err};
    mvm__job *out = mvm__job_new(vm, job->device, &(mvm_waiter){OUT_SECONDS, on_out_again, f},
                                 "a share that can't be mounted to go");
    if (!mvm__job_begun(out, vm->ops->unplug(vm, job->device, out, NULL), NULL))
        on_out_again(f, NULL);
}

bool mvm__share_plugged(mvm__job *job)
{
    mvm_vm *vm = job->vm;

    return to_mount(vm, job->device) &&
           mvm__mount_one(vm, job->device, &(mvm_waiter){seconds(vm), on_mounted, job}, NULL);
}

/* ---- out ------------------------------------------------------------------------------- */

static void on_unmounted(void *ud, const mvm_err *err)
{
    mvm__job *job = ud;
    mvm_err why;

    if (!err && !still_up(job->vm)) {
        mvm__vm_fail(job->vm, &why, MVM_ESTATE, "the machine went down first");
        err = &why;
    }
    if (err)
        mvm__job_done(job, err);
    else if (job->vm->ops->unplug(job->vm, job->device, job, &why) != 0)
        mvm__job_done(job, &why);
}

int mvm__share_unplug(mvm_vm *vm, mvm_record *share, mvm__job *job, mvm_err *err)
{
    if (to_mount(vm, share) &&
        mvm__unmount_one(vm, share, &(mvm_waiter){seconds(vm), on_unmounted, job}, NULL))
        return 0;
    return vm->ops->unplug(vm, share, job, err);
}
