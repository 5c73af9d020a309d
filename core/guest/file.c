/* SPDX-License-Identifier: MIT */
/*
 * Files of the guest. A read streams a file as it is; a write fills a temporary
 * name beside the target and takes its place at the end. What can't be replaced,
 * a device or a file of /proc or /sys, is written in place.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "guest/agent.h"

#define NEW_PERM  0644
#define PERM_BITS 07777

static void say_started(uint32_t id, int perm)
{
    mvm_agent_writer w = {.data = mvm__out_frame(8), .cap = 8};

    mvm_agent_put_u32(&w, 0);
    mvm_agent_put_u32(&w, (uint32_t)perm);
    mvm__out_commit(MVM_AGENT_STARTED, 0, id, w.len);
}

/* Takes path and fd over. */
static void open_read(uint32_t id, char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    int rc = fd < 0 || fstat(fd, &st) ? errno : S_ISDIR(st.st_mode) ? EISDIR : 0;
    mvm__stream *s = rc ? NULL : mvm__stream_new(id, MVM__READ);

    if (!s) {
        mvm__out_error(id, rc ? rc : ENOMEM, path);
        free(path);
        if (fd >= 0)
            close(fd);
        return;
    }
    s->target = path;
    say_started(id, (int)(st.st_mode & PERM_BITS));
    rc = mvm__tap_open(s, 1, fd);
    if (rc)
        mvm__stream_fail(s, -rc, path);
}

/* Kernel interfaces look like regular files, but can't be replaced. */
static bool is_kernel_file(const char *path)
{
    static const long magics[] = {PROC_SUPER_MAGIC, SYSFS_MAGIC,        DEBUGFS_MAGIC,
                                  TRACEFS_MAGIC,    CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC,
                                  SECURITYFS_MAGIC, 0x62656570 /* configfs */};
    struct statfs fs;

    if (statfs(path, &fs))
        return false;
    for (size_t i = 0; i < MVM_COUNT(magics); i++)
        if ((long)fs.f_type == magics[i])
            return true;
    return false;
}

/* The descriptor to fill, or -1 with errno. Sets s->temp and s->perm unless it writes in place. */
static int open_target(mvm__stream *s, int perm)
{
    struct stat st;
    bool exists = stat(s->target, &st) == 0;

    if (!exists && errno != ENOENT)
        return -1;
    if ((exists && S_ISDIR(st.st_mode)) || s->target[strlen(s->target) - 1] == '/') {
        errno = EISDIR;
        return -1;
    }
    if (exists && (!S_ISREG(st.st_mode) || is_kernel_file(s->target)))
        return open(s->target, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (exists) { /* through a symbolic link: the file is replaced, not the link */
        char *real = realpath(s->target, NULL);
        if (!real)
            return -1;
        free(s->target);
        s->target = real;
    }
    if (asprintf(&s->temp, "%s.macvm-XXXXXX", s->target) < 0) {
        s->temp = NULL;
        return -1;
    }
    int fd = mkostemp(s->temp, O_CLOEXEC);
    if (fd < 0) {
        free(s->temp);
        s->temp = NULL;
        return -1;
    }
    s->perm = perm >= 0 ? perm & PERM_BITS : exists ? (int)(st.st_mode & PERM_BITS) : NEW_PERM;
    /* The owner is kept where that is allowed; a file that changes hands loses no set-id by
     * surprise, as the mode is set at the end. */
    if (exists && fchown(fd, st.st_uid, st.st_gid)) {
        /* Not root: the file becomes ours, as with any tool that replaces files. */
    }
    return fd;
}

static void open_write(uint32_t id, char *path, int perm)
{
    mvm__stream *s = mvm__stream_new(id, MVM__WRITE);

    if (!s) {
        mvm__out_error(id, ENOMEM, path);
        free(path);
        return;
    }
    s->target = path;
    int fd = open_target(s, perm);
    if (fd < 0) {
        mvm__stream_fail(s, errno, s->target);
        return;
    }
    say_started(id, s->temp ? s->perm : -1);
    mvm__sink_open(s, fd);
}

void mvm__open(const mvm_agent_frame *f)
{
    mvm_agent_reader r = {.data = f->payload, .len = f->len};
    uint8_t mode = mvm_agent_get_u8(&r);
    int perm = (int)mvm_agent_get_u32(&r);
    size_t len;
    const char *text = mvm_agent_get_str(&r, &len);

    if (r.bad || r.pos != r.len || mode > 1) {
        mvm__out_error(f->stream, EPROTO, "bad OPEN");
        return;
    }
    if (len == 0 || len >= PATH_MAX) {
        mvm__out_error(f->stream, len ? ENAMETOOLONG : ENOENT, "path of the file");
        return;
    }
    char *path = strndup(text, len);
    if (!path)
        mvm__out_error(f->stream, ENOMEM, NULL);
    else if (mode == 0)
        open_read(f->stream, path);
    else
        open_write(f->stream, path, perm);
}

void mvm__file_end(mvm__stream *s)
{
    int fd = s->sink.source.fd;
    int rc = 0;

    s->sink.source.fd = -1;
    if (s->temp && fchmod(fd, (mode_t)s->perm))
        rc = errno;
    if (close(fd) && rc == 0) /* where network file systems tell of a full disk */
        rc = errno;
    if (rc == 0 && s->temp && rename(s->temp, s->target))
        rc = errno;
    if (rc) {
        mvm__stream_fail(s, rc, s->target);
        return;
    }
    free(s->temp);
    s->temp = NULL;
    mvm__stream_exit(s, 0, 0);
}
