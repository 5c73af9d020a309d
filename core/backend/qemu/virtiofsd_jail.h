/* SPDX-License-Identifier: MIT */
/*
 * The namespaces that a virtiofsd is started in. An ordinary user is root in a user namespace of
 * its own; a share that is only to be read is mounted so by the kernel, in a mount namespace that
 * nobody else sees, so that no mistake of virtiofsd and nothing that the guest does can write to
 * it. Any thread.
 */
#ifndef MVM_QEMU_VIRTIOFSD_JAIL_H
#define MVM_QEMU_VIRTIOFSD_JAIL_H

#include <stdbool.h>
#include <sys/types.h>

typedef struct mvm__jail {
    const char *path; /* the share, absolute, without symbolic links */
    bool readonly;
    bool own_user; /* a user namespace, where this user is root */
    uid_t uid;
    gid_t gid;
} mvm__jail;

/* What a process that has entered can do further. */
enum mvm__jail_room {
    MVM__JAIL_NOTHING,   /* it can't even enter */
    MVM__JAIL_ENTER,     /* enter, and no more */
    MVM__JAIL_CHROOT,    /* change its root */
    MVM__JAIL_NAMESPACE, /* make namespaces for mounts, processes and the network, with a /proc */
};

/* For this user and this share. `path` is borrowed. */
void mvm__jail_init(mvm__jail *jail, const char *path, bool readonly);

/* Of a child of this process, before its exec: the `enter` of mvm__proc_spec. */
int mvm__jail_enter(const void *arg);

/* Tries it in a child that ends at once. */
enum mvm__jail_room mvm__jail_probe(const mvm__jail *jail);

#endif
