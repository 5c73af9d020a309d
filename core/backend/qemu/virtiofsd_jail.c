/* SPDX-License-Identifier: MIT */
/*
 * Entering the namespaces of a virtiofsd, and finding out beforehand how much of that the host
 * allows: containers and administrators forbid one or the other, and virtiofsd would only find out
 * when QEMU has connected to it. What runs in a child makes async-signal-safe calls only.
 */
#include "backend/qemu/virtiofsd_jail.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __linux__

#include <sched.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/syscall.h>

/* Linux 5.12; the C library of Debian 12 knows the number, older headers do not. */
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#define RECURSIVE   0x8000 /* AT_RECURSIVE */
#define ATTR_RDONLY 1      /* MOUNT_ATTR_RDONLY */

struct attributes {
    uint64_t set, clear, propagation, userns;
};

void mvm__jail_init(mvm__jail *jail, const char *path, bool readonly)
{
    *jail = (mvm__jail){.path = path, .readonly = readonly, .uid = geteuid(), .gid = getegid()};
    jail->own_user = jail->uid != 0;
}

static int put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
    int error = n < 0 ? errno : 0;

    if (fd >= 0)
        close(fd);
    return error;
}

/* "0 1000 1": root in there is this user out here, and nobody else is anybody. */
static int put_map(const char *path, unsigned id)
{
    char line[32] = "0 ", digits[16];
    size_t n = 0, at = 2;

    do
        digits[n++] = (char)('0' + id % 10);
    while ((id /= 10) > 0);
    while (n > 0)
        line[at++] = digits[--n];
    memcpy(line + at, " 1", 3);
    return put(path, line);
}

static int enter_user(const mvm__jail *jail)
{
    int error = unshare(CLONE_NEWUSER) == 0 ? 0 : errno;

    if (!error)
        error = put("/proc/self/setgroups", "deny");
    if (!error)
        error = put_map("/proc/self/uid_map", jail->uid);
    return error ? error : put_map("/proc/self/gid_map", jail->gid);
}

/* With all that is mounted below it. */
static int make_readonly(const char *path)
{
    const struct attributes attributes = {.set = ATTR_RDONLY};

    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return errno;
    /* The root is a mount already, and another on top of it would not be found by its name. */
    if (strcmp(path, "/") != 0 && mount(path, path, NULL, MS_BIND | MS_REC, NULL) != 0)
        return errno;
    return syscall(SYS_mount_setattr, -1, path, RECURSIVE, &attributes, sizeof(attributes)) == 0
               ? 0
               : errno;
}

int mvm__jail_enter(const void *arg)
{
    const mvm__jail *jail = arg;
    int error = jail->own_user ? enter_user(jail) : 0;

    return error || !jail->readonly ? error : make_readonly(jail->path);
}

/* A file system of processes can only be mounted from within their namespace. */
static bool can_mount_proc(void)
{
    int status = 1;
    pid_t pid = fork();

    if (pid == 0)
        _exit(mount("proc", "/proc", "proc", MS_NODEV | MS_NOEXEC | MS_NOSUID | MS_RELATIME,
                    NULL) == 0
                  ? 0
                  : 1);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int probe_in_child(const mvm__jail *jail)
{
    if (mvm__jail_enter(jail) != 0)
        return MVM__JAIL_NOTHING;
    /* The root itself can't become the root of a namespace: it is that already. */
    if (strcmp(jail->path, "/") != 0 && unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET) == 0 &&
        mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) == 0 && can_mount_proc())
        return MVM__JAIL_NAMESPACE;
    return chroot(jail->path) == 0 ? MVM__JAIL_CHROOT : MVM__JAIL_ENTER;
}

enum mvm__jail_room mvm__jail_probe(const mvm__jail *jail)
{
    int status = 0;
    sigset_t all, old;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pid_t pid = fork();
    if (pid == 0)
        _exit(probe_in_child(jail));
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return pid > 0 && WIFEXITED(status) ? (enum mvm__jail_room)WEXITSTATUS(status)
                                        : MVM__JAIL_NOTHING;
}

#else

void mvm__jail_init(mvm__jail *jail, const char *path, bool readonly)
{
    *jail = (mvm__jail){.path = path, .readonly = readonly, .uid = geteuid(), .gid = getegid()};
}

int mvm__jail_enter(const void *arg)
{
    (void)arg;
    return ENOSYS;
}

enum mvm__jail_room mvm__jail_probe(const mvm__jail *jail)
{
    (void)jail;
    return MVM__JAIL_NOTHING;
}

#endif
