/* SPDX-License-Identifier: MIT */
/* Disks: an image behind a virtio block device, and over it, for an ephemeral one, an overlay that
 * takes the writes. Loop thread only. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "backend/qemu/dev.h"
#include "backend/qemu/disk.h"
#include "base/base.h"
#include "vm/disk.h"
#include "vm/image.h"

#define RESIZE_SECONDS 30

typedef struct disk {
    mvm__overlay overlay;
    int64_t size;    /* that the guest sees, or will when QEMU has done what it was told */
    char error[200]; /* the last that was reported */
} disk;

/* A disk that can't be written has nothing to throw away. */
static bool is_ephemeral(const mvm_record *record)
{
    return mvm_record_bool(record, "ephemeral") && !mvm_record_bool(record, "readonly");
}

static bool writes_image(const mvm_record *record)
{
    return !mvm_record_bool(record, "ephemeral") && !mvm_record_bool(record, "readonly");
}

/* ---- before QEMU ----------------------------------------------------------------------- */

static int prepare_image(mvm__dev *dev, disk *d, mvm_err *err)
{
    const mvm_record *record = dev->record;
    const char *path = mvm_record_str(record, "path"), *format = mvm_record_str(record, "format");
    int64_t wanted = mvm_record_int(record, "size");
    int rc = 0;

    if (mvm_record_bool(record, "create"))
        rc = mvm__disk_create(path, format, wanted, err);
    if (rc == 0)
        rc = mvm__image_free(path, writes_image(record), err);
    if (rc == 0)
        rc = mvm__image_size(path, format, &d->size, err);
    if (rc != 0 || wanted <= d->size || mvm_record_bool(record, "readonly"))
        return rc;
    d->size = wanted;
    return writes_image(record) ? mvm__image_grow(path, format, wanted, err) : 0;
}

static int prepare(mvm__dev *dev, mvm_err *err)
{
    const char *dir = mvm_lab_dir(mvm_vm_lab(dev->run->vm), err);
    disk *d = dev->data = mvm__alloc(sizeof(*d));

    d->overlay.fd = -1;
    if (!dir)
        return err ? err->code : MVM_EIO;
    int rc = prepare_image(dev, d, err);
    if (rc != 0)
        mvm__dev_field(dev, "path", err);
    else if (is_ephemeral(dev->record))
        rc = mvm__overlay_make(dir, d->size, &d->overlay, err);
    return rc;
}

static void release(mvm__dev *dev)
{
    disk *d = dev->data;

    if (d)
        mvm__overlay_free(&d->overlay);
    mvm__free(d);
    dev->data = NULL;
}

/* ---- what QEMU is told ------------------------------------------------------------------- */

/* The format is always given: a guest that writes a qcow2 header into its raw disk must not make
 * QEMU open the host file that the header names. Images are locked by QEMU against a second writer.
 * What is said of the format holds for the file below it. */
static void add_node(mvm_qemu_parts *p, const char *node, const char *format, const char *path,
                     bool readonly)
{
    mvm_qemu_part_add(p, MVM_QEMU_BLOCKDEV, format, node);
    mvm_qemu_key_bool(p, "read-only", readonly);
    mvm_qemu_key_text(p, "discard", "unmap");
    mvm_qemu_key_text(p, "file.driver", "file");
    mvm_qemu_key_text(p, "file.locking", "auto");
    mvm_qemu_key_text(p, "file.filename", path);
}

static void add_image(const mvm_record *record, mvm_qemu_parts *p, const char *node)
{
    add_node(p, node, mvm_record_str(record, "format"), mvm_record_str(record, "path"),
             !writes_image(record));
    mvm_qemu_key_bool(p, "cache.direct", strcmp(mvm_record_str(record, "cache"), "uncached") == 0);
    mvm_qemu_key_bool(p, "cache.no-flush", strcmp(mvm_record_str(record, "sync"), "none") == 0);
}

/* Errors go to the guest, which is what a disk does; QEMU's default would freeze it. An overlay is
 * lost with QEMU anyway, so nothing of it has to reach the storage. */
