/* SPDX-License-Identifier: MIT */
/*
 * Plugging devices in and out over QMP: their parts one by one, in order, and back in reverse. A
 * part that QEMU refuses takes those before it away again. Loop thread only.
 */
#include "backend/qemu/dev_internal.h"

#include <stdio.h>
#include <string.h>

#include "backend/qemu/arch.h"
#include "backend/qemu/plan.h"
#include "base/base.h"
#include "mvm/log.h"

#define STEP_SECONDS 30
#define BUSY_SECONDS 0.2
#define BUSY_TRIES   100
#define LOST_SECONDS 1.0

static void done(mvm__dev *dev, const mvm_err *err)
{
    mvm__job *job = dev->job;

    dev->job = NULL;
    dev->leaving = false;
    mvm__job_done(job, err);
}

/* ---- in ------------------------------------------------------------------------------ */

static void plug_next(mvm__dev *dev);

/* Nobody waits for these: the run's end takes all away anyway. */
static void ignore(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    (void)ud;
    (void)value;
    if (err)
        mvm_log(MVM_LOG_DEBUG, "while taking back what was plugged in: %s", err->message);
}

static void take_back(mvm__dev *dev)
{
    while (dev->step > 0) {
        const char *argument;
        const mvm_qemu_part *part = &dev->parts.items[--dev->step];
        const char *command = mvm_qemu_part_undo(part, &argument);
        (void)mvm__qmp_call(dev->run->qmp, STEP_SECONDS, ignore, NULL, NULL, command, "{s:s}",
                            argument, part->id);
    }
}

static void on_added(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    mvm__dev *dev = ud;
    mvm_err better;

    (void)value;
    if (!err) {
        dev->step++;
        plug_next(dev);
        return;
    }
    take_back(dev);
    done(dev, mvm__disk_locked(dev, err->message, &better) ? &better : err);
    mvm__dev_free(dev);
}

static int add_part(mvm__dev *dev, mvm_err *err)
{
    const char *command;
    struct json_t *arguments = mvm_qemu_part_json(&dev->parts.items[dev->step], &command);

    if (!arguments)
        return mvm_fail(err, MVM_ECONFIG, "%s: a value is not valid UTF-8", dev->name);
    return mvm__qmp_call(dev->run->qmp, STEP_SECONDS, on_added, dev, err, command, "o", arguments);
}

static void plug_next(mvm__dev *dev)
{
    mvm_err err;

    if (dev->step == dev->parts.n) {
        if (dev->ops->live)
            dev->ops->live(dev);
        if (!dev->settling)
            done(dev, NULL);
    } else if (add_part(dev, &err) != 0) {
        on_added(dev, NULL, &err);
    }
}

static bool bus_taken(const mvm__run *run, const char *bus)
{
    mvm__list_each (l, &run->devs)
        if (strcmp(mvm__container_of(l, mvm__dev, link)->bus, bus) == 0)
            return true;
    return false;
}

/* One bridge for all, or a slot of its own. */
static int choose_bus(mvm__dev *dev, mvm_err *err)
{
    unsigned slots = mvm__arch_of(dev->run->vm)->slots;
    char bus[sizeof(dev->bus)] = "hot";

    for (unsigned i = 0; i < slots; i++) {
        snprintf(bus, sizeof(bus), "hot%u", i % 100);
        if (!bus_taken(dev->run, bus))
            break;
        if (i + 1 == slots) {
            mvm_fail(err, MVM_ECONFIG, "all %u slots for devices that are plugged in are taken",
                     slots);
            mvm_err_hint(err, "detach one, or attach it before the start");
            return MVM_ECONFIG;
        }
    }
    memcpy(dev->bus, bus, sizeof(bus));
    return 0;
}

void mvm__hotplug_settled(mvm__dev *dev)
{
    done(dev, NULL);
}

