/* SPDX-License-Identifier: MIT */
/*
 * The machine's power button, an input device that ACPI has made, or on a board
 * without it a GPIO line: pressing it is a request for a clean power-off.
 */
#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/input.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "guest/agent.h"

#define INPUTS "/sys/class/input"

static mvm__source button = {.fd = -1};

static void on_button(mvm__source *source, uint32_t events)
{
    struct input_event ev;
    ssize_t n;

    (void)events;
    while ((n = read(source->fd, &ev, sizeof ev)) == (ssize_t)sizeof ev)
        if (ev.type == EV_KEY && ev.code == KEY_POWER && ev.value == 1)
            mvm__power(false);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        mvm__loop_close(source);
}

void mvm__button_scan(void)
{
    char path[320], name[64];
    DIR *dir = button.fd < 0 ? opendir(INPUTS) : NULL;

    if (!dir)
        return;
    for (struct dirent *e; button.fd < 0 && (e = readdir(dir)) != NULL;) {
        if (strncmp(e->d_name, "event", 5) != 0)
            continue;
        snprintf(path, sizeof path, INPUTS "/%s/device/name", e->d_name);
        if (mvm__read_small(path, name, sizeof name) <= 0 ||
            (strcmp(name, "Power Button") != 0 && strcmp(name, "gpio-keys") != 0))
            continue;
        snprintf(path, sizeof path, "/dev/input/%s", e->d_name);
        int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0 && mvm__loop_watch(&button, fd, EPOLLIN, on_button))
            mvm__loop_close(&button);
    }
    closedir(dir);
}
