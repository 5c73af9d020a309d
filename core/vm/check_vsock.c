/* SPDX-License-Identifier: MIT */
/* Checking a socket device. Loop thread only. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "mvm/vsock.h"
#include "vm/check.h"

/* A CID is an address within the lab. */
static int check_cid(mvm_vm *vm, const mvm_record *vsock, const char *at, mvm_err *err)
{
    int64_t cid = mvm_record_int(vsock, "cid");

    mvm__list_each (l, &vm->lab->vms) {
        const mvm_vm *other = mvm__container_of(l, mvm_vm, link);
        if (cid != 0 && other != vm && mvm_vsock_cid(other) == cid)
            return mvm__check_fail(vm, at, "cid", "left out: one that is free", err,
                                   "%lld is the machine \"%s\" already", (long long)cid,
                                   other->name);
    }
    return 0;
}

#define NAME_MAX_BYTES 80 /* of the face's last part: `_4294967294` comes after it */

/* The socket is made at start, in a directory that is there. */
static int check_unix(mvm_vm *vm, const mvm_record *vsock, const char *at, mvm_err *err)
{
    const char *path = mvm_record_str(vsock, "unix");
    struct stat st;

    if (!path)
        return 0;
    if (mvm_record_bool(vsock, "kernel"))
        return mvm__check_fail(vm, at, "unix", "leave out one of them", err,
                               "with `kernel = true` programs reach the guest by AF_VSOCK, there "
                               "is no unix socket");
    if (strlen(strrchr(path, '/') + 1) > NAME_MAX_BYTES)
        return mvm__check_fail(vm, at, "unix", "its directory may be as deep as you like", err,
                               "the socket's name is longer than %d bytes", NAME_MAX_BYTES);
    MVM_AUTO_FREE char *dir = mvm__strndup(path, (size_t)(strrchr(path, '/') - path) + 1);
    if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode))
        return mvm__check_fail(vm, at, "unix", NULL, err, "there is no directory %s", dir);
    if (access(dir, W_OK) != 0)
        return mvm__check_fail(vm, at, "unix", NULL, err, "you may not write to %s", dir);
    if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
        return mvm__check_fail(vm, at, "unix", "choose a path that is free", err,
                               "%s is there, and is no socket", path);
    return 0;
}

int mvm__check_vsock(mvm_vm *vm, const mvm_record *vsock, const char *at, mvm_err *err)
{
    int rc = check_cid(vm, vsock, at, err);

    return rc ? rc : check_unix(vm, vsock, at, err);
}
