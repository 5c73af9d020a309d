/* SPDX-License-Identifier: MIT */
/* Growing a disk while no machine has it: its image on the host. Loop thread only. */
#include "vm/disk.h"

#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "mvm/device.h"
#include "vm/image.h"
#include "vm/record.h"

#define SIZE_MAX_TIB (INT64_C(64) << 40) /* as in the schema */

int mvm__disk_check_size(int64_t bytes, mvm_err *err)
{
    if (bytes >= 512 && bytes <= SIZE_MAX_TIB && bytes % 512 == 0)
        return 0;
    mvm_fail(err, MVM_ECONFIG, "%lld bytes is no size of a disk", (long long)bytes);
    mvm_err_hint(err, "whole blocks of 512 bytes, at most 64T");
    return MVM_ECONFIG;
}

int mvm__disk_check_growth(const mvm_record *disk, const char *name, int64_t size, int64_t bytes,
                           mvm_err *err)
{
    char is[24];

    if (mvm_record_bool(disk, "readonly"))
        return mvm_fail(err, MVM_ECONFIG, "disk %s is readonly", name);
    if (bytes > size)
        return 0;
    mvm_fail(err, MVM_ECONFIG, "disk %s has %s already, and only grows", name,
             mvm_format_size(size, is, sizeof(is)));
    mvm_err_hint(err, "a size that is larger");
    return MVM_ECONFIG;
}

void mvm__disk_note_size(mvm_record *disk, int64_t bytes)
{
    if (mvm_record_has(disk, "size"))
        mvm__record_note(disk, "size", &(mvm_value){.type = MVM_T_INT, .as.integer = bytes});
}

/* A disk without an image that keeps its size has nothing but its configuration to grow. */
static int grow_record(mvm_record *disk, int64_t bytes, mvm_err *err)
{
    return mvm_record_set(disk, "size", &(mvm_value){.type = MVM_T_INT, .as.integer = bytes}, err);
}

int mvm_disk_grow(mvm_record *disk, int64_t bytes, mvm_err *err)
{
    const char *path = mvm_record_str(disk, "path"), *format = mvm_record_str(disk, "format");
    int64_t size = mvm_record_int(disk, "size");

    if (mvm__disk_check_size(bytes, err) != 0)
        return MVM_ECONFIG;
    if (!path)
        return mvm_fail(err, MVM_ECONFIG, "a disk needs a path");
    bool made = access(path, F_OK) == 0 || !mvm_record_bool(disk, "create");
    int64_t in_image = 0;
    int rc = made ? mvm__image_size(path, format, &in_image, err) : 0;
    if (rc != 0)
        return rc;
    if (mvm__disk_check_growth(disk, path, MVM_MAX(size, in_image), bytes, err) != 0)
        return MVM_ECONFIG;
    if (!made || mvm_record_bool(disk, "ephemeral"))
        return grow_record(disk, bytes, err);
    rc = mvm__image_grow(path, format, bytes, err);
    if (rc == 0)
        mvm__disk_note_size(disk, bytes);
    return rc;
}
