/* SPDX-License-Identifier: MIT */
/*
 * Virtio sockets of this host's own kernel. An attempt to connect is watched through a second
 * descriptor of its socket, as the first belongs to the stream from the beginning. Loop thread
 * only.
 */
#include "io/vsock_sock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "base/base.h"
#include "io/loop.h"
#include "io/sock.h"
#include "io/wait.h"

#define BACKLOG        128
#define ACCEPTS_A_TURN 16
#define A_DAY          86400.0

static int new_socket(mvm_err *err)
{
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        mvm_fail(err, MVM_EIO, "can't make a virtio socket: %s", strerror(errno));
    return fd;
}

/* ---- connecting ------------------------------------------------------------------------ */

typedef struct attempt {
    uv_poll_t poll;
    int fd; /* the stream's socket once more */
    mvm_stream *stream;
    mvm_wait *wait;
    uint32_t cid, port;
} attempt;

static void on_attempt_closed(uv_handle_t *handle)
{
    mvm__free(mvm__container_of((uv_poll_t *)handle, attempt, poll));
}

static void attempt_end(attempt *a)
{
    uv_poll_stop(&a->poll);
    close(a->fd);
    mvm_stream_unref(a->stream);
    uv_close((uv_handle_t *)&a->poll, on_attempt_closed);
}

static int explain(int error, uint32_t cid, uint32_t port, mvm_err *err)
{
    if (error == ECONNRESET || error == ECONNREFUSED || error == ENOTCONN)
        return mvm_fail(err, MVM_EGUEST, "nobody listens on the guest's vsock port %" PRIu32, port);
    if (error == ENODEV)
        return mvm_fail(err, MVM_EIO, "this host's kernel knows no guest with CID %" PRIu32, cid);
    return mvm_fail(err, error == ETIMEDOUT ? MVM_ETIMEOUT : MVM_EIO,
                    "can't connect to vsock port %" PRIu32 " of CID %" PRIu32 ": %s", port, cid,
                    strerror(error));
}

static void on_decided(uv_poll_t *poll, int status, int events)
{
    attempt *a = mvm__container_of(poll, attempt, poll);
    struct sockaddr_vm peer;
    socklen_t size = sizeof(peer), len = sizeof(int);
    int error = 0;
    mvm_err err;

    (void)status; /* the socket tells more */
    (void)events;
    if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 ||
        (error == 0 && getpeername(a->fd, (struct sockaddr *)&peer, &size) != 0))
        error = errno;
    if (error)
        explain(error, a->cid, a->port, &err);
    mvm__wait_done(a->wait, error ? &err : NULL);
    attempt_end(a);
}

static void on_dropped(mvm_wait *wait)
{
    attempt *a = wait->subject;

    mvm_stream_close(a->stream);
    attempt_end(a);
}

/* The kernel has a deadline of its own, 2 s unless told; ours comes first. */
static void set_patience(int fd, double seconds)
{
    double patience = seconds < 0 || seconds > A_DAY ? A_DAY : seconds + 1;
    struct timeval tv = {.tv_sec = (time_t)patience + 1};

    (void)setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &tv, sizeof(tv));
}

/* Begins; the descriptor, or -1 with *err. */
static int dial(uint32_t cid, uint32_t port, double seconds, mvm_err *err)
{
    const struct sockaddr_vm to = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
    MVM_AUTO_FD int fd = new_socket(err);

    if (fd < 0)
        return -1;
    set_patience(fd, seconds);
    if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS) {
        explain(errno, cid, port, err);
        return -1;
    }
    return mvm__steal_fd(fd);
}

