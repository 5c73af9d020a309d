/* SPDX-License-Identifier: MIT */
/*
 * The byte pump: one uv_poll_t whose events follow what is wanted. Reads are limited per turn, so
 * that one busy peer does not starve the others of the loop. Runs on the loop's thread.
 */
#include "io/pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base.h"
#include "io/loop.h"

#define CHUNK         65536u
#define CHUNKS_A_TURN 4

struct mvm__pipe {
    uv_poll_t poll;
    int fd;     /* -1: closed */
    int events; /* armed now */
    bool reading, want_write, gone, closed;
    const mvm__pipe_ops *ops;
    void *ud;
    char chunk[CHUNK];
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void arm(mvm__pipe *p)
{
    int events =
        (p->reading && !p->gone ? UV_READABLE : 0) | (p->want_write && !p->gone ? UV_WRITABLE : 0);

    if (p->closed || events == p->events)
        return;
    p->events = events;
    if (events)
        uv_poll_start(&p->poll, events, on_poll);
    else
        uv_poll_stop(&p->poll);
}

static void end(mvm__pipe *p, int error)
{
    p->gone = true;
    arm(p);
    p->ops->ended(p->ud, error);
}

/* Reads one chunk. False: nothing there, or the end. */
static bool read_chunk(mvm__pipe *p, size_t limit, size_t *got)
{
    ssize_t n = read(p->fd, p->chunk, MVM_MIN(limit, sizeof(p->chunk)));

    *got = 0;
    if (n > 0) {
        *got = (size_t)n;
        p->ops->data(p->ud, p->chunk, (size_t)n);
        return true;
    }
    if (n < 0 && errno == EINTR)
        return true;
    if (n == 0 || errno != EAGAIN)
        end(p, n == 0 ? 0 : errno);
    return false;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    mvm__pipe *p = mvm__container_of(poll, mvm__pipe, poll);
    size_t got = 0;

    if (status < 0) { /* an error of the socket: libuv has stopped it; read tells the reason */
        p->events = 0;
        p->want_write = false;
        events = UV_READABLE;
    }
    if ((events & UV_WRITABLE) && p->want_write) {
        p->want_write = false;
        arm(p);
        p->ops->writable(p->ud);
    }
    bool more = events & UV_READABLE;
    for (int i = 0; i < CHUNKS_A_TURN && more && !p->closed && !p->gone && p->reading; i++)
        more = read_chunk(p, CHUNK, &got) && got == CHUNK;
    arm(p);
}

mvm__pipe *mvm__pipe_open(mvm_loop *loop, int fd, const mvm__pipe_ops *ops, void *ud)
{
    mvm__pipe *p = mvm__alloc(sizeof(*p));

    p->fd = fd;
    p->ops = ops;
    p->ud = ud;
    p->reading = true;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    uv_poll_init(mvm__loop_uv(loop), &p->poll, fd);
    arm(p);
    return p;
}

size_t mvm__pipe_write(mvm__pipe *pipe, const void *data, size_t len)
{
    size_t done = 0;

    while (done < len && !pipe->closed && !pipe->gone) {
        ssize_t n = send(pipe->fd, (const char *)data + done, len - done, MSG_NOSIGNAL);
        if (n > 0) {
            done += (size_t)n;
        } else if (errno == EAGAIN) {
            pipe->want_write = true;
            arm(pipe);
            break;
        } else if (errno != EINTR) {
            break; /* the reading side meets the end and reports it */
        }
    }
    return done;
}

size_t mvm__pipe_write_fd(mvm__pipe *pipe, const void *data, size_t len, int fd)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct msghdr msg = {.msg_iov = &part,
                         .msg_iovlen = 1,
                         .msg_control = control.room,
                         .msg_controllen = sizeof(control.room)};
    struct cmsghdr *head = CMSG_FIRSTHDR(&msg);
    ssize_t n = -1;

    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &fd, sizeof(int));
    while (!pipe->closed && !pipe->gone && (n = sendmsg(pipe->fd, &msg, MSG_NOSIGNAL)) < 0 &&
           errno == EINTR)
        continue;
    return n > 0 ? (size_t)n : 0;
}

void mvm__pipe_read(mvm__pipe *pipe, bool on)
{
    pipe->reading = on;
    arm(pipe);
}

void mvm__pipe_drain(mvm__pipe *pipe, size_t limit)
{
    size_t got = 0;

    while (limit > 0 && !pipe->closed && !pipe->gone && read_chunk(pipe, limit, &got))
        limit -= got;
}

static void on_closed(uv_handle_t *handle)
{
    mvm__free(mvm__container_of(handle, mvm__pipe, poll));
}

void mvm__pipe_close(mvm__pipe *pipe)
{
    if (!pipe || pipe->closed)
        return;
    pipe->closed = true;
    uv_poll_stop(&pipe->poll);
    close(pipe->fd);
    pipe->fd = -1;
    uv_close((uv_handle_t *)&pipe->poll, on_closed);
}
