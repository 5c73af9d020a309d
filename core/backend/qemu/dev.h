/* SPDX-License-Identifier: MIT */
/*
 * The devices of a run under QEMU: one table entry a kind, which makes the parts that QEMU is told
 * of, either on its command line or, plugged in later, over QMP. Loop thread only.
 */
#ifndef MVM_QEMU_DEV_H
#define MVM_QEMU_DEV_H

#include "backend/qemu/run.h"
#include "base/list.h"
#include "wire/qemu_part.h"

typedef struct mvm__dev mvm__dev;

typedef struct mvm__dev_ops {
    const char *kind; /* of its schema */
    /* Whether this host has what it takes; `at` is its field path. Makes nothing. May be NULL. */
    int (*check)(mvm_vm *vm, const mvm_record *device, const char *at, mvm_err *err);
    /* What has to be there before QEMU hears of it: an image, a listening socket, a server. Sets
     * dev->data. After an error `release` is called too. May be NULL, as the following. */
    int (*prepare)(mvm__dev *dev, mvm_err *err);
    /* What QEMU is told, the device itself (or nothing more) last. Required. */
    void (*parts)(mvm__dev *dev, mvm_qemu_parts *parts);
    /* QEMU has it: at the start when QMP answers, or after it was plugged in. One that has more to
     * ask before anybody may use it sets dev->settling, and calls mvm__dev_settled in the end. */
    void (*live)(mvm__dev *dev);
    /* A QMP event; true: it was for this device. */
    bool (*event)(mvm__dev *dev, const char *name, const mvm_qmp_value *data);
    /* QEMU has ended, or has let go of it. Frees data. */
    void (*release)(mvm__dev *dev);
} mvm__dev_ops;

struct mvm__dev {
    mvm__link link; /* in run->devs, in the order of the configuration */
    mvm__run *run;
    const mvm__dev_ops *ops;
    mvm_record *record;  /* a reference */
    char id[24];         /* in QEMU: "disk0"; of its parts: this, or this with a suffix */
    char name[48];       /* for people: its id or tag, or "disk1" */
    char first_name[48]; /* what that was when it was made: a disk's serial number */
    bool hot;            /* plugged in while the machine ran */
    char bus[8];         /* of one that can be taken out: where it is, else "" */
    mvm_qemu_parts parts;
    size_t step;      /* plugging: how many parts QEMU has; unplugging: how many are left */
    mvm__job *job;    /* its plugging or unplugging */
    bool leaving;     /* ... the latter */
    bool asked;       /* QEMU has not answered yet that the guest is to let go of it */
    mvm_timer *again; /* its unplugging is asked for anew then */
    unsigned tries;
    bool unplugged; /* the guest has let go of it */
    bool settling;  /* not usable yet */
    int fd;         /* plugging: what QEMU has to be given first, or -1 */
    void *data;     /* its kind's */
};

/* Every kind; NULL past the end. */
const mvm__dev_ops *mvm__dev_ops_at(size_t i);
extern const mvm__dev_ops mvm__dev_disk, mvm__dev_net, mvm__dev_entropy, mvm__dev_balloon,
    mvm__dev_share, mvm__dev_vsock, mvm__dev_console, mvm__dev_clipboard, mvm__dev_display,
    mvm__dev_keyboard, mvm__dev_pointer, mvm__dev_sound;

/* Prepares every device of the configuration, in order; after an error all are released. */
int mvm__devs_prepare(mvm__run *run, mvm_err *err);
void mvm__devs_release(mvm__run *run); /* jobs under way end */
void mvm__devs_live(mvm__run *run);
bool mvm__devs_event(mvm__run *run, const char *name, const mvm_qmp_value *data);
mvm__dev *mvm__dev_of(const mvm__run *run, const mvm_record *record);
/* Names a field of the device as what the error is about. */
void mvm__dev_field(const mvm__dev *dev, const char *field, mvm_err *err);
mvm__dev *mvm__dev_by_id(const mvm__run *run, const char *id); /* of a part; NULL: none */
/* The nth of a kind, NULL past the end. */
mvm__dev *mvm__dev_nth(const mvm__run *run, const char *kind, size_t n);

