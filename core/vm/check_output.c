/* SPDX-License-Identifier: MIT */
/*
 * Checking what a machine makes on the host while it runs: the logs of its consoles, the socket of
 * its display. Loop thread only.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "vm/check.h"

#define NAME_MAX_BYTES 80 /* of a socket, whose address is short */

/* A path of a record is absolute. */
static int check_directory(const mvm_vm *vm, const char *path, const char *at, const char *field,
                           mvm_err *err)
{
    MVM_AUTO_FREE char *dir = mvm__strndup(path, (size_t)(strrchr(path, '/') - path) + 1);
    struct stat st;

    if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode))
        return mvm__check_fail(vm, at, field, NULL, err, "there is no directory %s", dir);
    if (access(dir, W_OK) != 0)
        return mvm__check_fail(vm, at, field, NULL, err, "%s can't be made: %s", path,
                               strerror(errno));
    return 0;
}

/* A log may well be a pipe or a terminal. */
int mvm__check_console(mvm_vm *vm, const mvm_record *console, const char *at, mvm_err *err)
{
    const char *path = mvm_record_str(console, "log");
    struct stat st;

    if (!path)
        return 0;
    if (stat(path, &st) != 0)
        return check_directory(vm, path, at, "log", err);
    if (S_ISDIR(st.st_mode))
        return mvm__check_fail(vm, at, "log", "the file that is appended to", err,
                               "%s is a directory", path);
    if (access(path, W_OK) != 0)
        return mvm__check_fail(vm, at, "log", NULL, err, "%s: %s", path, strerror(errno));
    return 0;
}

int mvm__check_display(mvm_vm *vm, const mvm_record *display, const char *at, mvm_err *err)
{
    const char *path = mvm_record_str(display, "vnc");
    struct stat st;

    if (!path)
        return 0;
    if (strlen(strrchr(path, '/') + 1) > NAME_MAX_BYTES)
        return mvm__check_fail(vm, at, "vnc", "its directory may be as deep as you like", err,
                               "the socket's name is longer than %d bytes", NAME_MAX_BYTES);
    if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
        return mvm__check_fail(vm, at, "vnc", "choose a path that is free", err,
                               "%s is there, and is no socket", path);
    return check_directory(vm, path, at, "vnc", err);
}
