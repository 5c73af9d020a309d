/* SPDX-License-Identifier: MIT */
/*
 * Finding the agent's port, and the kernel's device events: they tell when the
 * port appears and, in our own guest, which module a new device wants.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest/agent.h"

#define PORTS "/sys/class/virtio-ports"

/* The device node of the port that carries our name. */
static int find_by_name(char *path, size_t cap)
{
    char file[320], name[64];
    DIR *dir = opendir(PORTS);

    if (!dir)
        return -1;
    int rc = -1;
    for (struct dirent *e; rc && (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(file, sizeof file, PORTS "/%s/name", e->d_name);
        if (mvm__read_small(file, name, sizeof name) > 0 && strcmp(name, MVM_AGENT_PORT) == 0) {
            snprintf(path, cap, "/dev/%s", e->d_name);
            rc = 0;
        }
    }
    closedir(dir);
    if (rc)
        errno = ENOENT;
    return rc;
}

int mvm__port_find(const char *path)
{
    char found[320];

    if (!path) {
        if (find_by_name(found, sizeof found))
            return -1;
        path = found;
    }
    return open(path, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static mvm__source uevents = {.fd = -1};
static void (*on_seen)(const mvm__uevent *event);

/* "ACTION@devpath" and then NAME=value strings. */
static void parse_event(const char *text, size_t len)
{
    static const char *const actions[] = {"add", "change", "bind", "remove"};
    mvm__uevent event = {.action = "", .subsystem = "?"};

    for (size_t at = 0; at < len; at += strlen(text + at) + 1) {
        if (strncmp(text + at, "ACTION=", 7) == 0)
            event.action = text + at + 7;
        else if (strncmp(text + at, "SUBSYSTEM=", 10) == 0)
            event.subsystem = text + at + 10;
        else if (strncmp(text + at, "MODALIAS=", 9) == 0)
            event.modalias = text + at + 9;
        else if (strncmp(text + at, "INTERFACE=", 10) == 0)
            event.interface = text + at + 10;
    }
    for (size_t i = 0; i < MVM_COUNT(actions); i++)
        if (strcmp(event.action, actions[i]) == 0)
            on_seen(&event);
}

static void on_uevents(mvm__source *source, uint32_t events)
{
    char text[8192];

    (void)events;
    for (;;) {
        struct sockaddr_nl from = {0};
        socklen_t size = sizeof from;
        ssize_t n = recvfrom(source->fd, text, sizeof text - 1, 0, (struct sockaddr *)&from, &size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == ENOBUFS) { /* events were lost: look at everything */
            on_seen(&(mvm__uevent){.action = "", .subsystem = ""});
            continue;
        }
        if (n <= 0)
            return;
        text[n] = '\0';
        if (from.nl_pid == 0) /* from the kernel, not from another process */
            parse_event(text, (size_t)n);
    }
}

int mvm__uevents_open(void (*seen)(const mvm__uevent *event))
{
    struct sockaddr_nl addr = {.nl_family = AF_NETLINK, .nl_groups = 1};
    int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);

    if (fd < 0)
        return -errno;
    on_seen = seen;
    if (bind(fd, (struct sockaddr *)&addr, sizeof addr)) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return mvm__loop_watch(&uevents, fd, EPOLLIN, on_uevents);
}
