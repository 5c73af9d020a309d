/* SPDX-License-Identifier: MIT */
/*
 * Private run-time directories. A living owner holds a lock on the file
 * `lock` inside; the kernel drops it however the owner ends, so an unlocked
 * directory is a leftover and the next owner removes it. Symbolic links are
 * never followed.
 */
#include "io/rundir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"

struct mvm__rundir {
    char *path, *name;
    int parent; /* fd of the directory that holds it */
    int lock;
};

static char *parent_path(void)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");

    if (runtime && runtime[0] == '/')
        return mvm__asprintf("%s/macvm", runtime);
    return mvm__asprintf("/tmp/macvm-%u", (unsigned)geteuid());
}

/* An fd of the directory, made when missing; it must be ours and nobody else's. */
static int open_parent(const char *path, mvm_err *err)
{
    struct stat st;

    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        mvm_fail(err, MVM_EIO, "can't make %s: %s", path, strerror(errno));
        mvm_err_hint(err, "set XDG_RUNTIME_DIR to a directory of yours");
        return -1;
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        mvm_fail(err, MVM_EIO, "can't open %s: %s", path, strerror(errno));
    } else if (st.st_uid != geteuid() || (st.st_mode & 077) != 0) {
        mvm_fail(err, MVM_EIO, "%s is not private", path);
        mvm_err_hint(err, "it must be yours, with mode 0700");
    } else {
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Removes all inside the directory `fd` (which it closes), at most `depth` levels down. */
static void empty_directory(int fd, int depth)
{
    DIR *dir = fdopendir(fd);

    if (!dir) {
        close(fd);
        return;
    }
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (unlinkat(fd, e->d_name, 0) == 0 || depth == 0)
            continue;
        int sub = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (sub >= 0) {
            empty_directory(sub, depth - 1);
            unlinkat(fd, e->d_name, AT_REMOVEDIR);
        }
    }
    closedir(dir);
}

static void remove_tree(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd >= 0)
        empty_directory(fd, 8);
    unlinkat(parent, name, AT_REMOVEDIR);
}

/* Its lock, taken; -1 when another holds it or there is none to be had. */
static int take_lock(int parent, const char *name, int flags)
{
    MVM_AUTO_FREE char *path = mvm__asprintf("%s/lock", name);
    int fd = openat(parent, path, O_RDWR | O_NOFOLLOW | O_CLOEXEC | flags, 0600);

    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static void sweep(int parent)
{
    int fd = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

    if (!dir) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (strncmp(e->d_name, "lab-", 4) != 0)
            continue;
        MVM_AUTO_FD int lock = take_lock(parent, e->d_name, O_CREAT);
        if (lock >= 0)
            remove_tree(parent, e->d_name);
    }
    closedir(dir);
}

mvm__rundir *mvm__rundir_new(mvm_err *err)
{
    MVM_AUTO_FREE char *parent = parent_path();
    MVM_AUTO_FD int fd = open_parent(parent, err);

    if (fd < 0)
        return NULL;
    /* One sweeps or makes at a time: between mkdir and its lock a directory looks abandoned. */
    if (flock(fd, LOCK_EX) != 0) {
        mvm_fail(err, MVM_EIO, "can't lock %s: %s", parent, strerror(errno));
        return NULL;
    }
    sweep(fd);
    char name[64];
    unsigned n = 0;
    int rc;
    do
        snprintf(name, sizeof(name), "lab-%ld-%u", (long)getpid(), ++n);
    while ((rc = mkdirat(fd, name, 0700)) != 0 && errno == EEXIST);
    int lock = rc == 0 ? take_lock(fd, name, O_CREAT) : -1;
    if (lock < 0) {
        mvm_fail(err, MVM_EIO, "can't make %s/%s: %s", parent, name, strerror(errno));
        if (rc == 0)
            remove_tree(fd, name);
        return NULL;
    }
    flock(fd, LOCK_UN);
    mvm__rundir *dir = mvm__alloc(sizeof(*dir));
    *dir = (mvm__rundir){.path = mvm__asprintf("%s/%s", parent, name),
                         .name = mvm__strdup(name),
                         .parent = mvm__steal_fd(fd),
                         .lock = lock};
    return dir;
}

void mvm__rundir_list(void (*found)(void *ud, long pid, const char *path), void *ud)
{
    MVM_AUTO_FREE char *parent = parent_path();
    struct stat st;
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 && fstat(fd, &st) == 0 && st.st_uid == geteuid() ? fdopendir(fd) : NULL;

    if (!dir) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        long pid;
        if (sscanf(e->d_name, "lab-%ld-", &pid) != 1 || pid <= 0)
            continue;
        MVM_AUTO_FREE char *path = mvm__asprintf("%s/%s", parent, e->d_name);
        found(ud, pid, path);
    }
    closedir(dir);
}

const char *mvm__rundir_path(const mvm__rundir *dir)
{
    return dir->path;
}

void mvm__rundir_free(mvm__rundir *dir)
{
    if (!dir)
        return;
    remove_tree(dir->parent, dir->name);
    close(dir->lock);
    close(dir->parent);
    mvm__free(dir->path);
    mvm__free(dir->name);
    mvm__free(dir);
}
