/* SPDX-License-Identifier: MIT */
/*
 * Standard input and output as a stream. The descriptors are shared with whoever started us, so
 * their modes stay as they are: input is read when the loop says that there is some, output goes
 * through a description of its own where it can. Loop thread only.
 */
#include "mvm/term.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "base/base.h"
#include "io/loop.h"
#include "io/stream.h"

#define HELD_MAX 65536u
#define CHUNK    4096u

typedef struct term {
    mvm_stream s;
    mvm_watch *input;
    bool is_file;    /* of the input: it never blocks, and can't be watched */
    mvm_timer *soon; /* the next piece of a file */
    uv_poll_t poll;  /* of the output */
    int out;         /* non-blocking, ours; -1: what is standard output never blocks */
    bool polled, polling, unreferenced;
} term;

/* What exit has to put back. */
static struct termios g_saved;
static bool g_open, g_raw, g_registered;

static void restore(void)
{
    if (g_raw)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &g_saved);
    g_raw = false;
}

static void make_raw(void)
{
    struct termios mode;

    if (tcgetattr(STDIN_FILENO, &g_saved) != 0)
        return; /* no terminal */
    mode = g_saved;
    cfmakeraw(&mode);
    if (!g_registered)
        atexit(restore);
    g_registered = true;
    g_raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &mode) == 0;
}

/* ---- input ------------------------------------------------------------------------------ */

static void read_on(term *t);

/* False: the end, or nothing there. */
static bool read_chunk(term *t)
{
    char chunk[CHUNK];
    ssize_t n;

    do
        n = read(STDIN_FILENO, chunk, sizeof(chunk));
    while (n < 0 && errno == EINTR);
    if (n > 0)
        mvm__stream_feed(&t->s, chunk, (size_t)n);
    else if (n == 0 || errno != EAGAIN)
        mvm__stream_feed_eof(&t->s); /* also a terminal that was closed */
    return n > 0;
}

static void on_readable(void *ud)
{
    term *t = ud;

    read_chunk(t);
    read_on(t);
}

static void on_soon(void *ud)
{
    term *t = ud;

    t->soon = NULL;
    read_chunk(t);
    read_on(t);
}

/* libuv makes what it watches non-blocking, and that would be so for all who share it. */
static mvm_watch *watch_input(term *t)
{
    int flags = fcntl(STDIN_FILENO, F_GETFL);
    mvm_watch *watch = mvm_watch_fd(t->s.loop, STDIN_FILENO, on_readable, t);

    if (flags >= 0)
        fcntl(STDIN_FILENO, F_SETFL, flags);
    return watch;
}

/* Reads while there is room, else not. */
static void read_on(term *t)
{
    bool want = !t->s.is_closed && !t->s.eof && mvm__buf_len(&t->s.in) < HELD_MAX;

    if (!want) {
        mvm_watch_close(t->input);
        t->input = NULL;
        mvm_timer_cancel(t->soon);
        t->soon = NULL;
        return;
    }
    if (!t->input && !t->is_file) {
        t->input = watch_input(t);
        t->is_file = !t->input;
    }
    if (t->is_file && !t->soon)
        t->soon = mvm_timer_start(t->s.loop, 0, on_soon, t);
}

/* ---- output ----------------------------------------------------------------------------- */

static void on_writable(uv_poll_t *poll, int status, int events);

static void poll_output(term *t, bool on)
{
    if (t->out < 0 || on == t->polling)
        return;
    t->polling = on;
    if (on)
        uv_poll_start(&t->poll, UV_WRITABLE, on_writable);
    else
        uv_poll_stop(&t->poll);
}

static void write_some(term *t)
{
    int fd = t->out >= 0 ? t->out : STDOUT_FILENO;

    while (mvm__buf_len(&t->s.out) > 0 && !t->s.failed) {
        ssize_t n = write(fd, mvm__buf_ptr(&t->s.out), mvm__buf_len(&t->s.out));
        if (n >= 0) {
            mvm__stream_sent(&t->s, (size_t)n);
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            mvm_err err;
            mvm_fail(&err, MVM_EIO, "can't write the standard output: %s", strerror(errno));
            mvm__stream_fail(&t->s, &err);
        }
    }
    poll_output(t, mvm__buf_len(&t->s.out) > 0);
}

static void on_writable(uv_poll_t *poll, int status, int events)
{
    term *t = mvm__container_of(poll, term, poll);

    (void)events;
    if (status < 0)
        t->polling = false; /* libuv has stopped it; the write tells the reason */
    write_some(t);
}

/* A terminal and a pipe are opened anew, so that they don't block; what can't be (a socket) is
 * written as it is. A file never blocks, and its position is shared. */
static int open_output(void)
{
    struct stat st;

    if (fstat(STDOUT_FILENO, &st) != 0 || !(S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)))
        return -1;
    return open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* ---- the stream --------------------------------------------------------------------------- */

static void on_consumed(mvm_stream *s, size_t len)
{
    (void)len;
    read_on(mvm__container_of(s, term, s));
}

static void on_kick(mvm_stream *s)
{
    write_some(mvm__container_of(s, term, s));
}

static void free_when_done(term *t)
{
    if (t->unreferenced && !t->polled)
        mvm__free(t);
}

static void on_poll_closed(uv_handle_t *handle)
{
    term *t = mvm__container_of((uv_poll_t *)handle, term, poll);

    t->polled = false;
    free_when_done(t);
}

static void on_closed(mvm_stream *s)
{
    term *t = mvm__container_of(s, term, s);

    read_on(t);
    restore();
    g_open = false;
    if (t->out < 0)
        return;
    uv_poll_stop(&t->poll);
    close(t->out);
    t->out = -1;
    uv_close((uv_handle_t *)&t->poll, on_poll_closed);
}

static void on_unreferenced(mvm_stream *s)
{
    term *t = mvm__container_of(s, term, s);

    t->unreferenced = true;
    free_when_done(t);
}

mvm_stream *mvm_term_open(mvm_loop *loop, bool raw, mvm_err *err)
{
    static const mvm__stream_ops ops = {on_consumed, on_kick, on_closed, on_unreferenced};

    if (g_open) {
        mvm_fail(err, MVM_ESTATE, "the terminal is in use already");
        return NULL;
    }
    term *t = mvm__alloc(sizeof(*t));
    g_open = true;
    mvm__stream_init(&t->s, loop, &ops, true, true, "the terminal");
    t->out = open_output();
    if (t->out >= 0 && uv_poll_init(mvm__loop_uv(loop), &t->poll, t->out) != 0) {
        close(t->out); /* /dev/null and the like: they never block */
        t->out = -1;
    }
    t->polled = t->out >= 0;
    if (raw)
        make_raw();
    read_on(t);
    return &t->s;
}