/* The stable address of the index-th network device of a machine that names none: locally
 * administered, in QEMU's range 52:54:00. */
void mvm__net_mac(const char *name, size_t index, char out[18]);

/* dev_net.c: words of the kernel's command line that configure the guest's network, to be freed; an
 * op of the back end each; and what is added to the figures. */
char *mvm__net_words(const mvm__run *run);
int mvm__net_set_link(mvm_vm *vm, mvm_record *record, bool up, mvm__job *job, mvm_err *err);
bool mvm__net_forward_at(mvm_vm *vm, size_t i, mvm_forward *out);
void mvm__net_figures(mvm_vm *vm);

/* dev_balloon.c: the same; `ask` sends the questions whose answers the figures are. */
int mvm__balloon_set(mvm_vm *vm, int64_t bytes, mvm__job *job, mvm_err *err);
void mvm__balloon_ask(mvm_vm *vm);
void mvm__balloon_figures(mvm_vm *vm);

/* Begins a device on the machine's PCI bus, or, for one that is plugged in, where it can be. */
void mvm__dev_pci(mvm__dev *dev, mvm_qemu_parts *parts, const char *driver);
/* Before that, of one that is there from the start: it goes where it can be taken out later, if the
 * machine has such a place without end. */
void mvm__dev_removable(mvm__dev *dev);
/* A socket on which this process listens, in QEMU's working directory under `name`, which is
 * filled; for a CHARDEV with the key "path". MVM_EIO. */
int mvm__dev_listen(mvm__dev *dev, char name[32], mvm_err *err);
void mvm__dev_unlink(mvm__dev *dev, const char *name); /* removes it; "" is fine */

/* Hands QEMU a descriptor (taken) from `prepare` on. `name`: what the parts call it. */
void mvm__dev_give_fd(mvm__dev *dev, int fd, char name[24]);
/* The end of what `live` began. */
void mvm__dev_settled(mvm__dev *dev);
bool mvm__devs_settling(const mvm__run *run);

/* dev_disk.c */
int mvm__disk_resize(mvm_vm *vm, mvm_record *record, int64_t bytes, mvm__job *job, mvm_err *err);
/* Whether QEMU's words say that the image of this disk is in use; *err says it better. */
bool mvm__disk_locked(const mvm__dev *dev, const char *words, mvm_err *err);

/* dev_share.c: "virtiofs" or "9p", NULL: it has no such share; and how that is confined. */
const char *mvm__share_driver(mvm_vm *vm, const mvm_record *record);
const char *mvm__share_sandbox(const mvm__dev *dev);

/* dev_display.c: what the first display shows, and of what size that is. */
int mvm__screenshot(mvm_vm *vm, const char *path, mvm__job *job, mvm_err *err);
typedef void (*mvm__screen_size_fn)(void *ud, int width, int height, const mvm_err *err);
int mvm__screen_size(mvm__run *run, mvm__screen_size_fn fn, void *ud, mvm_err *err);
bool mvm__display_window(const mvm__run *run); /* asked for */
bool mvm__display_vnc(const mvm__run *run);

/* dev_input.c */
int mvm__input_send(mvm_vm *vm, const mvm_input *events, size_t n, mvm__job *job, mvm_err *err);

/* dev_port.c: two ops of the back end; and, when QEMU has ended, what it left in the sockets. */
size_t mvm__port_write(mvm_vm *vm, mvm_record *device, const void *data, size_t len);
void mvm__port_read(mvm_vm *vm, mvm_record *device, bool on);
void mvm__ports_drain(mvm__run *run);

/* hotplug.c */
void mvm__hotplug_settled(mvm__dev *dev);
int mvm__hotplug_plug(mvm_vm *vm, mvm_record *device, mvm__job *job, mvm_err *err);
int mvm__hotplug_unplug(mvm_vm *vm, mvm_record *device, mvm__job *job, mvm_err *err);
bool mvm__hotplug_event(mvm__run *run, const char *name, const mvm_qmp_value *data);

#endif
