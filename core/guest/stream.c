/* SPDX-License-Identifier: MIT */
/*
 * Streams of the session: the table by id, bytes towards the host (taps, served
 * round-robin with one DATA frame a turn each), bytes from the host (sinks,
 * which hold at most a window), and the end of it all. One thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "guest/agent.h"

#define BUCKETS 64u

static mvm__list by_id[BUCKETS];
static mvm__list ready; /* taps */
static mvm__list dead;
static size_t count;

void mvm__streams_init(void)
{
    for (size_t i = 0; i < BUCKETS; i++)
        mvm__list_init(&by_id[i]);
    mvm__list_init(&ready);
    mvm__list_init(&dead);
}

mvm__stream *mvm__stream_new(uint32_t id, enum mvm__kind kind)
{
    mvm__stream *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    s->id = id;
    s->kind = kind;
    s->sink.stream = s;
    s->sink.source.fd = -1;
    for (uint8_t i = 0; i < 2; i++)
        s->tap[i] = (mvm__tap){.source.fd = -1, .stream = s, .channel = (uint8_t)(i + 1)};
    mvm__list_append(&by_id[id % BUCKETS], &s->all);
    count++;
    return s;
}

mvm__stream *mvm__stream_find(uint32_t id)
{
    mvm__list_each (l, &by_id[id % BUCKETS]) {
        mvm__stream *s = mvm__container_of(l, mvm__stream, all);
        if (s->id == id)
            return s;
    }
    return NULL;
}

mvm__stream *mvm__stream_of_pid(pid_t pid)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        mvm__list_each (l, &by_id[i]) {
            mvm__stream *s = mvm__container_of(l, mvm__stream, all);
            if (s->pid == pid && !s->exited)
                return s;
        }
    }
    return NULL;
}

bool mvm__streams_full(void)
{
    return count >= MVM_AGENT_STREAMS_MAX;
}

/* ---- the end of streams ---------------------------------------------------------- */

static void tap_close(mvm__tap *tap)
{
    mvm__loop_close(&tap->source);
    mvm__list_remove(&tap->ready);
    tap->open = false;
}

void mvm__stream_end(mvm__stream *s)
{
    if (mvm__linked(&s->dead))
        return;
    tap_close(&s->tap[0]);
    tap_close(&s->tap[1]);
    mvm__loop_close(&s->sink.source);
    s->sink.open = false;
    mvm__mount_over(s->mount);
    mvm__list_remove(&s->all);
    count--;
    mvm__list_append(&dead, &s->dead);
}

void mvm__stream_drop(mvm__stream *s)
{
    if (mvm__linked(&s->dead))
        return;
    mvm__exec_signal(s, SIGKILL);
    if (s->kind == MVM__MOUNT && s->pid > 0)
        kill(s->pid, SIGKILL);
    if (s->temp)
        unlink(s->temp);
    mvm__stream_end(s);
}

void mvm__stream_fail(mvm__stream *s, int errnum, const char *what)
{
    if (mvm__linked(&s->dead))
        return;
    mvm__out_error(s->id, errnum, what);
    mvm__stream_drop(s);
}

void mvm__streams_drop_all(void)
{
    for (size_t i = 0; i < BUCKETS; i++)
        mvm__list_each (l, &by_id[i])
            mvm__stream_drop(mvm__container_of(l, mvm__stream, all));
}

void mvm__streams_bury(void)
{
    for (mvm__link *l; (l = mvm__list_shift(&dead)) != NULL;) {
        mvm__stream *s = mvm__container_of(l, mvm__stream, dead);
        free(s->sink.queue);
        free(s->target);
        free(s->temp);
        free(s->mount);
        free(s);
    }
}

/* All three have been said: EXIT and the ends of both outputs. */
static void end_if_over(mvm__stream *s)
{
    if (s->exited && !s->tap[0].open && !s->tap[1].open)
        mvm__stream_end(s);
}

/* ---- towards the host ------------------------------------------------------------ */

static void tap_wake(mvm__tap *tap)
{
    if (tap->open && tap->readable && !mvm__linked(&tap->ready))
        mvm__list_append(&ready, &tap->ready);
}

