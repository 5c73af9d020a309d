/* SPDX-License-Identifier: MIT */
/*
 * Unix sockets: addresses of any length, listeners on the loop, and the provider that makes a
 * connection a stream. A stream reads while there is room in its buffer and writes what the peer
 * takes; nothing is held beyond that. Loop thread only.
 */
#include "io/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/base.h"
#include "io/loop.h"
#include "io/stream.h"

#define HELD_MAX      (256u * 1024u)
#define CHUNK         16384u
#define CHUNKS_A_TURN 8
#define BACKLOG       128
#define KERNEL_MAX    (1024u * 1024u) /* bytes on their way to us, generously */

/* ---- addresses ------------------------------------------------------------------------ */

/* A socket's place: its directory and its name in it, and the shortest address there is of both. */
typedef struct place {
    int dir; /* -1: not opened */
    const char *name;
    struct sockaddr_un addr;
} place;

static int open_dir(const char *path, size_t len, mvm_err *err)
{
    MVM_AUTO_FREE char *dir = len ? mvm__strndup(path, len) : mvm__strdup(".");
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        mvm_fail(err, MVM_EIO, "can't open %s: %s", dir, strerror(errno));
    return fd;
}

/* Fills *at (close at->dir) for the socket at `path`. */
static int find_place(const char *path, place *at, mvm_err *err)
{
    const char *slash = strrchr(path, '/');
    size_t room = sizeof(at->addr.sun_path), len = strlen(path);

    at->name = slash ? slash + 1 : path;
    at->addr.sun_family = AF_UNIX;
    if (at->name[0] == '\0')
        return mvm_fail(err, MVM_ECONFIG, "`%s` is not the path of a socket", path);
    at->dir = open_dir(path, slash ? MVM_MAX((size_t)(slash - path), 1) : 0, err);
    if (at->dir < 0)
        return MVM_EIO;
    if (len < room) {
        memcpy(at->addr.sun_path, path, len + 1);
        return 0;
    }
    int n = snprintf(at->addr.sun_path, room, "/proc/self/fd/%d/%s", at->dir, at->name);
    if (n > 0 && (size_t)n < room)
        return 0;
    close(at->dir);
    at->dir = -1;
    mvm_fail(err, MVM_ECONFIG, "the socket's name `%s` is too long", at->name);
    mvm_err_hint(err, "at most 80 bytes; its directory may be as deep as you like");
    return MVM_ECONFIG;
}

static int new_socket(mvm_err *err)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        mvm_fail(err, MVM_EIO, "can't make a socket: %s", strerror(errno));
    return fd;
}

static int connect_to(const place *at)
{
    MVM_AUTO_FD int fd = new_socket(NULL);
    int rc;

    if (fd < 0)
        return -1;
    do
        rc = connect(fd, (const struct sockaddr *)&at->addr, sizeof(at->addr));
    while (rc != 0 && errno == EINTR);
    return rc == 0 ? mvm__steal_fd(fd) : -1;
}

int mvm__sock_dial(const char *path, mvm_err *err)
{
    place at = {.dir = -1};

    if (find_place(path, &at, err) != 0)
        return -1;
    int fd = connect_to(&at);
    if (fd < 0)
        mvm_fail(err, MVM_EIO, "can't connect to %s: %s", path,
                 errno == EAGAIN ? "too many wait there already" : strerror(errno));
    close(at.dir);
    return fd;
}

/* ---- listening ------------------------------------------------------------------------ */

static int bind_and_listen(int fd, const place *at)
{
    fchmod(fd, 0600); /* Linux gives the new file this mode, so that it is never wider */
    if (bind(fd, (const struct sockaddr *)&at->addr, sizeof(at->addr)) != 0)
        return -1;
    if (fchmodat(at->dir, at->name, 0600, 0) == 0 && listen(fd, BACKLOG) == 0)
        return 0;
    int error = errno;
    unlinkat(at->dir, at->name, 0);
    errno = error;
    return -1;
}