mvm_wait *mvm__vsock_sock_connect(mvm_loop *loop, uint32_t cid, uint32_t port, const char *what,
                                  const mvm_waiter *waiter, mvm_stream **stream, mvm_err *err)
{
    MVM_AUTO_FD int fd = dial(cid, port, waiter->timeout, err);
    int again = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);

    if (fd >= 0 && again < 0)
        mvm_fail(err, MVM_EIO, "can't watch a socket: %s", strerror(errno));
    if (again < 0)
        return NULL;
    attempt *a = mvm__alloc(sizeof(*a));
    *a = (attempt){.fd = again, .cid = cid, .port = port};
    *stream = mvm__sock_stream(loop, mvm__steal_fd(fd), what);
    a->stream = mvm_stream_ref(*stream);
    a->wait = mvm__wait_new(loop, NULL, waiter, "vsock port %" PRIu32 " of the guest", port);
    a->wait->subject = a;
    a->wait->dropped = on_dropped;
    uv_poll_init(mvm__loop_uv(loop), &a->poll, again);
    uv_poll_start(&a->poll, UV_WRITABLE, on_decided);
    return a->wait;
}

/* ---- listening ---------------------------------------------------------------------------- */

struct mvm__vsock_door {
    mvm_loop *loop;
    mvm_watch *watch;
    int fd, spare; /* spare: to turn connections away with when there are no more descriptors */
    mvm__vsock_door_fn fn;
    void *ud;
    bool busy, closed; /* closed while it is busy: freed after that */
};

static int open_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* False: nobody waits any more. */
static bool accept_one(mvm__vsock_door *door)
{
    struct sockaddr_vm peer = {0};
    socklen_t size = sizeof(peer);
    int fd = accept4(door->fd, (struct sockaddr *)&peer, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0 && (errno == EMFILE || errno == ENFILE) && door->spare >= 0) {
        close(door->spare);
        fd = accept(door->fd, NULL, NULL);
        if (fd >= 0)
            close(fd);
        door->spare = open_spare();
        return true;
    }
    if (fd < 0)
        return errno == EINTR || errno == ECONNABORTED;
    door->fn(door->ud, fd, peer.svm_cid, peer.svm_port);
    return true;
}

static void on_knock(void *ud)
{
    mvm__vsock_door *door = ud;

    door->busy = true;
    for (int i = 0; i < ACCEPTS_A_TURN && !door->closed && accept_one(door); i++)
        ;
    door->busy = false;
    if (door->closed)
        mvm__free(door);
}

static int refuse_port(uint32_t port, int error, mvm_err *err)
{
    if (error == EADDRINUSE) {
        mvm_fail(err, MVM_ECONFIG,
                 "vsock port %" PRIu32 " of this host is in use by another process or lab", port);
        mvm_err_hint(err, "with `kernel = true` all machines of a host share its ports: another");
    } else if (error == EACCES) {
        mvm_fail(err, MVM_ECONFIG, "vsock port %" PRIu32 " of this host is kept for root", port);
        mvm_err_hint(err, "1024 or more");
    } else {
        mvm_fail(err, MVM_EIO, "can't listen to vsock port %" PRIu32 " of this host: %s", port,
                 strerror(error));
    }
    return -1;
}

static int listen_to(uint32_t port, mvm_err *err)
{
    const struct sockaddr_vm at = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};
    MVM_AUTO_FD int fd = new_socket(err);

    if (fd < 0)
        return -1;
    if (bind(fd, (const struct sockaddr *)&at, sizeof(at)) != 0 || listen(fd, BACKLOG) != 0)
        return refuse_port(port, errno, err);
    return mvm__steal_fd(fd);
}

mvm__vsock_door *mvm__vsock_door_open(mvm_loop *loop, uint32_t port, mvm__vsock_door_fn fn,
                                      void *ud, mvm_err *err)
{
    int fd = listen_to(port, err);

    if (fd < 0)
        return NULL;
    mvm__vsock_door *door = mvm__alloc(sizeof(*door));
    *door = (mvm__vsock_door){.loop = loop, .fd = fd, .spare = open_spare(), .fn = fn, .ud = ud};
    door->watch = mvm_watch_fd(loop, fd, on_knock, door);
    return door;
}

void mvm__vsock_door_close(mvm__vsock_door *door)
{
    if (!door)
        return;
    mvm_watch_close(door->watch);
    close(door->fd);
    if (door->spare >= 0)
        close(door->spare);
    door->closed = true;
    if (!door->busy)
        mvm__free(door);
}
