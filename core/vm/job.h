/* SPDX-License-Identifier: MIT */
/* Verbs of devices under way, between the caller who waits and the back end that works. */
#ifndef MVM_VM_JOB_H
#define MVM_VM_JOB_H

#include "io/wait.h"
#include "mvm/backend.h"

struct mvm__job {
    mvm_vm *vm;         /* a reference */
    mvm_record *device; /* a reference, or NULL */
    mvm_wait *wait;     /* NULL: nobody waits any more */
    int64_t bytes;      /* of a disk that grows */
    /* What is to be done before the waiter is told, whether or not there is one; may be NULL. */
    void (*finish)(struct mvm__job *job, const mvm_err *err);
    /* What follows a success before all that, once: true when it has taken the job, which ends by
     * another mvm__job_done. May be NULL. */
    bool (*then)(struct mvm__job *job);
};

/* what: completes "timed out after 5 s waiting for ...". */
mvm__job *mvm__job_new(mvm_vm *vm, mvm_record *device, const mvm_waiter *waiter, const char *what);
/* A job that could not be begun: it never was. The waiter is not told. */
void mvm__job_abandon(mvm__job *job);
/* The wait of the job, or NULL when `rc` says that it could not be begun (it is abandoned then). */
mvm_wait *mvm__job_begun(mvm__job *job, int rc, mvm_err *err);

/* Checks that `vm` is running or paused and can `what`, for a verb; 0, or a code with *err. */
int mvm__job_allowed(mvm_vm *vm, const char *verb, const char *what, mvm_err *err);

#endif
