/* SPDX-License-Identifier: MIT */
/* Checking a share: its tag, the directory on the host and the place in the guest. Loop thread
 * only. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "vm/check.h"

#define TAG_MAX   36u   /* virtiofs */
#define MOUNT_MAX 4095u /* Linux: PATH_MAX without the end */

static int check_tag(const mvm_vm *vm, const mvm_record *share, const char *at, mvm_err *err)
{
    mvm_value tag = mvm_record_get(share, "tag");

    if (tag.type == MVM_T_NIL || tag.as.string.len == 0)
        return mvm__check_fail(vm, at, "tag", "as in tag = \"src\"", err, "a share needs a tag");
    if (tag.as.string.len > TAG_MAX)
        return mvm__check_fail(vm, at, "tag", NULL, err, "\"%.64s\" is longer than %u bytes",
                               tag.as.string.ptr, TAG_MAX);
    for (size_t i = 0; i < tag.as.string.len; i++) {
        unsigned char c = (unsigned char)tag.as.string.ptr[i];
        if (c < ' ' || c == 0x7f || c == ',' || c == '/')
            return mvm__check_fail(vm, at, "tag", "letters, digits and the like", err,
                                   "a tag has no %s in it",
                                   c == ','   ? "comma"
                                   : c == '/' ? "slash"
                                              : "control character");
    }
    return 0;
}

static int check_path(const mvm_vm *vm, const mvm_record *share, const char *at, mvm_err *err)
{
    const char *path = mvm_record_str(share, "path");
    struct stat st;

    if (!path)
        return mvm__check_fail(vm, at, "path", "the directory on the host", err,
                               "a share needs a path");
    if (stat(path, &st) != 0)
        return mvm__check_fail(vm, at, "path", NULL, err, "%s: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return mvm__check_fail(vm, at, "path", "share the directory that holds it", err,
                               "%s is not a directory", path);
    if (access(path, R_OK | X_OK) != 0)
        return mvm__check_fail(vm, at, "path", "a directory that you may read and enter", err,
                               "%s: %s", path, strerror(errno));
    return 0;
}

/* One step along a path: past its slashes, the name's length in *len. NULL: it ends here. */
static const char *next_name(const char *at, size_t *len)
{
    at += strspn(at, "/");
    *len = strcspn(at, "/");
    return *len ? at : NULL;
}

/* As texts, but for the number of slashes: only the guest knows its symbolic links. */
static bool same_place(const char *a, const char *b)
{
    size_t na, nb;

    for (;;) {
        a = next_name(a, &na);
        b = next_name(b, &nb);
        if (!a || !b)
            return !a && !b;
        if (na != nb || memcmp(a, b, na) != 0)
            return false;
        a += na;
        b += nb;
    }
}

static bool has_dots(const char *path)
{
    size_t len;

    while ((path = next_name(path, &len)) != NULL) {
        if ((len == 1 && path[0] == '.') || (len == 2 && memcmp(path, "..", 2) == 0))
            return true;
        path += len;
    }
    return false;
}

static int check_mount(const mvm_vm *vm, const mvm_record *share, const char *at, mvm_err *err)
{
    static const char *const hint = "as in mount = \"/mnt/src\"; left out: it is not mounted";
    mvm_value mount = mvm_record_get(share, "mount");
    mvm_record *other;

    if (mount.type == MVM_T_NIL)
        return 0;
    const char *path = mount.as.string.ptr;
    if (path[0] != '/')
        return mvm__check_fail(
            vm, at, "mount", hint, err,
            path[0] ? "\"%.200s\" is not an absolute path of the guest" : "it is empty%.0s", path);
    if (strlen(path) != mount.as.string.len || mount.as.string.len > MOUNT_MAX || has_dots(path) ||
        same_place(path, "/"))
        return mvm__check_fail(vm, at, "mount", hint, err, "\"%.200s\" can't be mounted on", path);
    for (size_t i = 0; (other = mvm__check_next(vm, &i, "share")) != NULL && other != share;) {
        const char *taken = mvm_record_str(other, "mount");
        if (taken && same_place(taken, path))
            return mvm__check_fail(vm, at, "mount", NULL, err,
                                   "the share \"%s\" is mounted at %.200s already",
                                   mvm_record_str(other, "tag"), path);
    }
    return 0;
}

int mvm__check_share(mvm_vm *vm, const mvm_record *share, const char *at, mvm_err *err)
{
    int rc = check_tag(vm, share, at, err);

    if (rc == 0)
        rc = check_path(vm, share, at, err);
    return rc == 0 ? check_mount(vm, share, at, err) : rc;
}
