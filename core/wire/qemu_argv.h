/* SPDX-License-Identifier: MIT */
/*
 * QEMU's command line as a pure function of plain data. Why each option is there stands in
 * qemu_argv.c, or, where machines differ, in core/backend/qemu/arch.c; what was measured is in
 * docs/performance.md.
 */
#ifndef MVM_QEMU_ARGV_H
#define MVM_QEMU_ARGV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/qemu_part.h"

typedef struct mvm_qemu_spec {
    const char *binary, *name;
    const char *accel; /* "kvm" | "tcg" */
    const char *machine, *cpu;
    const char *rom;             /* starts the kernel; NULL: QEMU's own choice */
    const char *efi, *variables; /* EFI: paths of its code and its variables */
    unsigned slots;              /* for hot-plug, hot0 ...; 0: one bridge, hot */
    int cpus;
    int64_t memory;                        /* bytes */
    const char *kernel, *initrd, *cmdline; /* kernel NULL: EFI boots a disk */
    const mvm_qemu_parts *const *devices;  /* of each its parts, in the order of the devices */
    size_t ndevices;
    bool sandbox;                     /* this host's QEMU has seccomp */
    bool window, vnc;                 /* show the display */
    int qmp_fd, agent_fd, console_fd; /* connected sockets as numbered in QEMU */
} mvm_qemu_spec;

/* A NULL-terminated list, to be freed by mvm_qemu_argv_free. The spec was checked before. */
char **mvm_qemu_argv(const mvm_qemu_spec *spec);
void mvm_qemu_argv_free(char **argv);

#endif
