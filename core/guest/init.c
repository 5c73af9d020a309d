/* SPDX-License-Identifier: MIT */
/*
 * The agent as pid 1 of macvm's own guest: file systems, modules, host name
 * and network before READY; shells, the power button and what is slow of the
 * network after it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/agent.h"

const char *mvm__cmdline(const char *key, size_t nth, char *value, size_t cap)
{
    static char line[4096];
    size_t n = strlen(key);

    if (!line[0])
        mvm__read_small("/proc/cmdline", line, sizeof line);
    for (const char *at = line; (at = strstr(at, key)) != NULL; at += n) {
        if ((at == line || at[-1] == ' ') && at[n] == '=' && nth-- == 0) {
            size_t len = strcspn(at + n + 1, " ");
            snprintf(value, cap, "%.*s", (int)len, at + n + 1);
            return value;
        }
    }
    return NULL;
}

static void mount_all(void)
{
    static const struct {
        const char *type, *dir, *options;
        unsigned long flags;
    } mounts[] = {
        {"proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
        {"sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
        {"devtmpfs", "/dev", "mode=755", MS_NOSUID},
        {"devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666", MS_NOSUID | MS_NOEXEC},
        {"tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV},
        {"tmpfs", "/run", "mode=755", MS_NOSUID | MS_NODEV},
        {"tmpfs", "/tmp", "mode=1777", MS_NOSUID | MS_NODEV},
    };
    static const char *const links[][2] = {{"/proc/self/fd", "/dev/fd"},
                                           {"/proc/self/fd/0", "/dev/stdin"},
                                           {"/proc/self/fd/1", "/dev/stdout"},
                                           {"/proc/self/fd/2", "/dev/stderr"}};

    for (size_t i = 0; i < MVM_COUNT(mounts); i++) {
        mkdir(mounts[i].dir, 0755);
        if (mount(mounts[i].type, mounts[i].dir, mounts[i].type, mounts[i].flags,
                  mounts[i].options))
            mvm__log(mounts[i].dir, strerror(errno));
    }
    for (size_t i = 0; i < MVM_COUNT(links); i++)
        if (symlink(links[i][0], links[i][1]) && errno != EEXIST)
            mvm__log(links[i][1], strerror(errno));
}

static void set_hostname(void)
{
    char name[65] = "macvm", hosts[256];

    mvm__cmdline("macvm.hostname", 0, name, sizeof name);
    if (sethostname(name, strlen(name)))
        mvm__log("macvm.hostname", strerror(errno));
    snprintf(hosts, sizeof hosts,
             "127.0.0.1 localhost\n127.0.1.1 %s\n::1 localhost ip6-localhost ip6-loopback\n", name);
    mvm__write_small("/etc/hosts", hosts);
    strncat(name, "\n", sizeof name - strlen(name) - 1);
    mvm__write_small("/etc/hostname", name);
}

void mvm__init_early(void)
{
    umask(022);
    if (chdir("/"))
        mvm__log("/", strerror(errno));
    mount_all();
    reboot(RB_DISABLE_CAD); /* ctrl-alt-del comes as SIGINT */
    mvm__modules_boot();
    mvm__modules_scan();
    set_hostname();
    mvm__net_setup();
}

void mvm__init_device(const mvm__uevent *event)
{
    bool all = !*event->subsystem;
    bool removed = strcmp(event->action, "remove") == 0;

    if (event->modalias && !removed)
        mvm__modules_for(event->modalias);
    if (all)
        mvm__modules_scan();
    if (all || (strcmp(event->subsystem, "input") == 0 && !removed))
        mvm__button_scan();
    if (all || ((strcmp(event->subsystem, "graphics") == 0 ||
                 strcmp(event->subsystem, "virtio-ports") == 0) &&
                !removed))
        mvm__terminals_scan();
    if (all || strcmp(event->subsystem, "net") == 0)
        mvm__net_device(all ? NULL : event->interface, removed);
}

void mvm__init_late(void)
{
    mvm__terminals_start();
    mvm__modules_late();
    mvm__button_scan();
    mvm__net_late();
}
