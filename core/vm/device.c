/* SPDX-License-Identifier: MIT */
/*
 * The verbs of devices: what of each can be checked for every back end is checked here, then the
 * back end does it. Loop thread only.
 */
#include "mvm/device.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "vm/disk.h"
#include "vm/job.h"
#include "vm/record.h"
#include "vm/share.h"
#include "vm/vm_struct.h"

static bool has_device(const mvm_vm *vm, const mvm_record *device)
{
    mvm_record *d;

    for (size_t i = 0; (d = mvm_record_item(vm->config, "devices", i)) != NULL; i++)
        if (d == device)
            return true;
    return false;
}

const char *mvm__vm_device_name(mvm_vm *vm, const mvm_record *device, char out[48])
{
    const mvm_schema *schema = mvm_record_schema(device);
    mvm_record *d;
    size_t nth = 1;

    for (const mvm_field *f = schema->fields; f->name; f++) {
        bool names = strcmp(f->name, "id") == 0 || strcmp(f->name, "tag") == 0;
        if (names && mvm_record_has(device, f->name)) {
            snprintf(out, 48, "%.47s", mvm_record_str(device, f->name));
            return out;
        }
    }
    for (size_t i = 0; (d = mvm_record_item(vm->config, "devices", i)) != NULL && d != device; i++)
        nth += mvm_record_schema(d) == schema;
    snprintf(out, 48, "%s%zu", schema->kind, nth);
    return out;
}

mvm_vm *mvm_device_vm(mvm_lab *lab, const mvm_record *device, mvm_err *err)
{
    const char *kind = mvm_record_schema(device)->kind;
    mvm_vm *found = NULL;

    mvm__list_each (l, &lab->vms) {
        mvm_vm *vm = mvm__container_of(l, mvm_vm, link);
        if (!mvm_vm_up(vm) || !has_device(vm, device))
            continue;
        if (found) {
            mvm_fail(err, MVM_ESTATE, "this %s belongs to \"%s\" and to \"%s\", which are both up",
                     kind, found->name, vm->name);
            return NULL;
        }
        found = vm;
    }
    if (!found) {
        mvm_fail(err, MVM_ESTATE, "this %s belongs to no machine that is up", kind);
        mvm_err_hint(err, "attach it to one and start that");
    }
    return found;
}

static const char *article(const mvm_record *device)
{
    return strchr("aeiou", mvm_record_schema(device)->kind[0]) ? "an" : "a";
}

static int need_device(mvm_vm *vm, const mvm_record *device, mvm_err *err)
{
    if (has_device(vm, device))
        return 0;
    return mvm__vm_fail(vm, err, MVM_ECONFIG, "it has no such %s", mvm_record_schema(device)->kind);
}

/* ---- plugging ------------------------------------------------------------------------ */

int mvm_vm_attach(mvm_vm *vm, mvm_record *device, mvm_err *err)
{
    if (mvm_vm_up(vm))
        return mvm__vm_fail(vm, err, MVM_ESTATE, "can't attach %s %s: the machine is %s",
                            article(device), mvm_record_schema(device)->kind,
                            mvm_state_word(vm->state));
    int rc = mvm_record_append(vm->config, "devices", device, err);
    if (rc != 0)
        mvm_err_vm(err, vm->name);
    return rc;
}

int mvm_vm_detach(mvm_vm *vm, mvm_record *device, mvm_err *err)
{
    if (mvm_vm_up(vm))
        return mvm__vm_fail(vm, err, MVM_ESTATE, "can't detach %s %s: the machine is %s",
                            article(device), mvm_record_schema(device)->kind,
                            mvm_state_word(vm->state));
    if (need_device(vm, device, err) != 0)
        return MVM_ECONFIG;
    mvm__record_unplug(vm->config, "devices", device);
    return 0;
}

static int may_plug(mvm_vm *vm, const char *verb, const mvm_record *device, mvm_err *err)
{
    const char *kind = mvm_record_schema(device)->kind;
    char action[64], ability[64];

    snprintf(action, sizeof(action), "%s %s %s", verb, article(device), kind);
    snprintf(ability, sizeof(ability), "hotplug.%s", kind);
    return mvm__job_allowed(vm, action, ability, err);
}

