/* SPDX-License-Identifier: MIT */
/*
 * A copy is written without a name where the file system has that, so that being killed leaves
 * nothing, or else under a temporary one beside its place; then it takes its place in one step. Any
 * thread.
 */
#include "io/publish.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"

static int failed(const char *path, mvm_err *err)
{
    return mvm_fail(err, MVM_EIO, "can't write %s: %s", path, strerror(errno));
}

static bool write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return true;
}

static bool copy(int from, int to)
{
    char chunk[65536];
    ssize_t n;

    while ((n = read(from, chunk, sizeof(chunk))) != 0) {
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0 && !write_all(to, chunk, (size_t)n))
            return false;
    }
    return true;
}

/* *named: it has the name `temp` already. */
static int open_copy(const char *to, const char *temp, bool *named)
{
    int fd = -1;

#ifdef O_TMPFILE
    const char *slash = strrchr(to, '/');
    MVM_AUTO_FREE char *dir = slash ? mvm__strndup(to, (size_t)(slash - to) + 1) : NULL;
    fd = open(dir ? dir : ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
#else
    (void)to;
#endif
    *named = fd < 0;
    return fd >= 0 ? fd : open(temp, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
}

static bool give_name(int fd, const char *temp, bool *named)
{
    char self[32];

    snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    *named = *named || linkat(AT_FDCWD, self, AT_FDCWD, temp, AT_SYMLINK_FOLLOW) == 0;
    return *named;
}

int mvm__publish(const char *from, const char *to, mvm_err *err)
{
    struct stat st;
    uint64_t salt = 0;
    bool named;

    /* A file that took a device's place would be the device's name from now on. */
    if (stat(to, &st) == 0 && !S_ISREG(st.st_mode))
        return mvm_fail(err, MVM_EIO, "can't write %s: it is %s", to,
                        S_ISDIR(st.st_mode) ? "a directory" : "not a regular file");
    MVM_AUTO_FD int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return mvm_fail(err, MVM_EIO, "can't read %s: %s", from, strerror(errno));
    (void)!getentropy(&salt, sizeof(salt));
    MVM_AUTO_FREE char *temp = mvm__asprintf("%s.macvm-%016llx", to, (unsigned long long)salt);
    MVM_AUTO_FD int out = open_copy(to, temp, &named);
    if (out < 0)
        return failed(to, err);
    if (copy(in, out) && give_name(out, temp, &named) && rename(temp, to) == 0)
        return 0;
    int rc = failed(to, err);
    if (named)
        unlink(temp);
    return rc;
}
