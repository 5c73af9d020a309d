/* SPDX-License-Identifier: MIT */
/* Checking a disk: its image, and that nobody else would write to that. Loop thread only. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "mvm/log.h"
#include "vm/check.h"
#include "vm/image.h"

/* Only read: by any number of machines at once. */
static bool only_read(const mvm_record *disk)
{
    return mvm_record_bool(disk, "readonly") || mvm_record_bool(disk, "ephemeral");
}

static int check_fields(const mvm_vm *vm, const mvm_record *disk, const char *at, mvm_err *err)
{
    const char *id = mvm_record_str(disk, "id");

    if (!mvm_record_str(disk, "path"))
        return mvm__check_fail(vm, at, "path", "the image on the host", err, "a disk needs a path");
    if (id && strlen(id) > 20)
        return mvm__check_fail(vm, at, "id", NULL, err,
                               "\"%s\" is longer than the 20 bytes of a serial number", id);
    if (mvm_record_int(disk, "size") % 512 != 0)
        return mvm__check_fail(vm, at, "size", NULL, err,
                               "the size of a disk is a multiple of its blocks of 512 bytes");
    return 0;
}

/* The directory of a path, with its slash. */
static char *directory(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? mvm__strndup(path, (size_t)(slash - path) + 1) : mvm__strdup("./");
}

/* An image that create = true is going to make. */
static int check_missing(const mvm_vm *vm, const mvm_record *disk, const char *at, int error,
                         mvm_err *err)
{
    const char *path = mvm_record_str(disk, "path");

    if (error == ENOENT && !mvm_record_bool(disk, "create"))
        return mvm__check_fail(vm, at, "path", "create = true with a size makes it", err, "%s: %s",
                               path, strerror(error));
    if (error != ENOENT)
        return mvm__check_fail(vm, at, "path", NULL, err, "%s: %s", path, strerror(error));
    if (!mvm_record_has(disk, "size"))
        return mvm__check_fail(vm, at, "size", "as in size = \"4G\"", err,
                               "a disk that is created needs a size");
    MVM_AUTO_FREE char *dir = directory(path);
    if (access(dir, W_OK | X_OK) != 0)
        return mvm__check_fail(vm, at, "path", NULL, err, "%s can't be made: %s", path,
                               strerror(errno));
    return 0;
}

static int check_rights(const mvm_vm *vm, const mvm_record *disk, const char *at, mvm_err *err)
{
    const char *path = mvm_record_str(disk, "path");
    char field[64];

    snprintf(field, sizeof(field), "%s.path", at);
    if (mvm__check_readable(vm, path, field, err) != 0)
        return MVM_ECONFIG;
    if (only_read(disk) || access(path, W_OK) == 0)
        return 0;
    return mvm__check_fail(vm, at, "path", "readonly = true, or a file that you may write", err,
                           "%s: %s", path, strerror(errno));
}

static int check_size(const mvm_vm *vm, const mvm_record *disk, const char *at, mvm_err *err)
{
    const char *path = mvm_record_str(disk, "path");
    const char *format = mvm_record_str(disk, "format");
    int64_t wanted = mvm_record_int(disk, "size"), size = 0;
    char is[24], will[24], hint[64];
    mvm_err why;

    if (mvm__image_size(path, format, &size, &why) != 0)
        return mvm__check_fail(vm, at, why.code == MVM_ECONFIG ? "format" : "path",
                               why.hint[0] ? why.hint : NULL, err, "%s", why.message);
    if (!mvm_record_has(disk, "size") || wanted == size)
        return 0;
    mvm_format_size(size, is, sizeof(is));
    mvm_format_size(wanted, will, sizeof(will));
    snprintf(hint, sizeof(hint), "size = \"%s\", or none", is);
    if (wanted < size)
        return mvm__check_fail(vm, at, "size", hint, err,
                               "%s would shrink %s, which has %s: a disk only grows", will, path,
                               is);
    if (mvm_record_bool(disk, "readonly"))
        return mvm__check_fail(vm, at, "size", hint, err,
                               "%s has %s, and is not grown to %s as it is readonly", path, is,
                               will);
    return 0;
}

