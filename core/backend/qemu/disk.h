/* SPDX-License-Identifier: MIT */
/* Disk images that macvm makes. An image that exists is never touched. */
#ifndef MVM_QEMU_DISK_H
#define MVM_QEMU_DISK_H

#include <stdint.h>

#include "mvm/status.h"

/* Makes an empty image ("raw" or "qcow2") of `size` bytes, sparse. A file that is there already:
 * success, nothing is done. MVM_EIO when it can't be made; then nothing is left. */
int mvm__disk_create(const char *path, const char *format, int64_t size, mvm_err *err);

#endif
