/* SPDX-License-Identifier: MIT */
/*
 * A shell, without a login, on every terminal of our own guest: the kernel's
 * console, the screen when there is a display, each virtio console. Those that
 * are plugged in later get theirs by the kernel's event. One thread.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "guest/agent.h"

#define TERMINALS_MAX 20
#define SCREEN        "tty1"

extern char **environ;

typedef struct terminal {
    char name[32];     /* below /dev */
    mvm__source input; /* watched while no shell runs */
    pid_t shell;
} terminal;

static terminal terminals[TERMINALS_MAX];
static size_t count;

static void device_path(char out[48], const terminal *t)
{
    snprintf(out, 48, "/dev/%s", t->name);
}

static void spawn_shell(terminal *t)
{
    char host[65] = "macvm", prompt[96], path[48];
    char sh[] = "/bin/sh";
    char *argv[] = {sh, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;

    gethostname(host, sizeof host);
    snprintf(prompt, sizeof prompt, "%.64s:\\w# ", host);
    setenv("PS1", prompt, 1);
    device_path(path, t);
    mvm__spawn_attr(&attr);
    posix_spawn_file_actions_init(&actions);
    /* The first terminal that a session's leader opens becomes its own. */
    posix_spawn_file_actions_addopen(&actions, 0, path, O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&actions, 0, 1);
    posix_spawn_file_actions_adddup2(&actions, 0, 2);
    int rc = posix_spawn(&t->shell, sh, &actions, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    unsetenv("PS1");
    if (rc) {
        t->shell = 0;
        mvm__log(path, strerror(rc));
    }
}

static void on_input(mvm__source *source, uint32_t events)
{
    (void)events;
    mvm__loop_close(source); /* the bytes stay with the terminal: the shell reads them */
    spawn_shell(mvm__container_of(source, terminal, input));
}

/* No-op for a terminal that has its shell, or waits for somebody to type. */
static void serve(const char *name)
{
    terminal *t = terminals;

    while (t < terminals + count && strcmp(t->name, name) != 0)
        t++;
    if (t == terminals + TERMINALS_MAX || strlen(name) >= sizeof t->name)
        return;
    if (t == terminals + count) {
        *t = (terminal){.input.fd = -1};
        strcpy(t->name, name);
        count++;
    }
    if (t->shell == 0 && t->input.fd < 0)
        spawn_shell(t);
}

/* The device behind /dev/console: a shell needs one that can be its terminal. */
static void serve_console(void)
{
    char active[128];

    if (mvm__read_small("/sys/class/tty/console/active", active, sizeof active) <= 0)
        return;
    const char *last = strrchr(active, ' ');
    last = last ? last + 1 : active;
    serve(strcmp(last, "tty0") == 0 ? SCREEN : last);
}

/* The kernel makes the names of several virtio consoles with the first: those that are not there
 * can't be opened. */
static void serve_virtio_consoles(void)
{
    char path[48], name[32];

    for (int i = 0; i < 16; i++) {
        snprintf(name, sizeof name, "hvc%d", i);
        snprintf(path, sizeof path, "/dev/%s", name);
        int fd = open(path, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
            return;
        if (fd < 0)
            continue;
        serve(name);
        close(fd);
    }
}

void mvm__terminals_scan(void)
{
    if (access("/sys/class/graphics/fb0", F_OK) == 0)
        serve(SCREEN);
    serve_virtio_consoles();
}

void mvm__terminals_start(void)
{
    serve_console();
    mvm__terminals_scan();
}

/* The shell has ended: the next one comes when somebody types, so that one which can't live is not
 * started over and over. A terminal that was unplugged can't be opened any more. */
void mvm__terminal_child(pid_t pid)
{
    char path[48];
    terminal *t = terminals;

    while (t < terminals + count && t->shell != pid)
        t++;
    if (t == terminals + count)
        return;
    t->shell = 0;
    device_path(path, t);
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0 && mvm__loop_watch(&t->input, fd, EPOLLIN, on_input))
        mvm__loop_close(&t->input);
}
