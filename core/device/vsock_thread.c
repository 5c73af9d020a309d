/* SPDX-License-Identifier: MIT */
/*
 * The thread of a socket device: waits for the front end, reads its requests, and serves the rings
 * whenever the guest rings their bells. It holds the lock while it works and never while it waits.
 */
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base.h"
#include "device/vsock_internal.h"

enum { WAKE, SOCKET, BELL, POLLED = BELL + MVM__VHOST_RINGS };

static int gone_error(mvm_err *err)
{
    return mvm_fail(err, MVM_EBACKEND, "QEMU has closed the connection of its vsock device");
}

static void drain(int fd)
{
    uint64_t count;

    (void)!read(fd, &count, sizeof(count));
}

/* ---- the front end's requests ----------------------------------------------------------- */

static int answer(const mvm__vsock *v, const uint8_t *reply, size_t len, mvm_err *err)
{
    if (len > 0 && send(v->sock, reply, len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)len)
        return gone_error(err);
    return 0;
}

static int read_request(mvm__vsock *v, mvm_err *err)
{
    mvm__vhost_inbox *in = &v->inbox;
    mvm__vhu_header header;
    uint8_t reply[MVM__VHU_REPLY_MAX];
    size_t reply_len;
    int rc = mvm__vhost_inbox_read(in, v->sock, err);

    if (rc < 0)
        return in->gone ? gone_error(err) : rc;
    if (rc == 0)
        return 0;
    const char *fault = mvm__vhu_parse_header(in->bytes, &header);
    if (fault)
        return mvm_fail(err, MVM_EBACKEND, "QEMU sent %s", fault);
    unsigned nfds = in->nfds;
    in->nfds = 0; /* they are taken */
    rc = mvm__vhost_request(&v->core->vhost, &header, in->bytes + MVM__VHU_HEADER, in->fds, nfds,
                            reply, &reply_len, err);
    mvm__vhost_inbox_next(in);
    if (rc)
        return rc;
    mvm__vsc_settle(v->core);
    return answer(v, reply, reply_len, err);
}

static int take_front_end(mvm__vsock *v, mvm_err *err)
{
    v->sock = accept4(v->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (v->sock < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
        return 0;
    if (v->sock < 0)
        return mvm_fail(err, MVM_EIO, "QEMU's vsock device can't be taken: %m");
    close(mvm__steal_fd(v->listener));
    return 0;
}

/* ---- the thread ------------------------------------------------------------------------- */

/* What to wait for, and for how long: milliseconds. */
static int prepare(mvm__vsock *v, struct pollfd *fds, bool more)
{
    fds[WAKE] = (struct pollfd){v->wake, POLLIN, 0};
    fds[SOCKET] = (struct pollfd){v->sock >= 0 ? v->sock : v->listener, POLLIN, 0};
    for (unsigned i = 0; i < MVM__VHOST_RINGS; i++) {
        const mvm__vhost_ring *ring = &v->core->vhost.ring[i];
        fds[BELL + i] = (struct pollfd){ring->running ? ring->kick : -1, POLLIN, 0};
    }
    v->wake_at = mvm__vsc_deadline(v->core);
    if (more)
        return 0;
    if (v->wake_at < 0)
        return -1;
    double left = fmin(fmax(v->wake_at - v->core->now, 0), 3600);
    return (int)ceil(left * 1000);
}

static int work(mvm__vsock *v, const struct pollfd *fds, bool *more, mvm_err *err)
{
    int rc = 0;

    for (unsigned i = 0; i < MVM__VHOST_RINGS; i++) {
        if (fds[BELL + i].revents & (POLLERR | POLLHUP | POLLNVAL))
            return mvm_fail(err, MVM_EBACKEND, "the bell of ring %u is broken", i);
        if (fds[BELL + i].revents)
            drain(fds[BELL + i].fd);
    }
    if (fds[SOCKET].revents)
        rc = v->sock >= 0 ? read_request(v, err) : take_front_end(v, err);
    return rc ? rc : mvm__vsc_serve(v->core, more, err);
}

static void close_all(mvm__vsock *v)
{
    mvm__vhost_inbox_next(&v->inbox);
    if (v->sock >= 0)
        close(mvm__steal_fd(v->sock));
    if (v->listener >= 0)
        close(mvm__steal_fd(v->listener));
}

void *mvm__vsock_thread(void *ud)
{
    mvm__vsock *v = ud;
    struct pollfd fds[POLLED];
    bool more = false;

    mvm__vsock_enter(v);
    while (!v->stop && !v->dead) {
        mvm_err err;
        int timeout = prepare(v, fds, more);
        pthread_mutex_unlock(&v->lock);
        (void)!poll(fds, POLLED, timeout);
        mvm__vsock_enter(v);
        if (fds[WAKE].revents)
            drain(v->wake);
        if (v->stop || v->dead)
            break;
        if (work(v, fds, &more, &err))
            mvm__vsock_lost(v, &err);
        if (!mvm__list_empty(&v->core->todo))
            mvm__vsock_post(v);
    }
    close_all(v);
    pthread_mutex_unlock(&v->lock);
    return NULL;
}
