/* SPDX-License-Identifier: MIT */
/*
 * QEMU's command line as a pure function of plain data. Why each option is there stands in
 * qemu_argv.c and nowhere else; what was measured is in docs/performance.md.
 */
#ifndef MVM_QEMU_ARGV_H
#define MVM_QEMU_ARGV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mvm_qemu_disk {
    const char *path;
    const char *format; /* "raw" | "qcow2" */
    const char *serial; /* at most MVM_QEMU_SERIAL_MAX bytes */
    bool readonly;
} mvm_qemu_disk;

#define MVM_QEMU_SERIAL_MAX 20 /* of a virtio block device */

typedef struct mvm_qemu_forward {
    const char *host; /* "[tcp:|udp:]addr:port" */
    int port;         /* the guest's */
} mvm_qemu_forward;

typedef struct mvm_qemu_net {
    const char *mac;
    const mvm_qemu_forward *forwards;
    size_t nforwards;
} mvm_qemu_net;

typedef struct mvm_qemu_spec {
    const char *binary, *name;
    const char *accel;    /* "kvm" | "tcg" */
    const char *firmware; /* path of a ROM; NULL: QEMU's BIOS */
    int cpus;
    int64_t memory;                        /* bytes */
    const char *kernel, *initrd, *cmdline; /* kernel NULL: the firmware boots the first disk */
    const mvm_qemu_disk *disks;
    size_t ndisks;
    const mvm_qemu_net *nets;
    size_t nnets;
    bool entropy;
    bool sandbox;                     /* this host's QEMU has seccomp */
    int qmp_fd, agent_fd, console_fd; /* connected sockets as numbered in QEMU */
} mvm_qemu_spec;

/* A NULL-terminated list, to be freed by mvm_qemu_argv_free. The spec was checked before. */
char **mvm_qemu_argv(const mvm_qemu_spec *spec);
void mvm_qemu_argv_free(char **argv);

/* The stable address of the index-th network device of a machine that names none:
 * locally administered, in QEMU's range 52:54:00. */
void mvm_qemu_mac(const char *name, size_t index, char out[18]);

#endif
