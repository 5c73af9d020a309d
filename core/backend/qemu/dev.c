/* SPDX-License-Identifier: MIT */
/* The list of a run's devices, and what all kinds share. Loop thread only. */
#include "backend/qemu/dev_internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/qemu/arch.h"
#include "backend/qemu/plan.h"
#include "base/base.h"
#include "io/sock.h"

static const mvm__dev_ops *const g_kinds[] = {
    &mvm__dev_disk,    &mvm__dev_net,      &mvm__dev_entropy, &mvm__dev_balloon,
    &mvm__dev_share,   &mvm__dev_vsock,    &mvm__dev_console, &mvm__dev_clipboard,
    &mvm__dev_display, &mvm__dev_keyboard, &mvm__dev_pointer, &mvm__dev_sound,
};

const mvm__dev_ops *mvm__dev_ops_at(size_t i)
{
    return i < MVM_COUNT(g_kinds) ? g_kinds[i] : NULL;
}

static bool was_called(const mvm__run *run, const char *name)
{
    mvm__list_each (l, &run->devs)
        if (strcmp(mvm__container_of(l, mvm__dev, link)->first_name, name) == 0)
            return true;
    return false;
}

/* By its place in the configuration; but a disk that is there keeps its serial number when those
 * before it go, and a guest takes two with the same for one. */
static void choose_name(mvm__dev *dev)
{
    (void)mvm__vm_device_name(dev->run->vm, dev->record, dev->name);
    if (dev->ops == &mvm__dev_disk && !mvm_record_has(dev->record, "id"))
        for (unsigned n = 1; was_called(dev->run, dev->name); n++)
            snprintf(dev->name, sizeof(dev->name), "disk%u", n);
    memcpy(dev->first_name, dev->name, sizeof(dev->name));
}

mvm__dev *mvm__dev_new(mvm__run *run, mvm_record *record, bool hot)
{
    const char *kind = mvm_record_schema(record)->kind;
    mvm__dev *dev = mvm__alloc(sizeof(*dev));
    size_t i = 0;

    while (strcmp(mvm__dev_ops_at(i)->kind, kind) != 0)
        i++;
    dev->run = run;
    dev->ops = mvm__dev_ops_at(i);
    dev->record = mvm_record_ref(record);
    dev->hot = hot;
    dev->fd = -1;
    snprintf(dev->id, sizeof(dev->id), "%s%u", kind, run->ndevs++);
    choose_name(dev);
    mvm__list_append(&run->devs, &dev->link);
    if (!run->boot_dev && dev->ops == &mvm__dev_disk && mvm__plan_boots_disk(run->vm))
        run->boot_dev = dev;
    return dev;
}

void mvm__dev_free(mvm__dev *dev)
{
    mvm_err err;

    mvm__list_remove(&dev->link);
    if (dev->run->boot_dev == dev)
        dev->run->boot_dev = NULL;
    mvm_timer_cancel(dev->again);
    if (dev->job) {
        mvm_fail(&err, MVM_ECANCELLED, "the machine went down first");
        mvm__job_done(dev->job, &err);
    }
    if (dev->ops->release)
        dev->ops->release(dev);
    if (dev->fd >= 0)
        close(dev->fd);
    mvm_qemu_parts_free(&dev->parts);
    mvm_record_unref(dev->record);
    mvm__free(dev);
}

int mvm__dev_prepare(mvm__dev *dev, mvm_err *err)
{
    int rc = dev->ops->prepare ? dev->ops->prepare(dev, err) : 0;

    if (rc == 0)
        dev->ops->parts(dev, &dev->parts);
    return rc;
}

void mvm__devs_name(mvm__run *run)
{
    mvm__list_each (l, &run->devs) {
        mvm__dev *dev = mvm__container_of(l, mvm__dev, link);
        (void)mvm__vm_device_name(run->vm, dev->record, dev->name);
    }
}

/* ---- all of a run ---------------------------------------------------------------- */

int mvm__devs_prepare(mvm__run *run, mvm_err *err)
{
    mvm_record *record;

    for (size_t i = 0; (record = mvm_record_item(mvm_vm_config(run->vm), "devices", i)) != NULL;
         i++) {
        int rc = mvm__dev_prepare(mvm__dev_new(run, record, false), err);
        if (rc != 0) {
            mvm__devs_release(run);
            return rc;
        }
    }
    return 0;
}

void mvm__devs_release(mvm__run *run)
{
    mvm__list_each (l, &run->devs)
        mvm__dev_free(mvm__container_of(l, mvm__dev, link));
}

