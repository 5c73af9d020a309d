/* SPDX-License-Identifier: MIT */
/*
 * Jobs. The wait may be decided before the job is done (a deadline, a cancel): the job goes on
 * without it, as what a hypervisor was told can't be taken back. Loop thread only.
 */
#include "vm/job.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "vm/vm_struct.h"

static void dropped(mvm_wait *w)
{
    ((mvm__job *)w->subject)->wait = NULL;
}

mvm__job *mvm__job_new(mvm_vm *vm, mvm_record *device, const mvm_waiter *waiter, const char *what)
{
    mvm__job *job = mvm__alloc(sizeof(*job));

    job->vm = mvm_vm_ref(vm);
    job->device = device ? mvm_record_ref(device) : NULL;
    job->wait = mvm__wait_new(vm->lab->loop, NULL, waiter, "%s: %s", vm->name, what);
    job->wait->subject = job;
    job->wait->dropped = dropped;
    return job;
}

static void job_free(mvm__job *job)
{
    mvm_record_unref(job->device);
    mvm_vm_unref(job->vm);
    mvm__free(job);
}

void mvm__job_abandon(mvm__job *job)
{
    mvm__wait_discard(job->wait);
    job_free(job);
}

mvm_wait *mvm__job_begun(mvm__job *job, int rc, mvm_err *err)
{
    if (rc == 0)
        return job->wait;
    mvm_err_vm(err, job->vm->name);
    mvm__job_abandon(job);
    return NULL;
}

bool mvm__job_waited(const mvm__job *job)
{
    return job->wait != NULL;
}

void mvm__job_tell(mvm__job *job, const char *fmt, ...)
{
    char text[sizeof(job->wait->what)];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (job->wait)
        snprintf(job->wait->what, sizeof(job->wait->what), "%.40s: %.76s", job->vm->name, text);
}

void mvm__job_done(mvm__job *job, const mvm_err *err)
{
    bool (*then)(mvm__job *) = job->then;
    mvm_err copy;

    job->then = NULL;
    if (!err && then && then(job))
        return;
    if (err) {
        copy = *err;
        if (copy.code == MVM_ECANCELLED)
            mvm_fail(&copy, MVM_ESTATE, "the machine went down first");
        mvm_err_vm(&copy, job->vm->name);
        err = &copy;
    }
    if (job->finish)
        job->finish(job, err);
    if (job->wait) {
        job->wait->dropped = NULL;
        mvm__wait_done(job->wait, err);
    }
    job_free(job);
}

int mvm__job_allowed(mvm_vm *vm, const char *verb, const char *what, mvm_err *err)
{
    const char *reason = NULL;

    if (vm->state != MVM_RUNNING && vm->state != MVM_PAUSED) {
        mvm__vm_fail(vm, err, MVM_ESTATE, "can't %s: the machine is %s", verb,
                     mvm_state_word(vm->state));
        if (!mvm_vm_up(vm))
            mvm_err_hint(err, "start it first");
        return MVM_ESTATE;
    }
    if (!mvm_vm_can(vm, what, &reason))
        return mvm__vm_fail(vm, err, MVM_EUNSUPPORTED, "can't %s: %s", verb, reason);
    return 0;
}
