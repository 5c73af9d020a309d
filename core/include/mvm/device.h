/* SPDX-License-Identifier: MIT */
/*
 * Devices of a machine while it is up: plugging in and out, and what each kind
 * can be told to do. A device is the record that it was configured with. Every
 * verb that waits ends with MVM_EUNSUPPORTED when this machine can't do it
 * here (mvm_vm_can says the same), and with MVM_ESTATE when the machine goes
 * down first. Loop thread only.
 */
#ifndef MVM_DEVICE_H
#define MVM_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mvm/vm.h"

/* While it is down: takes a device out of its configuration. MVM_ECONFIG: it has no such device. */
int mvm_vm_detach(mvm_vm *vm, mvm_record *device, mvm_err *err);

/* While it is up (running or paused). A device that was plugged in stays in the configuration.
 * Unplugging asks the guest, and ends when the guest has let go; a guest that does so after the
 * deadline loses the device then. */
mvm_wait *mvm_vm_plug(mvm_vm *vm, mvm_record *device, const mvm_waiter *waiter, mvm_err *err);
mvm_wait *mvm_vm_unplug(mvm_vm *vm, mvm_record *device, const mvm_waiter *waiter, mvm_err *err);

/* The machine that is up and has this device. NULL with MVM_ESTATE: none has, or several do. */
mvm_vm *mvm_device_vm(mvm_lab *lab, const mvm_record *device, mvm_err *err);

/* Leaves the guest `bytes` of its memory, in whole pages, and waits until it has followed
 * ("balloon" events, figure "balloon.actual"); of a paused one, until the hypervisor knows. After
 * the deadline the target stands, and the guest may still follow. A later target ends an earlier
 * wait with MVM_ESTATE. MVM_ECONFIG beyond the limits, which the hint says, and without a balloon.
 */
mvm_wait *mvm_vm_balloon(mvm_vm *vm, int64_t bytes, const mvm_waiter *waiter, mvm_err *err);

/* Grows a disk of a machine that is up; the guest sees it at once. MVM_ECONFIG for a size that is
 * not larger, and for a disk that is readonly. */
mvm_wait *mvm_disk_resize(mvm_vm *vm, mvm_record *disk, int64_t bytes, const mvm_waiter *waiter,
                          mvm_err *err);

/* The same for a disk whose machine is down: grows its image. MVM_EUNSUPPORTED: a qcow2 image that
 * only a running machine can make so large. */
int mvm_disk_grow(mvm_record *disk, int64_t bytes, mvm_err *err);

/* Pulls the plug of a network device, or puts it back in. "network" events. */
mvm_wait *mvm_net_link(mvm_vm *vm, mvm_record *net, bool up, const mvm_waiter *waiter,
                       mvm_err *err);

/* Host addresses that lead into the guest, as they are: with the ports that were picked. false past
 * the end. The texts live until the machine is down or the next call. */
typedef struct mvm_forward {
    const char *protocol; /* "tcp" | "udp" */
    const char *host;     /* address */
    int port;             /* of the host */
    int guest_port;
    const mvm_record *net;
} mvm_forward;
bool mvm_vm_forward(mvm_vm *vm, size_t i, mvm_forward *out);

/* What the first display shows, as a PNG file, complete or not there. */
mvm_wait *mvm_vm_screenshot(mvm_vm *vm, const char *path, const mvm_waiter *waiter, mvm_err *err);

/* Keys and pointer, as events that the guest sees one after the other. */
typedef struct mvm_input {
    enum { MVM_INPUT_KEY, MVM_INPUT_BUTTON, MVM_INPUT_MOVE } kind;
    const char *name; /* KEY: QEMU's QKeyCode ("a", "ret", "ctrl"); BUTTON: "left", "middle", ... */
    bool down;        /* KEY, BUTTON */
    int x, y;         /* MOVE: pixels of the display from its top left corner */
} mvm_input;
mvm_wait *mvm_vm_input(mvm_vm *vm, const mvm_input *events, size_t n, const mvm_waiter *waiter,
                       mvm_err *err);

/* The clipboard that is shared with the guest's Spice agent: text in UTF-8, at most 1 MiB. Reading
 * gives what a paste in the guest would, as far as it is known here: what the guest has copied, or
 * what was set. Valid until the loop turns or the next call. NULL: with err->code 0 there is no
 * text, else MVM_ECONFIG, the machine has no such device. Text that is set while the guest's agent
 * is not there is offered when it comes. */
const char *mvm_vm_clipboard(mvm_vm *vm, size_t *len, mvm_err *err);
int mvm_vm_set_clipboard(mvm_vm *vm, const char *text, size_t len, mvm_err *err);

#endif
