/* SPDX-License-Identifier: MIT */
/* The size of a disk as it is configured and as it becomes. Loop thread only. */
#ifndef MVM_VM_DISK_H
#define MVM_VM_DISK_H

#include "mvm/record.h"

/* What a disk can be grown to: whole blocks of 512 bytes within the limits of `size`. */
int mvm__disk_check_size(int64_t bytes, mvm_err *err);
/* Whether a disk that has `size` can be grown to `bytes`; `name` is what messages call it. */
int mvm__disk_check_growth(const mvm_record *disk, const char *name, int64_t size, int64_t bytes,
                           mvm_err *err);
/* The disk has this size from now on: so has its configuration, where that names one. */
void mvm__disk_note_size(mvm_record *disk, int64_t bytes);

#endif
