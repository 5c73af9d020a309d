/* SPDX-License-Identifier: MIT */
/* Disk images that macvm makes. An image that exists is never touched. */
#ifndef MVM_QEMU_DISK_H
#define MVM_QEMU_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "mvm/status.h"

/* Makes an empty image ("raw" or "qcow2") of `size` bytes, sparse. A file that is there already:
 * success, nothing is done. MVM_EIO when it can't be made; then nothing is left. */
int mvm__disk_create(const char *path, const char *format, int64_t size, mvm_err *err);

/* An empty qcow2 image to be laid over another, that nobody finds: it has no name, so it is gone
 * with the last process that has it open, however that ends. */
typedef struct mvm__overlay {
    int fd;     /* -1: none. Stays open, as `path` is made of it */
    char *path; /* under which a child of ours can open it */
    bool named; /* there are no nameless files here: `path` is to be removed */
} mvm__overlay;

/* `dir`: a private directory, for want of a better place. MVM_EIO. */
int mvm__overlay_make(const char *dir, int64_t size, mvm__overlay *out, mvm_err *err);
void mvm__overlay_free(mvm__overlay *overlay); /* leaves it empty */

#endif
