/* SPDX-License-Identifier: MIT */
/* The epoll loop of the agent, and the small file and clock helpers that need no state. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "guest/agent.h"

#define TURN_EVENTS 64

static int epoll_fd = -1;

int mvm__loop_init(void)
{
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return epoll_fd < 0 ? -errno : 0;
}

int mvm__loop_watch(mvm__source *source, int fd, uint32_t events,
                    void (*ready)(mvm__source *source, uint32_t events))
{
    struct epoll_event ev = {.events = events | EPOLLET, .data.ptr = source};

    source->fd = fd;
    source->ready = ready;
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

void mvm__loop_close(mvm__source *source)
{
    if (source->fd < 0)
        return;
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
    close(source->fd);
    source->fd = -1;
}

void mvm__loop_turn(bool busy)
{
    struct epoll_event events[TURN_EVENTS];
    int n = epoll_wait(epoll_fd, events, TURN_EVENTS, busy ? 0 : -1);

    for (int i = 0; i < n; i++) {
        mvm__source *source = events[i].data.ptr;
        if (source->fd >= 0) /* closed by an earlier event of this turn otherwise */
            source->ready(source, events[i].events);
    }
}

uint64_t mvm__now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

long mvm__read_small(const char *path, char *out, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;

    out[0] = '\0';
    if (fd < 0)
        return -1;
    while (len < cap - 1) {
        ssize_t n = read(fd, out + len, cap - 1 - len);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    close(fd);
    if (len > 0 && out[len - 1] == '\n')
        len--;
    out[len] = '\0';
    return (long)len;
}

int mvm__write_small(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0)
        return -errno;
    ssize_t n = write(fd, text, strlen(text));
    int rc = n < 0 ? -errno : 0;
    close(fd);
    return rc;
}

void mvm__log(const char *what, const char *why)
{
    char line[512];
    size_t len = 0;
    const char *const parts[] = {"macvm-agent: ", what, why ? ": " : "", why ? why : "", "\n"};

    for (size_t i = 0; i < MVM_COUNT(parts); i++) {
        size_t n = MVM_MIN(strlen(parts[i]), sizeof line - len - (i < MVM_COUNT(parts) - 1));
        memcpy(line + len, parts[i], n);
        len += n;
    }
    /* The kernel's log keeps its own order with the console and needs no reader. */
    int fd = mvm__is_init ? open("/dev/kmsg", O_WRONLY | O_CLOEXEC) : -1;
    if (write(fd >= 0 ? fd : STDERR_FILENO, line, len) < 0) {
        /* Nobody is left to be told. */
    }
    if (fd >= 0)
        close(fd);
}