void mvm__devs_live(mvm__run *run)
{
    mvm__list_each (l, &run->devs) {
        mvm__dev *dev = mvm__container_of(l, mvm__dev, link);
        if (dev->ops->live)
            dev->ops->live(dev);
    }
}

bool mvm__devs_event(mvm__run *run, const char *name, const mvm_qmp_value *data)
{
    mvm__list_each (l, &run->devs) {
        mvm__dev *dev = mvm__container_of(l, mvm__dev, link);
        if (dev->ops->event && dev->ops->event(dev, name, data))
            return true;
    }
    return false;
}

void mvm__dev_field(const mvm__dev *dev, const char *field, mvm_err *err)
{
    mvm_record *d;

    for (size_t i = 0; (d = mvm_record_item(mvm_vm_config(dev->run->vm), "devices", i)) != NULL;
         i++)
        if (d == dev->record)
            mvm_err_field(err, "devices[%zu].%s", i + 1, field);
}

/* ---- finding one --------------------------------------------------------------------- */

mvm__dev *mvm__dev_of(const mvm__run *run, const mvm_record *record)
{
    mvm__list_each (l, &run->devs) {
        mvm__dev *dev = mvm__container_of(l, mvm__dev, link);
        if (dev->record == record)
            return dev;
    }
    return NULL;
}

mvm__dev *mvm__dev_by_id(const mvm__run *run, const char *id)
{
    mvm__list_each (l, &run->devs) {
        mvm__dev *dev = mvm__container_of(l, mvm__dev, link);
        if (strcmp(dev->id, id) == 0)
            return dev;
    }
    return NULL;
}

mvm__dev *mvm__dev_nth(const mvm__run *run, const char *kind, size_t n)
{
    mvm__list_each (l, &run->devs) {
        mvm__dev *dev = mvm__container_of(l, mvm__dev, link);
        if (strcmp(dev->ops->kind, kind) == 0 && n-- == 0)
            return dev;
    }
    return NULL;
}

/* ---- for the kinds --------------------------------------------------------------------- */

void mvm__dev_pci(mvm__dev *dev, mvm_qemu_parts *parts, const char *driver)
{
    bool modern = strcmp(driver, "vhost-user-fs-pci") == 0; /* there never was an older one */

    mvm_qemu_part_add(parts, MVM_QEMU_DEVICE, driver, dev->id);
    if (!modern && (strncmp(driver, "virtio-", 7) == 0 || strncmp(driver, "vhost-", 6) == 0))
        mvm_qemu_key_text(parts, "disable-legacy", "on");
    if (dev->bus[0])
        mvm_qemu_key_text(parts, "bus", dev->bus);
}

void mvm__dev_removable(mvm__dev *dev)
{
    if (!dev->hot && mvm__arch_of(dev->run->vm)->slots == 0)
        memcpy(dev->bus, "hot", sizeof("hot"));
}

int mvm__dev_listen(mvm__dev *dev, char name[32], mvm_err *err)
{
    const char *dir = mvm_lab_dir(mvm_vm_lab(dev->run->vm), err);
    static unsigned counter; /* of this process: its machines share a directory */

    if (!dir)
        return -1;
    snprintf(name, 32, "d%u.sock", ++counter);
    return mvm__sock_listen(dir, name, err);
}

void mvm__dev_unlink(mvm__dev *dev, const char *name)
{
    const char *dir = mvm_lab_dir(mvm_vm_lab(dev->run->vm), NULL);
    MVM_AUTO_FREE char *path = dir && *name ? mvm__asprintf("%s/%s", dir, name) : NULL;

    if (path)
        unlink(path);
}

/* On the command line QEMU inherits it; later it is sent before the first part. */
void mvm__dev_give_fd(mvm__dev *dev, int fd, char name[24])
{
    mvm__run *run = dev->run;

    if (dev->hot) {
        dev->fd = fd;
        snprintf(name, 24, "%s", dev->id);
    } else if (run->nfds < MVM_COUNT(run->fds)) {
        run->fds[run->nfds++] = fd;
        snprintf(name, 24, "%zu", 3 + MVM__RUN_SOCKETS + run->nfds - 1);
    } else {
        mvm__die("more descriptors for QEMU than there are devices");
    }
}

void mvm__dev_settled(mvm__dev *dev)
{
    dev->settling = false;
    if (dev->job)
        mvm__hotplug_settled(dev);
    else
        mvm__control_settled(dev->run);
}

bool mvm__devs_settling(const mvm__run *run)
{
    mvm__list_each (l, &run->devs)
        if (mvm__container_of(l, mvm__dev, link)->settling)
            return true;
    return false;
}