int mvm__sock_listen(const char *dir, const char *name, mvm_err *err)
{
    MVM_AUTO_FREE char *path = mvm__asprintf("%s/%s", dir, name);
    place at = {.dir = -1};

    if (find_place(path, &at, err) != 0)
        return -1;
    MVM_AUTO_FD int at_dir = at.dir;
    (void)at_dir; /* only closed */
    MVM_AUTO_FD int fd = new_socket(err);
    if (fd < 0)
        return -1;
    if (bind_and_listen(fd, &at) != 0) {
        mvm_fail(err, MVM_EIO, "can't listen at %s: %s", path, strerror(errno));
        return -1;
    }
    return mvm__steal_fd(fd);
}

/* Something is at the place: goes on (0) when that was a socket whose process is gone. */
static int remove_stale(const char *path, const place *at, mvm_err *err)
{
    struct stat st;

    if (fstatat(at->dir, at->name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? 0 : mvm_fail(err, MVM_EIO, "%s: %s", path, strerror(errno));
    if (!S_ISSOCK(st.st_mode)) {
        mvm_fail(err, MVM_ECONFIG, "%s is there already and no socket", path);
        mvm_err_hint(err, "the path of a socket to be made");
        return MVM_ECONFIG;
    }
    int live = connect_to(at);
    if (live < 0 && errno == ECONNREFUSED && unlinkat(at->dir, at->name, 0) == 0)
        return 0;
    if (live >= 0)
        close(live);
    mvm_fail(err, MVM_ECONFIG, "%s is in use by another process", path);
    mvm_err_hint(err, "a path of its own for every socket");
    return MVM_ECONFIG;
}

/* Two that begin at once would each take the other's new socket for a leftover, so one at a time
 * looks: the directory is locked. */
static int listen_at(const char *path, int fd, const place *at, mvm_err *err)
{
    if (flock(at->dir, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return mvm_fail(err, MVM_ECONFIG, "%s: the directory is locked by another process", path);
    int rc = remove_stale(path, at, err);
    if (rc == 0 && bind_and_listen(fd, at) != 0) {
        rc = errno == EADDRINUSE ? MVM_ECONFIG : MVM_EIO;
        mvm_fail(err, rc, "can't listen at %s: %s", path, strerror(errno));
    }
    return rc;
}

int mvm__sock_listen_path(const char *path, mvm_err *err)
{
    place at = {.dir = -1};

    if (find_place(path, &at, err) != 0)
        return -1;
    MVM_AUTO_FD int at_dir = at.dir;
    (void)at_dir; /* only closed */
    MVM_AUTO_FD int fd = new_socket(err);
    if (fd < 0 || listen_at(path, fd, &at, err) != 0)
        return -1;
    return mvm__steal_fd(fd);
}

/* ---- a connection as a stream ------------------------------------------------------------ */

typedef struct conn {
    mvm_stream s;
    uv_poll_t poll;
    int fd;     /* -1: closed */
    int events; /* armed now */
    bool sent_shut, unreferenced, polled;
} conn;

static void on_ready(uv_poll_t *poll, int status, int events);

static void arm(conn *c)
{
    int events = 0;

    if (c->fd >= 0 && !c->s.failed) {
        if (!c->s.eof && mvm__buf_len(&c->s.in) < HELD_MAX)
            events |= UV_READABLE;
        if (mvm__buf_len(&c->s.out) > 0)
            events |= UV_WRITABLE;
    }
    if (c->fd < 0 || events == c->events)
        return;
    c->events = events;
    if (events)
        uv_poll_start(&c->poll, events, on_ready);
    else
        uv_poll_stop(&c->poll);
}

static void fail(conn *c, int error)
{
    mvm_err err;

    mvm_fail(&err, MVM_EIO, "%s: %s", c->s.what,
             error == EPIPE ? "the other end has closed it" : strerror(error));
    mvm__stream_fail(&c->s, &err);
}

/* Reads one chunk; false: nothing there, or the end. */
static bool read_chunk(conn *c)
{
    char chunk[CHUNK];
    ssize_t n = read(c->fd, chunk, sizeof(chunk));

    if (n > 0)
        mvm__stream_feed(&c->s, chunk, (size_t)n);
    else if (n == 0)
        mvm__stream_feed_eof(&c->s);
    else if (errno == EINTR)
        return true;
    else if (errno != EAGAIN)
        fail(c, errno);
    return n > 0;
}

static void read_some(conn *c)
{
    for (int i = 0; i < CHUNKS_A_TURN; i++) {
        if (c->fd < 0 || c->s.eof || mvm__buf_len(&c->s.in) >= HELD_MAX || !read_chunk(c))
            break;
    }
}

/* The peer takes nothing any more. What it sent before it went can still be read, then the stream
 * ends with the error. A peer may close one direction and send on: not more than a kernel holds. */
static void write_failed(conn *c, int error)
{
    size_t limit = mvm__buf_len(&c->s.in) + KERNEL_MAX;

    while (!c->s.eof && !c->s.failed && c->fd >= 0 && mvm__buf_len(&c->s.in) < limit &&
           read_chunk(c))
        ;
    fail(c, error);
}

static void write_some(conn *c)
{
    while (c->fd >= 0 && !c->s.failed && mvm__buf_len(&c->s.out) > 0) {
        ssize_t n = send(c->fd, mvm__buf_ptr(&c->s.out), mvm__buf_len(&c->s.out), MSG_NOSIGNAL);
        if (n >= 0)
            mvm__stream_sent(&c->s, (size_t)n);
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR)
            write_failed(c, errno);
    }
    if (c->fd >= 0 && c->s.shut && !c->sent_shut && mvm__buf_len(&c->s.out) == 0) {
        c->sent_shut = true;
        shutdown(c->fd, SHUT_WR);
    }
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    conn *c = mvm__container_of(poll, conn, poll);

    if (status < 0) { /* an error of the socket: libuv has stopped it; the calls tell the reason */
        c->events = 0;
        events = UV_READABLE | UV_WRITABLE;
    }
    if (events & UV_READABLE)
        read_some(c);
    if (events & UV_WRITABLE)
        write_some(c);
    arm(c);
}

static void on_consumed(mvm_stream *s, size_t len)
{
    (void)len;
    arm(mvm__container_of(s, conn, s));
}

static void on_kick(mvm_stream *s)
{
    conn *c = mvm__container_of(s, conn, s);

    write_some(c);
    arm(c);
}

static void free_when_done(conn *c)
{
    if (c->unreferenced && !c->polled)
        mvm__free(c);
}

static void on_poll_closed(uv_handle_t *handle)
{
    conn *c = mvm__container_of((uv_poll_t *)handle, conn, poll);

    c->polled = false;
    free_when_done(c);
}

static void on_closed(mvm_stream *s)
{
    conn *c = mvm__container_of(s, conn, s);

    uv_poll_stop(&c->poll);
    close(c->fd);
    c->fd = -1;
    uv_close((uv_handle_t *)&c->poll, on_poll_closed);
}

static void on_unreferenced(mvm_stream *s)
{
    conn *c = mvm__container_of(s, conn, s);

    c->unreferenced = true;
    free_when_done(c);
}

mvm_stream *mvm__sock_stream(mvm_loop *loop, int fd, const char *what)
{
    static const mvm__stream_ops ops = {on_consumed, on_kick, on_closed, on_unreferenced};
    conn *c = mvm__alloc(sizeof(*c));

    mvm__stream_init(&c->s, loop, &ops, true, true, what);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    c->fd = fd;
    c->polled = true;
    uv_poll_init(mvm__loop_uv(loop), &c->poll, fd);
    arm(c);
    return &c->s;
}

mvm_stream *mvm__sock_connect(mvm_loop *loop, const char *path, const char *what, mvm_err *err)
{
    int fd = mvm__sock_dial(path, err);

    return fd >= 0 ? mvm__sock_stream(loop, fd, what) : NULL;
}

mvm_stream *mvm_sock_connect(mvm_loop *loop, const char *path, mvm_err *err)
{
    MVM_AUTO_FREE char *what = mvm__asprintf("the connection to %s", path);

    return mvm__sock_connect(loop, path, what, err);
}