static void plug_finish(mvm__job *job, const mvm_err *err)
{
    if (err)
        mvm__record_unplug(job->vm->config, "devices", job->device);
}

mvm_wait *mvm_vm_plug(mvm_vm *vm, mvm_record *device, const mvm_waiter *waiter, mvm_err *err)
{
    char what[64];

    snprintf(what, sizeof(what), "%s %s to be attached", article(device),
             mvm_record_schema(device)->kind);
    if (may_plug(vm, "attach", device, err) != 0)
        return NULL;
    if (!mvm__record_plug(vm->config, "devices", device)) {
        mvm__vm_fail(vm, err, MVM_ECONFIG, "this %s is attached already",
                     mvm_record_schema(device)->kind);
        return NULL;
    }
    /* It is checked in its place: against the other devices, with its index in messages. */
    if (mvm__vm_check_device(vm, device, err) != 0) {
        mvm__record_unplug(vm->config, "devices", device);
        return NULL;
    }
    mvm__job *job = mvm__job_new(vm, device, waiter, what);
    job->finish = plug_finish;
    job->then = mvm__share_plugged;
    int rc = vm->ops->plug(vm, device, job, err);
    if (rc != 0)
        mvm__record_unplug(vm->config, "devices", device);
    return mvm__job_begun(job, rc, err);
}

static void unplug_finish(mvm__job *job, const mvm_err *err)
{
    if (!err)
        mvm__record_unplug(job->vm->config, "devices", job->device);
}

mvm_wait *mvm_vm_unplug(mvm_vm *vm, mvm_record *device, const mvm_waiter *waiter, mvm_err *err)
{
    char what[64];

    snprintf(what, sizeof(what), "the guest to let go of %s %s", article(device),
             mvm_record_schema(device)->kind);
    if (need_device(vm, device, err) != 0 || may_plug(vm, "detach", device, err) != 0)
        return NULL;
    mvm__job *job = mvm__job_new(vm, device, waiter, what);
    job->finish = unplug_finish;
    return mvm__job_begun(job, mvm__share_unplug(vm, device, job, err), err);
}

void mvm__vm_on_device_lost(mvm_vm *vm, mvm_record *device, const mvm_err *err)
{
    mvm_err copy = *err;
    char name[48];

    /* That its parts end too is no news of a machine that goes down as was asked for. */
    if (vm->killed || (vm->state == MVM_STOPPING && err->code == MVM_EBACKEND))
        return;
    (void)mvm__vm_device_name(vm, device, name);
    mvm_fail(&copy, err->code, "%s %s: %s", mvm_record_schema(device)->kind, name, err->message);
    mvm_err_vm(&copy, vm->name);
    mvm__vm_emit(vm, &(mvm_event){.name = "error", .err = &copy});
}

void mvm__vm_on_device_gone(mvm_vm *vm, mvm_record *device)
{
    mvm_err err;

    if (!has_device(vm, device))
        return;
    mvm_fail(&err, MVM_EGUEST, "the guest let go of it unasked: it is attached no more");
    mvm__vm_on_device_lost(vm, device, &err);
    mvm__record_unplug(vm->config, "devices", device);
}

/* ---- verbs ----------------------------------------------------------------------------- */

/* With less, even a small Linux does nothing but look for memory. */
#define BALLOON_LEAST (INT64_C(64) << 20)

