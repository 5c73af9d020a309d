/* SPDX-License-Identifier: MIT */
/*
 * The relay's life on the loop's thread, and its own thread: messages between the two sockets,
 * virtiofsd's bells, and, when virtiofsd is gone, those of the guest. The thread alone uses the
 * core; what both threads use is locked.
 */
#include "device/fs_relay.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base.h"
#include "device/fs_relay_core.h"
#include "device/vhost_inbox.h"

enum {
    WAKE,
    FRONT,
    SERVER,
    BELL,
    KICK = BELL + MVM__VHOST_RINGS,
    POLLED = KICK + MVM__VHOST_RINGS
};

struct mvm__fs_relay {
    mvm_loop *loop;
    mvm__fs_relay_fn lost;
    void *ud;
    pthread_t thread;
    int wake;
    /* the thread's */
    mvm__fsr *core;
    int listener, front, server;
    int bell[MVM__VHOST_RINGS]; /* what virtiofsd rings */
    mvm__vhost_inbox from_front, from_server;
    /* of both */
    pthread_mutex_t lock;
    int refs; /* the owner's, and one of a posted call */
    bool stop, freed, fails;
    mvm_err err;
};

/* ---- messages ------------------------------------------------------------------------- */

/* QEMU's bell stays here: virtiofsd gets one of ours. */
static void replace_bell(const mvm__fs_relay *r, const mvm__vhu_header *header, int *fds,
                         unsigned nfds)
{
    uint8_t index = r->from_front.bytes[MVM__VHU_HEADER];

    if (header->request == MVM__VHU_SET_VRING_CALL && nfds == 1 && index < MVM__VHOST_RINGS)
        fds[0] = r->bell[index];
}

/* One that is gone already is heard of by its socket's end. */
static int to_server(const mvm__fs_relay *r, const mvm__vhu_header *header, mvm_err *err)
{
    const mvm__vhost_inbox *in = &r->from_front;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(MVM__VHU_REGIONS * sizeof(int))];
    } control = {0};
    int fds[MVM__VHU_REGIONS];
    struct iovec piece = {(void *)in->bytes, in->have};
    struct msghdr msg = {.msg_iov = &piece, .msg_iovlen = 1};

    if (in->nfds > 0) {
        memcpy(fds, in->fds, in->nfds * sizeof(int));
        replace_bell(r, header, fds, in->nfds);
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(in->nfds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(in->nfds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, in->nfds * sizeof(int));
    }
    ssize_t n = sendmsg(r->server, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n == (ssize_t)in->have || (n < 0 && (errno == EPIPE || errno == ECONNRESET)))
        return 0;
    return mvm_fail(err, MVM_EBACKEND, "virtiofsd does not take QEMU's requests");
}

static int to_front(const mvm__fs_relay *r, const uint8_t *message, size_t len, mvm_err *err)
{
    ssize_t n = len == 0 ? 0 : send(r->front, message, len, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n == (ssize_t)len || (n < 0 && (errno == EPIPE || errno == ECONNRESET)))
        return 0;
    return mvm_fail(err, MVM_EBACKEND, "QEMU does not take virtiofsd's replies");
}

static int read_front(mvm__fs_relay *r, mvm_err *err)
{
    mvm__vhost_inbox *in = &r->from_front;
    mvm__vhu_header header;
    int rc = mvm__vhost_inbox_read(in, r->front, err);

    if (rc <= 0)
        return rc;
    const char *fault = mvm__vhu_parse_header(in->bytes, &header);
    if (fault)
        return mvm_fail(err, MVM_EBACKEND, "QEMU sent %s", fault);
    rc = r->core->dead ? 0 : to_server(r, &header, err);
    if (rc)
        return rc;
    unsigned nfds = in->nfds;
    in->nfds = 0; /* they are taken */
    rc = mvm__fsr_request(r->core, &header, in->bytes + MVM__VHU_HEADER, in->fds, nfds, err);
    mvm__vhost_inbox_next(in);
    if (rc || r->core->owed)
        return rc;
    return to_front(r, r->core->reply, r->core->reply_len, err);
}

