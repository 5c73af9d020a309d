/* SPDX-License-Identifier: MIT */
/*
 * The vsock device of a machine, for the files that make it up: vsock.c, where connections lead
 * when the device is ours, and vsock_kernel.c, when it is the kernel's. Loop thread only.
 */
#ifndef MVM_VM_VSOCK_INTERNAL_H
#define MVM_VM_VSOCK_INTERNAL_H

#include "device/vsock.h"
#include "io/vsock_sock.h"
#include "mvm/sock.h"
#include "vm/vm_struct.h"
#include "vm/vsock.h"

struct mvm_vsock_listener {
    mvm__link link;    /* in vs->listeners; unlinked once the machine is gone */
    mvm__vm_vsock *vs; /* valid while it is linked */
    uint32_t port;
    mvm_vsock_accept_fn fn;
    void *ud;
    struct mvm__vsock_door_use *door; /* while the device is the kernel's: shared by machines */
};

struct mvm__vm_vsock {
    mvm_vm *vm;
    mvm_record *record; /* of the device while it is there */
    mvm__vsock *dev;    /* NULL: not there, lost, or the kernel's */
    bool kernel;        /* the device that is there is the kernel's */
    uint32_t cid;
    mvm__list listeners;
    mvm__list routes;  /* attempts to reach another machine or a program */
    mvm__list splices; /* connections that are passed on */
    mvm__list faces;   /* programs that have not said yet where they want to go */
    mvm_listener *unix_face;
};

/* "channel" events: "vsock:PORT" and what happened there. */
void mvm__vsock_emit(mvm__vm_vsock *vs, uint32_t port, const char *what);
mvm_vsock_listener *mvm__vsock_listener_of(const mvm__vm_vsock *vs, uint32_t port);

/* vsock_kernel.c: listens to the port of the host's kernel, if no machine of the lab does so
 * already; and lets go of it. */
int mvm__vsock_kernel_listen(mvm_vsock_listener *listener, mvm_err *err);
void mvm__vsock_kernel_unlisten(mvm_vsock_listener *listener);
mvm_wait *mvm__vsock_kernel_connect(mvm__vm_vsock *vs, uint32_t port, const mvm_waiter *waiter,
                                    mvm_stream **stream, mvm_err *err);
void mvm__vsock_kernel_close(mvm__vm_vsock *vs);

#endif
