/* SPDX-License-Identifier: MIT */
/*
 * The agent as pid 1 of macvm's own guest: file systems, modules, host name
 * and network before READY; a shell on the console and the power button after it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest/agent.h"

extern char **environ;

static char console_path[160];
static mvm__source console = {.fd = -1}; /* watched while no shell runs */
static pid_t shell;

const char *mvm__cmdline(const char *key, char *value, size_t cap)
{
    static char line[4096];
    size_t n = strlen(key);

    if (!line[0])
        mvm__read_small("/proc/cmdline", line, sizeof line);
    for (const char *at = line; (at = strstr(at, key)) != NULL; at += n) {
        if ((at == line || at[-1] == ' ') && at[n] == '=') {
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

    mvm__cmdline("macvm.hostname", name, sizeof name);
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

void mvm__init_device(const char *subsystem, const char *modalias)
{
    if (modalias)
        mvm__modules_for(modalias);
    else if (!*subsystem)
        mvm__modules_scan();
    else if (strcmp(subsystem, "input") == 0)
        mvm__button_scan();
}

/* ---- the shell on the console -------------------------------------------------------- */

/* The device behind /dev/console: a shell needs one that can be its terminal. */
static bool find_console(void)
{
    char active[128];

    if (mvm__read_small("/sys/class/tty/console/active", active, sizeof active) <= 0)
        return false;
    const char *last = strrchr(active, ' ');
    snprintf(console_path, sizeof console_path, "/dev/%s", last ? last + 1 : active);
    return true;
}

static void spawn_shell(void)
{
    char name[65] = "macvm", prompt[96];
    char sh[] = "/bin/sh";
    char *argv[] = {sh, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;

    gethostname(name, sizeof name);
    snprintf(prompt, sizeof prompt, "%.64s:\\w# ", name);
    setenv("PS1", prompt, 1);
    mvm__spawn_attr(&attr);
    posix_spawn_file_actions_init(&actions);
    /* The first terminal that a session's leader opens becomes its own. */
    posix_spawn_file_actions_addopen(&actions, 0, console_path, O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&actions, 0, 1);
    posix_spawn_file_actions_adddup2(&actions, 0, 2);
    int rc = posix_spawn(&shell, sh, &actions, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    unsetenv("PS1");
    if (rc) {
        shell = 0;
        mvm__log(console_path, strerror(rc));
    }
}

static void on_console(mvm__source *source, uint32_t events)
{
    (void)events;
    mvm__loop_close(source); /* the bytes stay with the terminal: the shell reads them */
    spawn_shell();
}

/* The shell has ended: the next one comes when somebody types, so that one which can't live is not
 * started over and over. */
void mvm__init_child(pid_t pid)
{
    if (pid != shell || shell == 0)
        return;
    shell = 0;
    int fd = open(console_path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0 && mvm__loop_watch(&console, fd, EPOLLIN, on_console))
        mvm__loop_close(&console);
}

void mvm__init_late(void)
{
    if (find_console())
        spawn_shell();
    mvm__modules_late();
    mvm__button_scan();
}