static int check_balloon(mvm_vm *vm, int64_t bytes, mvm_err *err)
{
    int64_t memory = mvm_record_int(vm->config, "memory");
    char shown[24], low[24], high[24];
    bool found = false;
    mvm_record *d;

    for (size_t i = 0; (d = mvm_record_item(vm->config, "devices", i)) != NULL; i++)
        found = found || strcmp(mvm_record_schema(d)->kind, "balloon") == 0;
    if (!found) {
        mvm__vm_fail(vm, err, MVM_ECONFIG, "it has no balloon");
        mvm_err_hint(err, "add macvm.balloon {} to its devices");
        return MVM_ECONFIG;
    }
    if (bytes >= MVM_MIN(BALLOON_LEAST, memory) && bytes <= memory)
        return 0;
    mvm__vm_fail(vm, err, MVM_ECONFIG, "a balloon can't leave it %s",
                 mvm_format_size(bytes, shown, sizeof(shown)));
    mvm_err_hint(err, "%s to %s", mvm_format_size(MVM_MIN(BALLOON_LEAST, memory), low, sizeof(low)),
                 mvm_format_size(memory, high, sizeof(high)));
    return MVM_ECONFIG;
}

mvm_wait *mvm_vm_balloon(mvm_vm *vm, int64_t bytes, const mvm_waiter *waiter, mvm_err *err)
{
    if (mvm__job_allowed(vm, "set the balloon", "balloon", err) != 0 ||
        check_balloon(vm, bytes, err) != 0)
        return NULL;
    mvm__job *job = mvm__job_new(vm, NULL, waiter, "its balloon");
    return mvm__job_begun(job, vm->ops->balloon(vm, bytes, job, err), err);
}

/* A size that was asked for at first must not shrink the disk at the next start. */
static void resize_finish(mvm__job *job, const mvm_err *err)
{
    if (!err)
        mvm__disk_note_size(job->device, job->bytes);
}

mvm_wait *mvm_disk_resize(mvm_vm *vm, mvm_record *disk, int64_t bytes, const mvm_waiter *waiter,
                          mvm_err *err)
{
    if (need_device(vm, disk, err) != 0 || mvm__disk_check_size(bytes, err) != 0 ||
        mvm__job_allowed(vm, "resize a disk", "disk", err) != 0)
        return NULL;
    if (!vm->ops->resize) {
        mvm__vm_fail(vm, err, MVM_EUNSUPPORTED, "can't resize a disk: the %s back end has no way",
                     vm->ops->name);
        return NULL;
    }
    mvm__job *job = mvm__job_new(vm, disk, waiter, "a disk to grow");
    job->bytes = bytes;
    job->finish = resize_finish;
    return mvm__job_begun(job, vm->ops->resize(vm, disk, bytes, job, err), err);
}

mvm_wait *mvm_net_link(mvm_vm *vm, mvm_record *net, bool up, const mvm_waiter *waiter, mvm_err *err)
{
    if (need_device(vm, net, err) != 0 || mvm__job_allowed(vm, "set the link", "net", err) != 0)
        return NULL;
    mvm__job *job = mvm__job_new(vm, net, waiter, "a link");
    return mvm__job_begun(job, vm->ops->set_link(vm, net, up, job, err), err);
}

bool mvm_vm_forward(mvm_vm *vm, size_t i, mvm_forward *out)
{
    return mvm_vm_up(vm) && vm->ops->forward && vm->ops->forward(vm, i, out);
}

mvm_wait *mvm_vm_screenshot(mvm_vm *vm, const char *path, const mvm_waiter *waiter, mvm_err *err)
{
    if (mvm__job_allowed(vm, "take a screenshot", "display", err) != 0)
        return NULL;
    mvm__job *job = mvm__job_new(vm, NULL, waiter, "a screenshot");
    return mvm__job_begun(job, vm->ops->screenshot(vm, path, job, err), err);
}

mvm_wait *mvm_vm_input(mvm_vm *vm, const mvm_input *events, size_t n, const mvm_waiter *waiter,
                       mvm_err *err)
{
    const char *what = "keyboard";

    for (size_t i = 0; i < n; i++)
        if (events[i].kind != MVM_INPUT_KEY)
            what = "pointer";
    if (mvm__job_allowed(vm, strcmp(what, "pointer") == 0 ? "move the pointer" : "press a key",
                         what, err) != 0)
        return NULL;
    mvm__job *job = mvm__job_new(vm, NULL, waiter, "keys and pointer");
    return mvm__job_begun(job, vm->ops->input(vm, events, n, job, err), err);
}