/* QEMU has the descriptor of its own now. */
static void on_fd_given(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    mvm__dev *dev = ud;

    (void)value;
    if (!err) {
        plug_next(dev);
        return;
    }
    done(dev, err);
    mvm__dev_free(dev);
}

static int plug_first(mvm__dev *dev, mvm_err *err)
{
    if (dev->fd < 0)
        return add_part(dev, err);
    return mvm__qmp_give_fd(dev->run->qmp, STEP_SECONDS, on_fd_given, dev, err, dev->fd, dev->id);
}

int mvm__hotplug_plug(mvm_vm *vm, mvm_record *device, mvm__job *job, mvm_err *err)
{
    mvm__dev *dev = mvm__dev_new(mvm__run_of(vm), device, true);
    int rc = choose_bus(dev, err);

    if (rc == 0)
        rc = mvm__dev_prepare(dev, err);
    mvm__devs_name(dev->run);
    if (rc == 0)
        rc = plug_first(dev, err);
    if (rc != 0)
        mvm__dev_free(dev);
    else
        dev->job = job;
    return rc;
}

/* ---- out ------------------------------------------------------------------------------- */

static void remove_next(mvm__dev *dev);

static void on_removed(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    mvm__dev *dev = ud;

    (void)value;
    if (err)
        mvm_log(MVM_LOG_WARN, "%s: %s: %s", mvm_vm_name(dev->run->vm), dev->name, err->message);
    remove_next(dev);
}

/* The guest has let go: what was behind the device goes, the last part first. */
static void remove_next(mvm__dev *dev)
{
    mvm_err err;

    while (dev->step > 0) {
        const char *argument;
        const mvm_qemu_part *part = &dev->parts.items[--dev->step];
        const char *command = mvm_qemu_part_undo(part, &argument);
        if (command && mvm__qmp_call(dev->run->qmp, STEP_SECONDS, on_removed, dev, &err, command,
                                     "{s:s}", argument, part->id) == 0)
            return;
    }
    mvm__run *run = dev->run;
    if (dev->job)
        done(dev, NULL);
    else
        mvm__vm_on_device_gone(run->vm, dev->record);
    mvm__dev_free(dev);
    mvm__devs_name(run);
}

static void ask_again(void *ud);

/*
 * An ACPI eject request that reaches a guest while it still looks at the new device, or boots, is
 * lost: nothing tells of that, and asking twice does no harm. The attention button of a PCI Express
 * slot is another matter: pressed twice it calls the removal off.
 */
static void ask_if_lost(mvm__dev *dev)
{
    mvm_loop *loop = mvm_lab_loop(mvm_vm_lab(dev->run->vm));

    if (dev->job && mvm__job_waited(dev->job) && mvm__arch_of(dev->run->vm)->slots == 0)
        dev->again = mvm_timer_start(loop, LOST_SECONDS, ask_again, dev);
}

static void on_asked(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    mvm__dev *dev = ud;

    (void)value;
    dev->asked = false;
    if (dev->unplugged) {
        remove_next(dev); /* the event came first */
        return;
    }
    if (!err || !dev->job || strstr(err->message, "already in the process of unplug")) {
        ask_if_lost(dev);
        return;
    }
    /* A PCI Express slot whose guest is still about to switch it on; no event tells when it is. */
    if (strstr(err->message, "guest is busy") && dev->tries++ < BUSY_TRIES)
        dev->again =
            mvm_timer_start(mvm_lab_loop(mvm_vm_lab(dev->run->vm)), BUSY_SECONDS, ask_again, dev);
    else
        done(dev, err);
}

/* A kernel that is asked while it sets up its hot-plug may never hear of it, nor of what is asked
 * later; so a guest of which is known that it will be ready is left in peace until it is. */
