/* SPDX-License-Identifier: MIT */
/*
 * The machine's end. As pid 1 the agent ends every process, lets the disks go
 * clean and calls reboot(2); in any other guest the system's own `poweroff` or
 * `reboot` knows the order of things, and reboot(2) is what is left when there
 * is none.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guest/agent.h"

#define GRACE_MS   1000
#define SHARES_MS  4000
#define MOUNTS_MAX 64

extern char **environ;

/* Every process but us is our child by now, or will be: none left is ECHILD. */
static bool children_gone(int wait_ms)
{
    uint64_t until = mvm__now_ns() + (uint64_t)wait_ms * 1000000u;
    sigset_t chld;

    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    for (;;) {
        pid_t pid;
        while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
            continue;
        if (pid < 0 && errno == ECHILD)
            return true;
        uint64_t now = mvm__now_ns();
        if (now >= until)
            return false;
        uint64_t left = until - now;
        struct timespec t = {.tv_sec = (time_t)(left / 1000000000u),
                             .tv_nsec = (long)(left % 1000000000u)};
        sigtimedwait(&chld, NULL, &t);
    }
}

static bool all_gone(int signum, int wait_ms)
{
    kill(-1, signum);
    kill(-1, SIGCONT);
    return children_gone(wait_ms);
}

static bool is_share(const struct mntent *m)
{
    return strcmp(m->mnt_type, "virtiofs") == 0 || strcmp(m->mnt_type, "9p") == 0;
}

/* Disks, or shares; the last mounted first. */
static void unmount_all(bool shares)
{
    char *dirs[MOUNTS_MAX];
    size_t n = 0;
    FILE *f = setmntent("/proc/mounts", "re");

    if (!f)
        return;
    for (struct mntent *m; n < MOUNTS_MAX && (m = getmntent(f)) != NULL;)
        if (is_share(m) == shares && strcmp(m->mnt_dir, "/") != 0 &&
            strcmp(m->mnt_dir, "/proc") != 0 && strcmp(m->mnt_dir, "/dev") != 0 &&
            (dirs[n] = strdup(m->mnt_dir)) != NULL)
            n++;
    endmntent(f);
    while (n > 0) {
        n--;
        if (umount2(dirs[n], 0))
            mount(NULL, dirs[n], NULL, MS_REMOUNT | MS_RDONLY, NULL);
        free(dirs[n]);
    }
}

static bool have_shares(void)
{
    FILE *f = setmntent("/proc/mounts", "re");
    bool have = false;

    for (struct mntent *m; f && !have && (m = getmntent(f)) != NULL;)
        have = is_share(m);
    if (f)
        endmntent(f);
    return have;
}

/* What was written to disks without a file system. */
static void sync_disks(void)
{
    char path[300];
    DIR *dir = opendir("/sys/class/block");

    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;) {
        snprintf(path, sizeof path, "/dev/%s", e->d_name);
        int fd = e->d_name[0] == '.' ? -1 : open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0 && fsync(fd))
            mvm__log(path, strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    if (dir)
        closedir(dir);
}

/* Everything on its disk. sync(2) asks shares too, and one whose server is dead would hold us for
 * ever: where there are any, a child does it, which is let go of after a while, and the disks are
 * seen to one by one. */
static void end_mounts(void)
{
    bool shares = have_shares();

    if (!shares)
        sync();
    unmount_all(false);
    if (shares)
        sync_disks();
    pid_t pid = shares ? fork() : -1;
    if (pid == 0) {
        sync();
        unmount_all(true);
        _exit(0);
    }
    if (pid > 0)
        children_gone(SHARES_MS);
}

static bool run_system_tool(bool restart)
{
    char *argv[] = {restart ? (char[]){"reboot"} : (char[]){"poweroff"}, NULL};
    sigset_t none;
    posix_spawnattr_t attr;
    pid_t pid;

    sigemptyset(&none);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attr, &none);
    int rc = posix_spawnp(&pid, argv[0], NULL, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    return rc == 0;
}

void mvm__power(bool restart)
{
    if (!mvm__may_power) {
        mvm__out_error(0, EPERM, "this agent has no machine to power off");
        return;
    }
    if (!mvm__is_init) {
        if (run_system_tool(restart))
            return;
        if (geteuid() != 0) {
            mvm__out_error(0, EPERM, restart ? "reboot" : "poweroff");
            return;
        }
    }
    if (mvm__is_init) { /* elsewhere the kernel may refuse, and all goes on */
        mvm__streams_drop_all();
        mvm__session_sent_all();
    }
    if (mvm__is_init && !all_gone(SIGHUP, 0) && !all_gone(SIGTERM, GRACE_MS))
        all_gone(SIGKILL, GRACE_MS);
    if (mvm__is_init)
        end_mounts();
    else
        sync();
    reboot(restart ? RB_AUTOBOOT : RB_POWER_OFF);
    int why = errno;
    mvm__log("reboot(2)", strerror(why));
    if (!mvm__is_init) /* whom else a signal may have asked, and nothing is left to go on with */
        mvm__out_error(0, why, restart ? "reboot" : "poweroff");
}