/* A guest that was given the image as raw may have written what looks like that: no error. */
static void note_format(const mvm_vm *vm, const mvm_record *disk, const char *at)
{
    const char *path = mvm_record_str(disk, "path");

    if (strcmp(mvm_record_str(disk, "format"), "raw") == 0 && mvm__image_like_qcow2(path))
        mvm_log(MVM_LOG_WARN, "%s: %s: %s is used as raw, and begins like a qcow2 image", vm->name,
                at, path);
}

#ifdef O_DIRECT
/* Of an image that is to be made, its directory is asked. */
static int check_direct(const mvm_vm *vm, const mvm_record *disk, const char *at, mvm_err *err)
{
    const char *path = mvm_record_str(disk, "path");
    MVM_AUTO_FREE char *dir = directory(path);

    if (strcmp(mvm_record_str(disk, "cache"), "uncached") != 0)
        return 0;
    MVM_AUTO_FD int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    bool refused = fd < 0 && errno == EINVAL;
#ifdef O_TMPFILE
    if (fd < 0 && errno == ENOENT) {
        MVM_AUTO_FD int probe = open(dir, O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);
        refused = probe < 0 && errno == EINVAL;
    }
#endif
    if (!refused)
        return 0;
    return mvm__check_fail(vm, at, "cache", "cache = \"cached\", or another place for the image",
                           err, "the file system of %s can't do without the page cache", path);
}
#else
static int check_direct(const mvm_vm *vm, const mvm_record *disk, const char *at, mvm_err *err)
{
    (void)vm;
    (void)disk;
    (void)at;
    (void)err;
    return 0;
}
#endif

static int check_file(const mvm_vm *vm, const mvm_record *disk, const char *at, mvm_err *err)
{
    struct stat st;

    if (stat(mvm_record_str(disk, "path"), &st) != 0)
        return check_missing(vm, disk, at, errno, err);
    if (check_rights(vm, disk, at, err) != 0 || check_size(vm, disk, at, err) != 0)
        return MVM_ECONFIG;
    note_format(vm, disk, at);
    return 0;
}

static bool same_inode(const char *a, const char *b)
{
    struct stat sa, sb;

    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
           sa.st_ino == sb.st_ino;
}

/* Also of two that are not there yet. */
static bool same_file(const char *a, const char *b)
{
    MVM_AUTO_FREE char *dir_a = directory(a);
    MVM_AUTO_FREE char *dir_b = directory(b);
    const char *slash_a = strrchr(a, '/'), *slash_b = strrchr(b, '/');

    if (strcmp(slash_a ? slash_a + 1 : a, slash_b ? slash_b + 1 : b) == 0 &&
        same_inode(dir_a, dir_b))
        return true;
    return same_inode(a, b);
}

#define ONE_USER "an image has one user, unless every use of it is readonly or ephemeral"

/* One image, writable at one of two places, would be destroyed. */
static int check_image_free(const mvm_vm *vm, const mvm_record *disk, const char *at,
                            const mvm_vm *other, const mvm_record *own_limit, mvm_err *err)
{
    mvm_record *d;

    for (size_t i = 0; (d = mvm__check_next(other, &i, "disk")) != NULL && d != own_limit;) {
        const char *path = mvm_record_str(d, "path");
        if (!path || (only_read(d) && only_read(disk)) ||
            !same_file(path, mvm_record_str(disk, "path")))
            continue;
        if (other == vm)
            return mvm__check_fail(vm, at, "path", ONE_USER, err, "two disks use %s", path);
        return mvm__check_fail(vm, at, "path", ONE_USER, err,
                               "%s is a disk of the machine \"%s\", which is %s", path, other->name,
                               mvm_state_word(other->state));
    }
    return 0;
}

int mvm__check_disk(mvm_vm *vm, const mvm_record *disk, const char *at, mvm_err *err)
{
    if (check_fields(vm, disk, at, err) != 0 || check_file(vm, disk, at, err) != 0 ||
        check_direct(vm, disk, at, err) != 0 || check_image_free(vm, disk, at, vm, disk, err) != 0)
        return MVM_ECONFIG;
    mvm__list_each (l, &vm->lab->vms) {
        const mvm_vm *other = mvm__container_of(l, mvm_vm, link);
        if (other != vm && mvm_vm_up(other) &&
            check_image_free(vm, disk, at, other, NULL, err) != 0)
            return MVM_ECONFIG;
    }
    return 0;
}
