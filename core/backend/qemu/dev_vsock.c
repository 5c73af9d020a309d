/* SPDX-License-Identifier: MIT */
/*
 * The socket device: QEMU connects to ours (core/device/vsock.h) as vhost-user front end, or, with
 * `kernel = true`, is given one of the host's kernel. Loop thread only.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "backend/qemu/dev.h"
#include "backend/qemu/vhost_vsock.h"
#include "base/base.h"

#define CID_FIRST 0x10000000u /* of those that are chosen: far from what people write */
#define CID_COUNT 0x40000000u
#define CID_TRIES 100

typedef struct vsock {
    char socket[32]; /* in QEMU's working directory */
    uint32_t cid;    /* the kernel's device: claimed */
    char fd_name[24];
} vsock;

static bool by_kernel(const mvm_record *record)
{
    return mvm_record_bool(record, "kernel");
}

/* ---- the kernel's ------------------------------------------------------------------------- */

/* Claims the CID that is asked for, or any that is free on this host. The descriptor, or an error.
 */
static int claim(const mvm_record *record, uint32_t *cid, mvm_err *err)
{
    int64_t wanted = mvm_record_int(record, "cid");
    int fd = -EADDRINUSE;

    for (int i = 0; fd == -EADDRINUSE && i < (wanted ? 1 : CID_TRIES); i++) {
        uint32_t any;
        if (getrandom(&any, sizeof(any), 0) != sizeof(any))
            mvm__die("no random numbers: %s", strerror(errno));
        *cid = wanted ? (uint32_t)wanted : CID_FIRST + any % CID_COUNT;
        fd = mvm__vhost_vsock_claim(*cid);
    }
    if (fd == -EADDRINUSE)
        return mvm_fail(err, MVM_ECONFIG, "the CID %" PRIu32 " is in use on this host", *cid);
    if (fd < 0)
        return mvm_fail(err, MVM_EIO, "/dev/vhost-vsock: %s", strerror(-fd));
    return fd;
}

static int check(mvm_vm *vm, const mvm_record *record, const char *at, mvm_err *err)
{
    const char *reason = NULL;
    uint32_t cid;

    if (!by_kernel(record))
        return 0;
    if (!mvm_vm_can(vm, "vsock.kernel", &reason)) {
        mvm_fail(err, MVM_EUNSUPPORTED, "no vsock by the host's kernel here: %s", reason);
        mvm_err_field(err, "%s.kernel", at);
        return MVM_EUNSUPPORTED;
    }
    if (mvm_record_int(record, "cid") == 0)
        return 0;
    int fd = claim(record, &cid, err);
    if (fd < 0) {
        mvm_err_field(err, "%s.cid", at);
        mvm_err_hint(err, "left out: one that is free");
        return fd;
    }
    close(fd);
    return 0;
}

static int prepare_kernel(mvm__dev *dev, vsock *v, mvm_err *err)
{
    int fd = claim(dev->record, &v->cid, err);

    if (fd < 0)
        return fd;
    mvm__dev_give_fd(dev, fd, v->fd_name);
    return mvm__vm_vsock_open_kernel(dev->run->vm, dev->record, v->cid, err);
}

/* ---- both ----------------------------------------------------------------------------------- */

static int prepare(mvm__dev *dev, mvm_err *err)
{
    vsock *v = mvm__alloc(sizeof(*v));

    dev->data = v;
    if (by_kernel(dev->record))
        return prepare_kernel(dev, v, err);
    int fd = mvm__dev_listen(dev, v->socket, err);
    if (fd < 0)
        return err ? err->code : MVM_EIO;
    return mvm__vm_vsock_open(dev->run->vm, dev->record, fd, err);
}

static void parts(mvm__dev *dev, mvm_qemu_parts *p)
{
    const vsock *v = dev->data;
    char socket[32];

    if (by_kernel(dev->record)) {
        mvm__dev_removable(dev);
        mvm__dev_pci(dev, p, "vhost-vsock-pci");
        mvm_qemu_key_int(p, "guest-cid", v->cid);
        mvm_qemu_key_text(p, "vhostfd", v->fd_name);
        return;
    }
    snprintf(socket, sizeof(socket), "%s-socket", dev->id);
    mvm_qemu_part_add(p, MVM_QEMU_CHARDEV, "socket", socket);
    mvm_qemu_key_text(p, "path", v->socket);
    mvm__dev_removable(dev);
    mvm__dev_pci(dev, p, "vhost-user-vsock-pci");
    mvm_qemu_key_text(p, "chardev", socket);
}

static void release(mvm__dev *dev)
{
    vsock *v = dev->data;

    mvm__vm_vsock_close(dev->run->vm, dev->record);
    mvm__dev_unlink(dev, v->socket);
    mvm__free(v);
}

const mvm__dev_ops mvm__dev_vsock = {
    .kind = "vsock",
    .check = check,
    .prepare = prepare,
    .parts = parts,
    .release = release,
};
