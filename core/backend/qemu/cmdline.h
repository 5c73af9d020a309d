/* SPDX-License-Identifier: MIT */
/* The kernel's command line: one table of words, each with its reason. */
#ifndef MVM_QEMU_CMDLINE_H
#define MVM_QEMU_CMDLINE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mvm__cmdline {
    bool own;            /* macvm's own guest; else the user's kernel */
    bool kvm;            /* else TCG */
    bool pc;             /* an x86 machine */
    const char *console; /* the serial port: ttyS0 */
    unsigned serials;    /* how many of them there are; 0 is 1 */
    const char *net;     /* words that configure the network, or NULL */
    int64_t tsc_khz;     /* 0: not known */
    const char *name;    /* of the machine */
    const char *user;    /* boot.cmdline, or NULL */
} mvm__cmdline;

/* To be freed. */
char *mvm__cmdline_build(const mvm__cmdline *in);

#endif
