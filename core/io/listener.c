/* SPDX-License-Identifier: MIT */
/*
 * Listeners: connections that come to a unix socket, each handed on as a stream. A process that is
 * out of descriptors turns connections away with one that it keeps for that, instead of spinning on
 * a socket that stays readable. Loop thread only.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "io/loop.h"
#include "io/sock.h"

#define ACCEPTS_A_TURN 16

struct mvm_listener {
    uv_poll_t poll;
    mvm_loop *loop;
    int fd, spare; /* -1: closed */
    char *path, *what;
    dev_t dev; /* of the socket at `path` */
    ino_t ino;
    bool same_user;
    mvm_accept_fn accepted;
    void *ud;
};

static bool is_same_user(int fd)
{
#ifdef SO_PEERCRED
    struct ucred peer;
    socklen_t len = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
        return false;
    uid_t uid = peer.uid;
#else
    uid_t uid;
    gid_t gid;

    if (getpeereid(fd, &uid, &gid) != 0)
        return false;
#endif
    return uid == geteuid() || uid == 0;
}

static int open_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* False: nobody waits any more. */
static bool accept_one(mvm_listener *l)
{
    MVM_AUTO_FD int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0 && (errno == EMFILE || errno == ENFILE) && l->spare >= 0) {
        close(l->spare);
        fd = accept(l->fd, NULL, NULL);
        if (fd >= 0)
            close(mvm__steal_fd(fd));
        l->spare = open_spare();
        return true;
    }
    if (fd < 0)
        return errno == EINTR || errno == ECONNABORTED;
    if (!l->same_user || is_same_user(fd))
        l->accepted(l->ud, mvm__sock_stream(l->loop, mvm__steal_fd(fd), l->what));
    return true;
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    mvm_listener *l = mvm__container_of(poll, mvm_listener, poll);

    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPTS_A_TURN && l->fd >= 0 && accept_one(l); i++)
        ;
}

mvm_listener *mvm__listener_new(mvm_loop *loop, int fd, const mvm__listener_opts *opts,
                                mvm_accept_fn accepted, void *ud)
{
    mvm_listener *l = mvm__alloc(sizeof(*l));
    struct stat st;

    *l = (mvm_listener){.loop = loop,
                        .fd = fd,
                        .spare = open_spare(),
                        .what = mvm__strdup(opts->what),
                        .same_user = opts->same_user,
                        .accepted = accepted,
                        .ud = ud};
    if (opts->remove && lstat(opts->remove, &st) == 0) {
        l->path = mvm__strdup(opts->remove);
        l->dev = st.st_dev;
        l->ino = st.st_ino;
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    uv_poll_init(mvm__loop_uv(loop), &l->poll, fd);
    uv_poll_start(&l->poll, UV_READABLE, on_ready);
    return l;
}

mvm_listener *mvm_sock_listen(mvm_loop *loop, const char *path, mvm_accept_fn accepted, void *ud,
                              mvm_err *err)
{
    MVM_AUTO_FREE char *what = mvm__asprintf("a connection to %s", path);
    int fd = mvm__sock_listen_path(path, err);

    if (fd < 0)
        return NULL;
    return mvm__listener_new(loop, fd, &(mvm__listener_opts){path, what, true}, accepted, ud);
}

static void on_poll_closed(uv_handle_t *handle)
{
    mvm__free(mvm__container_of((uv_poll_t *)handle, mvm_listener, poll));
}

void mvm_listener_close(mvm_listener *l)
{
    struct stat st;

    if (!l || l->fd < 0)
        return;
    if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
        unlink(l->path);
    mvm__free(l->path);
    mvm__free(l->what);
    uv_poll_stop(&l->poll);
    close(l->fd);
    l->fd = -1;
    if (l->spare >= 0)
        close(l->spare);
    uv_close((uv_handle_t *)&l->poll, on_poll_closed);
}