static void parts(mvm__dev *dev, mvm_qemu_parts *p)
{
    const disk *d = dev->data;
    char node[32], base[32];

    snprintf(node, sizeof(node), "%s-image", dev->id);
    if (is_ephemeral(dev->record)) {
        snprintf(base, sizeof(base), "%s-base", dev->id);
        add_image(dev->record, p, base);
        add_node(p, node, "qcow2", d->overlay.path, false);
        mvm_qemu_key_bool(p, "cache.no-flush", true);
        mvm_qemu_key_text(p, "backing", base);
    } else {
        add_image(dev->record, p, node);
    }
    if (dev != dev->run->boot_dev)
        mvm__dev_removable(dev);
    mvm__dev_pci(dev, p, "virtio-blk-pci");
    mvm_qemu_key_text(p, "drive", node);
    mvm_qemu_key_fmt(p, "serial", "%.20s", dev->name);
    mvm_qemu_key_text(p, "werror", "report");
    mvm_qemu_key_text(p, "rerror", "report");
    if (dev == dev->run->boot_dev)
        mvm_qemu_key_int(p, "bootindex", 1);
}

/* ---- while it runs -------------------------------------------------------------------------- */

/* The guest sees a disk that fails; here it becomes an event. A guest that goes on writing to a
 * full host causes the same one many times: it is told once. */
static bool event(mvm__dev *dev, const char *name, const mvm_qmp_value *data)
{
    disk *d = dev->data;
    char node[32], text[sizeof(d->error)];
    mvm_err err;

    snprintf(node, sizeof(node), "%s-image", dev->id);
    if (strcmp(name, "BLOCK_IO_ERROR") != 0 || strcmp(mvm_qmp_str(data, "node-name"), node) != 0)
        return false;
    snprintf(text, sizeof(text), "a %s failed on the host: %s", mvm_qmp_str(data, "operation"),
             mvm_qmp_bool(data, "nospace") ? "no space left on device"
                                           : mvm_qmp_str(data, "reason"));
    if (strcmp(text, d->error) == 0)
        return true;
    memcpy(d->error, text, sizeof(text));
    mvm_fail(&err, MVM_EIO, "%s", text);
    mvm__vm_on_device_lost(dev->run->vm, dev->record, &err);
    return true;
}

typedef struct resizing {
    mvm__run *run;
    char id[24]; /* the device may be gone by then */
    int64_t before, bytes;
    mvm__job *job;
} resizing;

static void on_resized(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    resizing *r = ud;
    /* Else QEMU may yet do what it was slow to answer. */
    bool refused = err && err->code == MVM_EBACKEND;
    mvm__dev *dev = refused ? mvm__dev_by_id(r->run, r->id) : NULL;

    (void)value;
    if (dev && dev->data && ((disk *)dev->data)->size == r->bytes)
        ((disk *)dev->data)->size = r->before;
    mvm__job_done(r->job, err);
    mvm__free(r);
}

/* The new size counts from here on: QEMU would shrink a disk for who asks for less meanwhile. */
int mvm__disk_resize(mvm_vm *vm, mvm_record *record, int64_t bytes, mvm__job *job, mvm_err *err)
{
    mvm__run *run = mvm__run_of(vm);
    mvm__dev *dev = mvm__dev_of(run, record);
    char node[32];

    if (!dev || dev->job)
        return mvm_fail(err, MVM_ESTATE, "the disk is being attached or detached");
    disk *d = dev->data;
    int rc = mvm__disk_check_growth(record, dev->name, d->size, bytes, err);
    if (rc != 0)
        return rc;
    resizing *r = mvm__alloc(sizeof(*r));
    *r = (resizing){.run = run, .before = d->size, .bytes = bytes, .job = job};
    snprintf(r->id, sizeof(r->id), "%s", dev->id);
    snprintf(node, sizeof(node), "%s-image", dev->id);
    rc = mvm__qmp_call(run->qmp, RESIZE_SECONDS, on_resized, r, err, "block_resize", "{s:s, s:I}",
                       "node-name", node, "size", bytes);
    if (rc == 0)
        d->size = bytes;
    else
        mvm__free(r);
    return rc;
}

/* It happens when somebody else came between our look at the image and QEMU's. */
bool mvm__disk_locked(const mvm__dev *dev, const char *words, mvm_err *err)
{
    const char *path;

    if (dev->ops != &mvm__dev_disk || !strstr(words, "Failed to get ") || !strstr(words, " lock"))
        return false;
    path = mvm_record_str(dev->record, "path");
    if (mvm__image_free(path, writes_image(dev->record), err) == 0) {
        if (!strstr(words, path))
            return false;
        mvm_fail(err, MVM_ECONFIG, "%s was in use by another process", path);
    }
    mvm__dev_field(dev, "path", err);
    return true;
}

const mvm__dev_ops mvm__dev_disk = {
    .kind = "disk",
    .prepare = prepare,
    .parts = parts,
    .event = event,
    .release = release,
};
