/* SPDX-License-Identifier: MIT */
/*
 * Devices of a simulated machine: plugging, its balloon, links and the sizes of disks. The guest
 * inside has no use for a device, so what is simulated is what the host sees of one; images are
 * left alone. Every verb takes one turn of the loop and can be told to fail. Loop thread only.
 */
#include <stdio.h>
#include <string.h>

#include "backend/sim/sim_internal.h"
#include "base/base.h"
#include "vm/disk.h"
#include "vm/image.h"
#include "vm/record.h"

/* A verb under way. */
typedef struct act {
    mvm__link link; /* in sim->acts */
    mvm__sim *sim;
    mvm__job *job;
    mvm_timer *timer;
    const char *op; /* its word for sim_fail */
    void (*effect)(struct act *a);
    mvm_record *device;
    int64_t number;
} act;

static void act_end(act *a, const mvm_err *err)
{
    mvm__list_remove(&a->link);
    mvm_timer_cancel(a->timer);
    mvm__job_done(a->job, err);
    mvm_record_unref(a->device);
    mvm__free(a);
}

static void on_turn(void *ud)
{
    act *a = ud;
    const char *failure = mvm__sim_failure(a->sim, a->op);
    mvm_err err;

    a->timer = NULL;
    if (failure)
        mvm_fail(&err, MVM_EBACKEND, "%s", failure);
    else if (a->effect)
        a->effect(a);
    act_end(a, failure ? &err : NULL);
}

static act *act_begin(mvm_vm *vm, const char *op, mvm_record *device, mvm__job *job)
{
    act *a = mvm__alloc(sizeof(*a));

    a->sim = mvm__sim_of(vm);
    a->op = op;
    a->job = job;
    a->device = device ? mvm_record_ref(device) : NULL;
    a->timer = mvm_timer_start(a->sim->loop, 0, on_turn, a);
    mvm__list_append(&a->sim->acts, &a->link);
    return a;
}

void mvm__sim_devices_clear(mvm__sim *sim)
{
    mvm_err gone;

    mvm_fail(&gone, MVM_ECANCELLED, "the machine went down first");
    mvm__list_each (l, &sim->acts)
        act_end(mvm__container_of(l, act, link), &gone);
    sim->balloon = 0;
}

/* ---- the verbs ---------------------------------------------------------------------- */

int mvm__sim_plug(mvm_vm *vm, mvm_record *device, mvm__job *job, mvm_err *err)
{
    (void)err;
    (void)act_begin(vm, "attach", device, job);
    return 0;
}

int mvm__sim_unplug(mvm_vm *vm, mvm_record *device, mvm__job *job, mvm_err *err)
{
    (void)err;
    (void)act_begin(vm, "detach", device, job);
    return 0;
}

static void inflate(act *a)
{
    mvm_event event = {.name = "balloon", .nargs = 1};

    a->sim->balloon = a->number;
    event.args[0] = (mvm_value){.type = MVM_T_INT, .as.integer = a->number};
    mvm__vm_emit(a->sim->vm, &event);
}

int mvm__sim_balloon(mvm_vm *vm, int64_t bytes, mvm__job *job, mvm_err *err)
{
    act *a = act_begin(vm, "balloon", NULL, job);

    (void)err;
    a->number = bytes;
    a->effect = inflate;
    return 0;
}

/* Where the image is left as it is, only the configuration can say how large the disk is now. */
static void grow(act *a)
{
    mvm_value bytes = {.type = MVM_T_INT, .as.integer = a->number};

    mvm__record_note(a->device, "size", &bytes);
}

/* What a disk has, or will have when the verbs under way are done. */
static int64_t disk_size(mvm__sim *sim, const mvm_record *disk)
{
    int64_t size = mvm_record_int(disk, "size"), in_image = 0;
    mvm_err none;

    if (mvm__image_size(mvm_record_str(disk, "path"), mvm_record_str(disk, "format"), &in_image,
                        &none) == 0)
        size = MVM_MAX(size, in_image);
    mvm__list_each (l, &sim->acts) {
        const act *a = mvm__container_of(l, act, link);
        if (a->effect == grow && a->device == disk)
            size = MVM_MAX(size, a->number);
    }
    return size;
}

int mvm__sim_resize(mvm_vm *vm, mvm_record *disk, int64_t bytes, mvm__job *job, mvm_err *err)
{
    char name[48];
    int rc = mvm__disk_check_growth(disk, mvm__vm_device_name(vm, disk, name),
                                    disk_size(mvm__sim_of(vm), disk), bytes, err);

    if (rc != 0)
        return rc;
    act *a = act_begin(vm, "resize", disk, job);
    a->number = bytes;
    a->effect = grow;
    return 0;
}

static void connect_link(act *a)
{
    char name[48];
    mvm_event event = {.name = "network", .nargs = 2};
    const char *texts[] = {mvm__vm_device_name(a->sim->vm, a->device, name),
                           a->number ? "up" : "down"};

    for (int i = 0; i < 2; i++) {
        event.args[i].type = MVM_T_STRING;
        event.args[i].as.string.ptr = texts[i];
        event.args[i].as.string.len = strlen(texts[i]);
    }
    mvm__vm_emit(a->sim->vm, &event);
}

int mvm__sim_set_link(mvm_vm *vm, mvm_record *net, bool up, mvm__job *job, mvm_err *err)
{
    act *a = act_begin(vm, "link", net, job);

    (void)err;
    a->number = up;
    a->effect = connect_link;
    return 0;
}
