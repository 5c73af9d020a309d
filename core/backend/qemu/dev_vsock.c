/* SPDX-License-Identifier: MIT */
/* The socket device: QEMU connects to ours (core/device/vsock.h) as vhost-user front end. Loop
 * thread only. */
#include <stdio.h>
#include <unistd.h>

#include "backend/qemu/dev.h"
#include "base/base.h"

typedef struct vsock {
    char socket[32]; /* in QEMU's working directory */
} vsock;

static int prepare(mvm__dev *dev, mvm_err *err)
{
    vsock *v = mvm__alloc(sizeof(*v));

    dev->data = v;
    int fd = mvm__dev_listen(dev, v->socket, err);
    if (fd < 0)
        return err ? err->code : MVM_EIO;
    return mvm__vm_vsock_open(dev->run->vm, dev->record, fd, err);
}

static void parts(mvm__dev *dev, mvm_qemu_parts *p)
{
    const vsock *v = dev->data;
    char socket[32];

    snprintf(socket, sizeof(socket), "%s-socket", dev->id);
    mvm_qemu_part_add(p, MVM_QEMU_CHARDEV, "socket", socket);
    mvm_qemu_key_text(p, "path", v->socket);
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
    .prepare = prepare,
    .parts = parts,
    .release = release,
};