static void on_tap(mvm__source *source, uint32_t events)
{
    mvm__tap *tap = mvm__container_of(source, mvm__tap, source);

    (void)events;
    tap->readable = true;
    tap_wake(tap);
}

int mvm__tap_open(mvm__stream *s, int channel, int fd)
{
    mvm__tap *tap = &s->tap[channel - 1];
    int rc = mvm__loop_watch(&tap->source, fd, EPOLLIN, on_tap);

    tap->open = true;
    tap->credit = MVM_AGENT_WINDOW;
    if (rc == -EPERM) { /* a regular file: there are always bytes, or the end */
        tap->readable = true;
        tap_wake(tap);
        rc = 0;
    }
    return rc;
}

void mvm__tap_credit(mvm__tap *tap, uint32_t more)
{
    tap->credit += more; /* 64 bits: no host lives long enough to wrap it */
    tap_wake(tap);
}

static void tap_eof(mvm__tap *tap)
{
    mvm__stream *s = tap->stream;

    tap_close(tap);
    mvm__out_frame(0);
    mvm__out_commit(MVM_AGENT_EOF, tap->channel, s->id, 0);
    if (s->kind == MVM__READ)
        mvm__stream_exit(s, 0, 0);
    else
        end_if_over(s);
}

/* Without credit no byte may be taken, but an end that has come can be told. */
static bool is_at_end(const mvm__tap *tap)
{
    struct pollfd p = {.fd = tap->source.fd, .events = POLLIN};

    return tap->stream->kind == MVM__EXEC && poll(&p, 1, 0) == 1 && (p.revents & POLLHUP) &&
           !(p.revents & POLLIN);
}

/* Only while the output queue has room. */
static void tap_read(mvm__tap *tap)
{
    size_t want = (size_t)MVM_MIN(tap->credit, (uint64_t)MVM_AGENT_DATA_MAX);

    if (want == 0) {
        if (is_at_end(tap))
            tap_eof(tap);
        return;
    }
    ssize_t n = read(tap->source.fd, mvm__out_frame(want), want);
    if (n > 0) {
        mvm__out_commit(MVM_AGENT_DATA, tap->channel, tap->stream->id, (size_t)n);
        tap->credit -= (uint64_t)n;
        tap_wake(tap);
    } else if (n == 0) {
        tap_eof(tap);
    } else if (errno == EAGAIN) {
        tap->readable = false;
    } else if (errno == EINTR) {
        tap_wake(tap);
    } else {
        mvm__stream_fail(tap->stream, errno, tap->stream->target);
    }
}

bool mvm__taps_pump(void)
{
    while (mvm__out_has_room()) {
        mvm__link *l = mvm__list_shift(&ready);
        if (!l)
            return false;
        tap_read(mvm__container_of(l, mvm__tap, ready));
    }
    return !mvm__list_empty(&ready);
}

/* What the command left in its pipe goes before its EXIT, as far as there is credit and room: then
 * a stream of which nothing is left ends with it. */
static void tap_catch_up(mvm__tap *tap)
{
    if (!tap->open)
        return;
    tap->readable = true; /* the loop may be about to say so */
    do {
        tap_wake(tap);
        if (!mvm__out_has_room())
            return;
        tap_read(tap);
    } while (tap->open && tap->readable && tap->credit > 0);
}

void mvm__stream_exit(mvm__stream *s, int status, int signum)
{
    tap_catch_up(&s->tap[0]);
    tap_catch_up(&s->tap[1]);
    if (mvm__linked(&s->dead)) /* its output could not be read: ERROR was said instead */
        return;
    mvm_agent_writer w = {.data = mvm__out_frame(8), .cap = 8};
    mvm_agent_put_u32(&w, (uint32_t)status);
    mvm_agent_put_u32(&w, (uint32_t)signum);
    mvm__out_commit(MVM_AGENT_EXIT, 0, s->id, w.len);
    s->exited = true;
    end_if_over(s);
}

/* ---- from the host ----------------------------------------------------------------- */