static int ask_unplug(mvm__dev *dev, mvm_err *err)
{
    mvm_vm *vm = dev->run->vm;

    if (mvm_vm_state(vm) == MVM_RUNNING && mvm__plan_own_guest(vm) && !mvm_vm_ready(vm)) {
        dev->again = mvm_timer_start(mvm_lab_loop(mvm_vm_lab(vm)), BUSY_SECONDS, ask_again, dev);
        return 0;
    }
    int rc = mvm__qmp_call(dev->run->qmp, STEP_SECONDS, on_asked, dev, err, "device_del", "{s:s}",
                           "id", dev->id);

    dev->asked = rc == 0;
    return rc;
}

static void ask_again(void *ud)
{
    mvm__dev *dev = ud;
    mvm_err err;

    dev->again = NULL;
    if (dev->job && mvm__job_waited(dev->job) && ask_unplug(dev, &err) != 0)
        done(dev, &err);
}

/* Who asked first has given up; the guest may do it still. */
static int ask_anew(mvm__dev *dev, mvm__job *job, mvm_err *err)
{
    int rc = dev->asked || dev->again ? 0 : ask_unplug(dev, err);
    mvm_err over;

    if (rc != 0)
        return rc;
    mvm_fail(&over, MVM_ESTATE, "it was asked for anew");
    done(dev, &over);
    dev->job = job;
    dev->leaving = true;
    dev->tries = 0;
    return 0;
}

int mvm__hotplug_unplug(mvm_vm *vm, mvm_record *device, mvm__job *job, mvm_err *err)
{
    mvm__run *run = mvm__run_of(vm);
    mvm__dev *dev = mvm__dev_of(run, device);

    if (dev && dev->leaving && !mvm__job_waited(dev->job))
        return ask_anew(dev, job, err);
    if (!dev || dev->job)
        return mvm_fail(err, MVM_ESTATE, "%s is being attached or detached already",
                        dev ? dev->name : "it");
    if (dev == run->boot_dev) {
        mvm_fail(err, MVM_ECONFIG, "disk %s is what the machine boots from", dev->name);
        mvm_err_hint(err, "stop the machine to take it out");
        return MVM_ECONFIG;
    }
    if (!dev->bus[0]) {
        mvm_fail(err, MVM_EUNSUPPORTED,
                 "%s was there from the start, and can't be detached while the machine runs",
                 dev->name);
        mvm_err_hint(err, "stop the machine to take it out; what is attached while it runs can go");
        return MVM_EUNSUPPORTED;
    }
    dev->tries = 0;
    int rc = ask_unplug(dev, err);
    if (rc == 0) {
        dev->job = job;
        dev->leaving = true;
    }
    return rc;
}

/* A guest may let go of what nobody asked it for, also while it is being plugged in. */
static void on_deleted(mvm__dev *dev)
{
    mvm_err err;

    mvm_timer_cancel(dev->again);
    dev->again = NULL;
    if (dev->job && !dev->leaving) {
        mvm_fail(&err, MVM_EGUEST, "the guest let go of %s at once", dev->name);
        done(dev, &err);
    }
    dev->unplugged = true;
    dev->step = dev->parts.n - 1; /* all but the device itself */
    if (!dev->asked)
        remove_next(dev);
}

bool mvm__hotplug_event(mvm__run *run, const char *name, const mvm_qmp_value *data)
{
    mvm__dev *dev = mvm__dev_by_id(run, mvm_qmp_str(data, "device"));
    mvm_err err;

    if (!dev || dev->unplugged)
        return false;
    bool coming = dev->job && !dev->leaving && dev->step < dev->parts.n;
    if (coming || dev->parts.n == 0)
        return false; /* QEMU has no such device, whatever it says */
    if (strcmp(name, "DEVICE_DELETED") == 0) {
        on_deleted(dev);
        return true;
    }
    if (strcmp(name, "DEVICE_UNPLUG_GUEST_ERROR") == 0 && dev->leaving) {
        mvm_fail(&err, MVM_EGUEST, "the guest refused to let go of %s", dev->name);
        done(dev, &err);
        return true;
    }
    return false;
}
