/* SPDX-License-Identifier: MIT */
/*
 * The vsock device that the host's kernel serves (`kernel = true`): connections are sockets of the
 * kernel, its ports are the host's, and one socket that listens serves every machine of the lab,
 * told apart by their CIDs. Loop thread only.
 */
#include <inttypes.h>
#include <unistd.h>

#include "base/base.h"
#include "io/sock.h"
#include "vm/vsock_internal.h"

static mvm__vm_vsock *find_cid(const mvm_lab *lab, uint32_t cid)
{
    mvm__list_each (l, &lab->vms) {
        mvm_vm *vm = mvm__container_of(l, mvm_vm, link);
        if (vm->vsock->kernel && vm->vsock->cid == cid)
            return vm->vsock;
    }
    return NULL;
}

/* The kernel has accepted already: who is not expected is hung up on. */
static void take(mvm__vm_vsock *vs, uint32_t host_port, int fd, uint32_t port)
{
    mvm_vsock_listener *listener = mvm__vsock_listener_of(vs, host_port);

    if (!listener) {
        close(fd);
        mvm__vsock_emit(vs, host_port, "refused");
        return;
    }
    MVM_AUTO_FREE char *what =
        mvm__asprintf("%s: a connection to vsock port %" PRIu32, vs->vm->name, host_port);
    mvm_stream *stream = mvm__sock_stream(vs->vm->lab->loop, fd, what);
    mvm__vsock_emit(vs, host_port, "open");
    listener->fn(listener->ud, stream, port);
}

/* ---- one socket a port ------------------------------------------------------------------- */

typedef struct mvm__vsock_door_use {
    mvm__vsock_door *socket;
    mvm_lab *lab;
    uint32_t port;
    unsigned users;
} door;

static void on_guest(void *ud, int fd, uint32_t cid, uint32_t port)
{
    const door *d = ud;
    mvm__vm_vsock *vs = find_cid(d->lab, cid);

    if (vs)
        take(vs, d->port, fd, port);
    else
        close(fd); /* a guest of somebody else's, or a program of this host */
}

static door *find_door(const mvm_lab *lab, uint32_t port)
{
    mvm__list_each (l, &lab->vms) {
        const mvm_vm *vm = mvm__container_of(l, mvm_vm, link);
        const mvm_vsock_listener *listener = mvm__vsock_listener_of(vm->vsock, port);
        if (listener && listener->door)
            return listener->door;
    }
    return NULL;
}

int mvm__vsock_kernel_listen(mvm_vsock_listener *listener, mvm_err *err)
{
    mvm_lab *lab = listener->vs->vm->lab;
    door *d = find_door(lab, listener->port);

    if (!d) {
        d = mvm__alloc(sizeof(*d));
        *d = (door){.lab = lab, .port = listener->port};
        d->socket = mvm__vsock_door_open(lab->loop, d->port, on_guest, d, err);
    }
    if (!d->socket) {
        mvm__free(d);
        return err ? err->code : MVM_EIO;
    }
    d->users++;
    listener->door = d;
    return 0;
}

void mvm__vsock_kernel_unlisten(mvm_vsock_listener *listener)
{
    door *d = listener->door;

    listener->door = NULL;
    if (!d || --d->users > 0)
        return;
    mvm__vsock_door_close(d->socket);
    mvm__free(d);
}

/* ---- the device comes and goes -------------------------------------------------------------- */

int mvm__vm_vsock_open_kernel(mvm_vm *vm, mvm_record *device, uint32_t cid, mvm_err *err)
{
    mvm__vm_vsock *vs = vm->vsock;

    vs->cid = cid;
    vs->kernel = true;
    vs->record = mvm_record_ref(device);
    mvm__list_each (l, &vs->listeners) {
        int rc = mvm__vsock_kernel_listen(mvm__container_of(l, mvm_vsock_listener, link), err);
        if (rc != 0) {
            mvm__vm_vsock_close(vm, device);
            return rc;
        }
    }
    return 0;
}

void mvm__vsock_kernel_close(mvm__vm_vsock *vs)
{
    vs->kernel = false;
    mvm__list_each (l, &vs->listeners)
        mvm__vsock_kernel_unlisten(mvm__container_of(l, mvm_vsock_listener, link));
}

mvm_wait *mvm__vsock_kernel_connect(mvm__vm_vsock *vs, uint32_t port, const mvm_waiter *waiter,
                                    mvm_stream **stream, mvm_err *err)
{
    MVM_AUTO_FREE char *what =
        mvm__asprintf("%s: the connection to vsock port %" PRIu32, vs->vm->name, port);

    return mvm__vsock_sock_connect(vs->vm->lab->loop, vs->cid, port, what, waiter, stream, err);
}