/* Where nobody knows what it could do the connection to QEMU ends with that to it. */
static int server_gone(mvm__fs_relay *r, mvm_err *err)
{
    bool owed = r->core->owed;

    close(mvm__steal_fd(r->server));
    mvm__vhost_inbox_next(&r->from_server);
    if (!r->core->known) {
        r->from_front.gone = true;
        return mvm_fail(err, MVM_EBACKEND, "virtiofsd ended before it began");
    }
    mvm__fsr_dead(r->core);
    return owed ? to_front(r, r->core->reply, r->core->reply_len, err) : 0;
}

static int read_server(mvm__fs_relay *r, mvm_err *err)
{
    mvm__vhost_inbox *in = &r->from_server;
    int rc = mvm__vhost_inbox_read(in, r->server, err);

    if (rc < 0)
        return in->gone ? server_gone(r, err) : rc;
    if (rc == 0)
        return 0;
    if (in->nfds > 0)
        return mvm_fail(err, MVM_EBACKEND, "virtiofsd sent a file");
    rc = mvm__fsr_reply(r->core, in->bytes, err);
    if (!rc)
        rc = to_front(r, in->bytes, in->have, err);
    mvm__vhost_inbox_next(in);
    return rc;
}

static int take_front(mvm__fs_relay *r, mvm_err *err)
{
    r->front = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (r->front < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
        return 0;
    if (r->front < 0)
        return mvm_fail(err, MVM_EIO, "QEMU's connection can't be taken: %m");
    close(mvm__steal_fd(r->listener));
    return 0;
}

/* ---- the thread --------------------------------------------------------------------------- */

static void drain(int fd)
{
    uint64_t count;

    (void)!read(fd, &count, sizeof(count));
}

static void prepare(const mvm__fs_relay *r, struct pollfd *fds)
{
    int front = r->front >= 0 ? r->front : r->listener;

    fds[WAKE] = (struct pollfd){r->wake, POLLIN, 0};
    /* One thing after the other: QEMU's next request waits for the reply to this one. */
    fds[FRONT] = (struct pollfd){r->core->owed ? -1 : front, POLLIN, 0};
    fds[SERVER] = (struct pollfd){r->server, POLLIN, 0};
    for (unsigned i = 0; i < MVM__VHOST_RINGS; i++) {
        const mvm__vhost_ring *ring = &r->core->vhost.ring[i];
        bool serve = r->core->dead && ring->running;
        fds[BELL + i] = (struct pollfd){r->core->dead ? -1 : r->bell[i], POLLIN, 0};
        fds[KICK + i] = (struct pollfd){serve ? ring->kick : -1, POLLIN, 0};
    }
}

static int work(mvm__fs_relay *r, const struct pollfd *fds, bool *more, mvm_err *err)
{
    int rc = 0;

    for (unsigned i = 0; i < MVM__VHOST_RINGS; i++) {
        if (fds[BELL + i].revents) {
            drain(fds[BELL + i].fd);
            mvm__fsr_bell(r->core, i);
        }
        if (fds[KICK + i].revents & (POLLERR | POLLHUP | POLLNVAL))
            return mvm_fail(err, MVM_EBACKEND, "the bell of ring %u is broken", i);
        if (fds[KICK + i].revents)
            drain(fds[KICK + i].fd);
    }
    if (fds[SERVER].revents)
        rc = read_server(r, err);
    if (!rc && fds[FRONT].revents)
        rc = r->front >= 0 ? read_front(r, err) : take_front(r, err);
    return rc ? rc : mvm__fsr_serve(r->core, more, err);
}

static void shut(int *fd)
{
    if (*fd >= 0)
        close(mvm__steal_fd(*fd));
}

static void close_all(mvm__fs_relay *r)
{
    mvm__vhost_inbox_next(&r->from_front);
    mvm__vhost_inbox_next(&r->from_server);
    mvm__vhost_free(&r->core->vhost);
    shut(&r->front);
    shut(&r->listener);
    shut(&r->server);
}

static void on_lost(void *ud);

/* QEMU's end is nothing to speak of. */
static void give_up(mvm__fs_relay *r, const mvm_err *err)
{
    close_all(r);
    pthread_mutex_lock(&r->lock);
    r->fails = false;
    if (!r->from_front.gone && !r->stop) {
        r->err = *err;
        r->refs++;
        mvm_loop_post(r->loop, on_lost, r);
    }
    pthread_mutex_unlock(&r->lock);
}

static bool stopped(mvm__fs_relay *r)
{
    pthread_mutex_lock(&r->lock);
    bool stop = r->stop;
    r->fails = r->core->dead;
    pthread_mutex_unlock(&r->lock);
    return stop;
}

static void *run(void *ud)
{
    mvm__fs_relay *r = ud;
    struct pollfd fds[POLLED];
    bool more = false;
    mvm_err err;

    do {
        prepare(r, fds);
        if (poll(fds, POLLED, more ? 0 : -1) < 0)
            continue; /* interrupted: nothing is in `revents` */
        if (work(r, fds, &more, &err)) {
            give_up(r, &err);
            return NULL;
        }
    } while (!(fds[WAKE].revents || r->core->dead) || !stopped(r));
    close_all(r);
    return NULL;
}

/* ---- life ----------------------------------------------------------------------------------- */

static void unref(mvm__fs_relay *r)
{
    pthread_mutex_lock(&r->lock);
    bool last = --r->refs == 0;
    pthread_mutex_unlock(&r->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&r->lock);
    mvm__free(r);
}

static void on_lost(void *ud)
{
    mvm__fs_relay *r = ud;

    if (!r->freed)
        r->lost(r->ud, &r->err);
    unref(r);
}

static int make_bells(mvm__fs_relay *r, mvm_err *err)
{
    int *all[] = {&r->wake, &r->bell[0], &r->bell[1]};

    for (size_t i = 0; i < MVM_COUNT(all); i++)
        if ((*all[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
            return mvm_fail(err, MVM_EIO, "no event counter for a share: %m");
    return 0;
}

static int start_thread(mvm__fs_relay *r, mvm_err *err)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the loop's */
    int rc = pthread_create(&r->thread, NULL, run, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc ? mvm_fail(err, MVM_EIO, "no thread for a share: %s", strerror(rc)) : 0;
}

static void free_parts(mvm__fs_relay *r)
{
    close_all(r);
    mvm__fsr_free(r->core);
    r->core = NULL;
    shut(&r->wake);
    for (unsigned i = 0; i < MVM__VHOST_RINGS; i++)
        shut(&r->bell[i]);
    r->freed = true;
    unref(r);
}

mvm__fs_relay *mvm__fs_relay_new(mvm_loop *loop, int listen_fd, int server_fd,
                                 mvm__fs_relay_fn lost, void *ud, mvm_err *err)
{
    mvm__fs_relay *r = mvm__alloc(sizeof(*r));

    *r = (mvm__fs_relay){.loop = loop,
                         .lost = lost,
                         .ud = ud,
                         .wake = -1,
                         .core = mvm__fsr_new(),
                         .listener = listen_fd,
                         .front = -1,
                         .server = server_fd,
                         .bell = {-1, -1},
                         .from_front.who = "QEMU",
                         .from_server.who = "virtiofsd",
                         .refs = 1};
    pthread_mutex_init(&r->lock, NULL);
    fcntl(listen_fd, F_SETFL, fcntl(listen_fd, F_GETFL) | O_NONBLOCK);
    int rc = make_bells(r, err);
    if (!rc)
        rc = start_thread(r, err);
    if (!rc)
        return r;
    free_parts(r);
    return NULL;
}

void mvm__fs_relay_free(mvm__fs_relay *r)
{
    uint64_t one = 1;

    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_mutex_unlock(&r->lock);
    (void)!write(r->wake, &one, sizeof(one));
    pthread_join(r->thread, NULL);
    free_parts(r);
}

bool mvm__fs_relay_fails(mvm__fs_relay *r)
{
    pthread_mutex_lock(&r->lock);
    bool fails = r->fails;
    pthread_mutex_unlock(&r->lock);
    return fails;
}
