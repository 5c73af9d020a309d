/* SPDX-License-Identifier: MIT */
/*
 * Who uses an image. QEMU, and all that is made from it, keeps locks on bytes of the files that it
 * opens: 100 + n says that it has a permission, 200 + n that it bears no other who has it (its
 * block/file-posix.c). Looking at them says before a start what QEMU would only say after. It is
 * QEMU's own locking that makes sure: this is for a better message. Any thread.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "vm/image.h"

enum { HAS = 100, BARS = 200, PERMISSIONS = 5 };
enum { READ, WRITE }; /* the others don't matter here */

#ifdef F_OFD_GETLK
static bool held(int fd, int byte)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

bool mvm__image_lock(int fd)
{
    for (int base = HAS; base <= BARS; base += BARS - HAS) {
        struct flock lock = {
            .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = base, .l_len = PERMISSIONS};
        if (fcntl(fd, F_OFD_SETLK, &lock) != 0 && (errno == EAGAIN || errno == EACCES))
            return false; /* a file system without locks has none to respect */
    }
    return true;
}
#else
static bool held(int fd, int byte)
{
    (void)fd;
    (void)byte;
    return false;
}

bool mvm__image_lock(int fd)
{
    (void)fd;
    return true;
}
#endif

/* ---- the process ------------------------------------------------------------------------ */

static bool has_open(const char *pid, const struct stat *file)
{
    char path[300];
    struct stat st;
    bool found = false;

    snprintf(path, sizeof(path), "/proc/%s/fd", pid);
    DIR *fds = opendir(path);
    if (!fds)
        return false; /* another user's, or gone */
    for (struct dirent *e; !found && (e = readdir(fds)) != NULL;) {
        found = isdigit((unsigned char)e->d_name[0]) &&
                fstatat(dirfd(fds), e->d_name, &st, 0) == 0 && st.st_dev == file->st_dev &&
                st.st_ino == file->st_ino;
    }
    closedir(fds);
    return found;
}

/* A process other than this one that has the file open: "process 71 (qemu-system-x86)". */
static bool find_user(const struct stat *file, char *out, size_t cap)
{
    DIR *proc = opendir("/proc");
    bool found = false;

    if (!proc)
        return false;
    for (struct dirent *e; !found && (e = readdir(proc)) != NULL;) {
        char path[300], name[32] = "";
        if (!isdigit((unsigned char)e->d_name[0]) || atol(e->d_name) == (long)getpid() ||
            !has_open(e->d_name, file))
            continue;
        snprintf(path, sizeof(path), "/proc/%s/comm", e->d_name);
        FILE *comm = fopen(path, "re");
        if (comm && fgets(name, sizeof(name), comm))
            name[strcspn(name, "\n")] = '\0';
        if (comm)
            fclose(comm);
        snprintf(out, cap, "process %.16s%s%.31s%s", e->d_name, name[0] ? " (" : "", name,
                 name[0] ? ")" : "");
        found = true;
    }
    closedir(proc);
    return found;
}

int mvm__image_free(const char *path, bool write, mvm_err *err)
{
    char who[80] = "another process";
    struct stat st;
    MVM_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) != 0)
        return 0;
    bool written = held(fd, HAS + WRITE);
    if (!written && !held(fd, BARS + (write ? WRITE : READ)))
        return 0;
    bool found = find_user(&st, who, sizeof(who));
    mvm_fail(err, MVM_ECONFIG, "%s is in use by %s, which %s", path, who,
             written ? "writes to it" : "reads it and lets nobody write");
    mvm_err_hint(err, found
                          ? "an image has one user, unless every use of it is readonly or ephemeral"
                          : "an image has one user; this one is of another user of this host");
    return MVM_ECONFIG;
}
