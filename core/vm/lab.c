/* SPDX-License-Identifier: MIT */
/* The lab: a loop, the machines on it, and their private directory. */
#include "mvm/lab.h"

#include "base/base.h"
#include "io/rundir.h"
#include "vm/vm_struct.h"

mvm_lab *mvm_lab_new(void)
{
    mvm_lab *lab = mvm__alloc(sizeof(*lab));

    lab->loop = mvm_loop_new();
    mvm__list_init(&lab->vms);
    return lab;
}

mvm_loop *mvm_lab_loop(mvm_lab *lab)
{
    return lab->loop;
}

mvm_vm *mvm_lab_vm(mvm_lab *lab, size_t i)
{
    mvm__list_each (l, &lab->vms) {
        if (i-- == 0)
            return mvm__container_of(l, mvm_vm, link);
    }
    return NULL;
}

size_t mvm_lab_up(const mvm_lab *lab)
{
    size_t n = 0;

    for (const mvm__link *l = lab->vms.next; l != &lab->vms; l = l->next)
        n += mvm_vm_up(mvm__container_of(l, mvm_vm, link));
    return n;
}

static void on_killed(void *ud, const mvm_err *err)
{
    (void)err;
    --*(size_t *)ud;
}

static void on_late(void *ud)
{
    *(bool *)ud = true;
}

/* Kills all and turns the loop until all are down. A hypervisor that can't be killed within the
 * grace dies with us. */
static void kill_all(mvm_lab *lab)
{
    size_t waiting = 0;
    bool late = false;

    mvm__list_each (l, &lab->vms) {
        mvm_vm *vm = mvm__container_of(l, mvm_vm, link);
        if (mvm_vm_up(vm)) {
            waiting++;
            mvm_vm_kill(vm, &(mvm_waiter){.timeout = -1, .fn = on_killed, .ud = &waiting}, NULL);
        }
    }
    if (waiting == 0)
        return;
    mvm_loop_virtual_time(lab->loop, false); /* a process takes real time to end */
    mvm_timer *timer = mvm_timer_start(lab->loop, 10, on_late, &late);
    while (waiting > 0 && !late)
        mvm_loop_step(lab->loop, true);
    if (late)
        mvm__die("a machine could not be killed within 10 s");
    mvm_timer_cancel(timer);
}

int mvm_lab_close(mvm_lab *lab)
{
    kill_all(lab);
    /* What the machines have deferred (their release, their last events) runs before the loop goes.
     */
    int open = mvm_loop_close(lab->loop);
    mvm__list_each (l, &lab->vms) {
        (void)l;
        open++; /* somebody still holds a machine; it must not outlive its lab */
    }
    mvm__rundir_free(lab->rundir);
    mvm__free(lab);
    return open;
}

const char *mvm_lab_dir(mvm_lab *lab, mvm_err *err)
{
    if (!lab->rundir)
        lab->rundir = mvm__rundir_new(err);
    return lab->rundir ? mvm__rundir_path(lab->rundir) : NULL;
}

void mvm_lab_list(void (*found)(void *ud, long pid, const char *dir), void *ud)
{
    mvm__rundir_list(found, ud);
}
