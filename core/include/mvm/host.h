/* SPDX-License-Identifier: MIT */
/*
 * What this host can do: the facts behind `macvm doctor`, vm:can and error hints.
 */
#ifndef MVM_HOST_H
#define MVM_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mvm_finding {
    const char *what; /* "qemu", "accelerator", "guest image", ... */
    bool ok;
    char detail[256]; /* version and path, or what is missing */
    char cure[160]; /* what to do about it; of one that is ok: what would be better still, or "" */
} mvm_finding;

/* Looks afresh; fills at most `cap` findings and returns how many there are. May run
 * `qemu --version`. */
size_t mvm_host_findings(mvm_finding *out, size_t cap);

int mvm_host_cpus(void);
int64_t mvm_host_memory(void);   /* bytes of RAM */
const char *mvm_host_arch(void); /* "x86_64" | "aarch64" */
const char *mvm_version(void);   /* macvm's own version, "0.1.0" */

/* Where macvm's own small Linux guest of `arch` is, when it has been built; `name` NULL: the usual
 * one, else a further one. false: *kernel and *initrd hold the paths where it was looked for.
 * Buffers of at least 512 bytes. */
bool mvm_guest_find(const char *arch, const char *name, char *kernel, char *initrd, size_t cap);
/* The guests with a name that have been built, for whatever architecture, sorted; false past the
 * end. Looks afresh each time. */
typedef struct mvm_guest {
    char arch[16], name[64];
} mvm_guest;
bool mvm_guest_at(size_t i, mvm_guest *guest);
/* Is this kernel that of one of macvm's own guests? */
bool mvm_guest_owns(const char *kernel);

#endif