static void sink_consumed(mvm__sink *sink, size_t n)
{
    sink->consumed += (uint32_t)n;
    if (sink->eof || sink->consumed < MVM__GRANT)
        return;
    mvm_agent_writer w = {.data = mvm__out_frame(4), .cap = 4};
    mvm_agent_put_u32(&w, sink->consumed);
    mvm__out_commit(MVM_AGENT_CREDIT, 0, sink->stream->id, w.len);
    sink->window += sink->consumed;
    sink->consumed = 0;
}

static void sink_finish(mvm__sink *sink)
{
    if (sink->stream->kind == MVM__WRITE) {
        mvm__file_end(sink->stream);
    } else {
        mvm__loop_close(&sink->source);
        sink->open = false;
    }
}

/* The command does not read its input any more: what still comes is let go of, as a pipe would. */
static void sink_broken(mvm__sink *sink, int errnum)
{
    if (sink->stream->kind == MVM__WRITE) {
        mvm__stream_fail(sink->stream, errnum, sink->stream->target);
        return;
    }
    mvm__loop_close(&sink->source);
    sink->discard = true;
    sink_consumed(sink, sink->len);
    sink->len = 0;
}

/* How much was written, or -1: broken, and dealt with. */
static ssize_t sink_write(mvm__sink *sink, const uint8_t *data, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = write(sink->source.fd, data + done, len - done);
        if (n >= 0) {
            done += (size_t)n;
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            sink_broken(sink, errno);
            return -1;
        }
    }
    sink_consumed(sink, done);
    return (ssize_t)done;
}

static void sink_flush(mvm__sink *sink)
{
    if (sink->len > 0) {
        ssize_t n = sink_write(sink, sink->queue + sink->off, sink->len);
        if (n < 0)
            return;
        sink->off += (size_t)n;
        sink->len -= (size_t)n;
    }
    if (sink->len == 0) {
        sink->off = 0;
        if (sink->eof && sink->open)
            sink_finish(sink);
    }
}

static void on_sink(mvm__source *source, uint32_t events)
{
    (void)events;
    sink_flush(mvm__container_of(source, mvm__sink, source));
}

int mvm__sink_open(mvm__stream *s, int fd)
{
    s->sink.source.fd = fd; /* watched from the first time that it is full */
    s->sink.window = MVM_AGENT_WINDOW;
    s->sink.open = true;
    return 0;
}

static bool sink_keep(mvm__sink *sink, const uint8_t *data, size_t len)
{
    if (sink->off > 0 && sink->off + sink->len + len > sink->cap) {
        memmove(sink->queue, sink->queue + sink->off, sink->len);
        sink->off = 0;
    }
    if (sink->len + len > sink->cap) {
        size_t cap = MVM_MAX(sink->len + len, MVM_MAX(sink->cap * 2, (size_t)8192));
        uint8_t *queue = realloc(sink->queue, cap);
        if (!queue)
            return false;
        sink->queue = queue;
        sink->cap = cap;
    }
    memcpy(sink->queue + sink->off + sink->len, data, len);
    sink->len += len;
    return true;
}

void mvm__sink_data(mvm__sink *sink, const uint8_t *data, size_t len)
{
    sink->window -= (uint32_t)len;
    if (sink->discard) {
        sink_consumed(sink, len);
        return;
    }
    if (sink->len == 0) {
        ssize_t n = sink_write(sink, data, len);
        if (n < 0) {
            if (sink->discard)
                sink_consumed(sink, len);
            return;
        }
        data += n;
        len -= (size_t)n;
    }
    if (len == 0)
        return;
    if (!sink_keep(sink, data, len)) {
        mvm__stream_fail(sink->stream, ENOMEM, "input of the command");
        return;
    }
    if (!sink->source.ready) {
        int rc = mvm__loop_watch(&sink->source, sink->source.fd, EPOLLOUT, on_sink);
        if (rc)
            mvm__stream_fail(sink->stream, -rc, sink->stream->target);
    }
}

void mvm__sink_eof(mvm__sink *sink)
{
    if (!sink->open || sink->eof)
        return;
    sink->eof = true;
    sink_flush(sink);
}
