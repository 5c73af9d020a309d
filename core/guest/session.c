/* SPDX-License-Identifier: MIT */
/*
 * The session on the port: takes frames in, finds its way back to them after
 * garbage, and hands each to what it asks for. What the host sends is checked
 * like anything from outside: a slip ends the stream that it names.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "guest/agent.h"

#define INPUT_CAP   (2u * MVM_AGENT_SYNC)
#define TURN_INPUT  65536u /* of one turn, so that input can't starve output */
#define FAREWELL_MS 1000
#define HELLO_START (MVM_AGENT_HEADER + 8u) /* what mvm_agent_resync() compares */

static mvm__source port = {.fd = -1};
static int port_kind;
static bool readable, writable, lost, syncing;
static uint8_t input[INPUT_CAP];
static size_t input_off, input_len;

static void put_text(mvm_agent_writer *w, const char *text)
{
    mvm_agent_put_str(w, text, strlen(text));
}

static void say_hello(uint64_t nonce)
{
    struct utsname host;
    mvm_agent_writer w = {.data = mvm__out_frame(32), .cap = 32};

    for (const char *c = MVM_AGENT_HELLO_MAGIC; *c; c++)
        mvm_agent_put_u8(&w, (uint8_t)*c);
    mvm_agent_put_u32(&w, MVM_AGENT_VERSION);
    mvm_agent_put_u64(&w, nonce);
    mvm__out_commit(MVM_AGENT_HELLO, 0, 0, w.len);

    uname(&host);
    w = (mvm_agent_writer){.data = mvm__out_frame(512), .cap = 512};
    mvm_agent_put_u64(&w, nonce);
    mvm_agent_put_u64(&w, mvm__began_ns);
    mvm_agent_put_u64(&w, mvm__now_ns());
    put_text(&w, MVM_AGENT_RELEASE);
    put_text(&w, host.release);
    put_text(&w, host.nodename);
    mvm__out_commit(MVM_AGENT_READY, 0, 0, w.len);
}

static void on_port(mvm__source *source, uint32_t events)
{
    (void)source;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        readable = true; /* a hang-up shows as the end of what can be read */
    if (events & EPOLLOUT)
        writable = true;
    if (lost && !(events & EPOLLHUP)) {
        lost = false;
        say_hello(0);
    }
}

int mvm__session_open(int fd, int kind)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) || fcntl(fd, F_SETFD, FD_CLOEXEC))
        return -errno;
    int rc = mvm__loop_watch(&port, fd, EPOLLIN | EPOLLOUT, on_port);
    if (rc) {
        port.fd = -1;
        return rc;
    }
    port_kind = kind;
    readable = writable = true;
    lost = syncing = false;
    input_off = input_len = 0;
    mvm__out_reset(true);
    say_hello(0);
    return 0;
}

bool mvm__session_is_open(void)
{
    return port.fd >= 0;
}

/* ---- frames ---------------------------------------------------------------------- */

static void on_hello(const mvm_agent_frame *f)
{
    mvm_agent_reader r = {.data = f->payload, .len = f->len};

    if (f->len != 20 || memcmp(f->payload, MVM_AGENT_HELLO_MAGIC, 8) != 0)
        return;
    r.pos = 8;
    mvm_agent_get_u32(&r); /* the host decides what it can do with our version */
    uint64_t nonce = mvm_agent_get_u64(&r);
    mvm__streams_drop_all();
    mvm__out_reset(false);
    say_hello(nonce);
}

/* The channel that the host takes from, or NULL. */
static mvm__tap *tap_of(mvm__stream *s, uint8_t channel)
{
    return channel > 0 ? &s->tap[channel - 1] : NULL;
}

static void on_stream_frame(mvm__stream *s, const mvm_agent_frame *f)
{
    mvm_agent_reader r = {.data = f->payload, .len = f->len};
    mvm__tap *tap = tap_of(s, f->channel);

    switch (f->type) {
    case MVM_AGENT_DATA:
        if (tap || !s->sink.open || s->sink.eof || f->len > MVM_AGENT_DATA_MAX ||
            f->len > s->sink.window)
            mvm__stream_fail(s, EPROTO, "data beyond the credit or after the end");
        else
            mvm__sink_data(&s->sink, f->payload, f->len);
        break;
    case MVM_AGENT_EOF:
        if (!tap)
            mvm__sink_eof(&s->sink);
        break;
    case MVM_AGENT_CREDIT:
        if (tap && f->len == 4)
            mvm__tap_credit(tap, mvm_agent_get_u32(&r));
        else
            mvm__stream_fail(s, EPROTO, "bad CREDIT");
        break;
    case MVM_AGENT_SIGNAL:
        if (f->len == 4)
            mvm__exec_signal(s, (int)mvm_agent_get_u32(&r));
        else
            mvm__stream_fail(s, EPROTO, "bad SIGNAL");
        break;
    case MVM_AGENT_CLOSE:
        mvm__stream_drop(s);
        break;
    default:
        mvm__stream_fail(s, EPROTO, "a frame that only the guest sends, or a stream used twice");
    }
}

static void on_frame(const mvm_agent_frame *f)
{
    mvm__stream *s = mvm__stream_find(f->stream);

    if (f->type == MVM_AGENT_HELLO) {
        on_hello(f);
    } else if (f->type == MVM_AGENT_POWER) {
        if (f->len == 1 && f->payload[0] <= 1)
            mvm__power(f->payload[0] == 1);
        else
            mvm__out_error(f->stream, EPROTO, "bad POWER");
    } else if (s) {
        on_stream_frame(s, f);
    } else if (f->type == MVM_AGENT_EXEC || f->type == MVM_AGENT_OPEN ||
               f->type == MVM_AGENT_MOUNT) {
        if (f->stream == 0)
            mvm__out_error(0, EPROTO, "stream 0 is the session's");
        else if (mvm__streams_full())
            mvm__out_error(f->stream, EAGAIN, "too many streams");
        else if (f->type == MVM_AGENT_EXEC)
            mvm__exec(f);
        else if (f->type == MVM_AGENT_OPEN)
            mvm__open(f);
        else
            mvm__mount(f);
    } /* else it was in flight when its stream ended */
}

static void take_frames(void)
{
    while (input_len > 0 && !mvm__out_is_choked()) {
        const uint8_t *at = input + input_off;
        mvm_agent_frame f;
        long n;

        if (syncing) {
            n = (long)mvm_agent_resync(at, input_len);
            syncing = input_len - (size_t)n < HELLO_START; /* it may still turn out to be none */
            if (n == 0 && syncing)
                break;
        } else {
            n = mvm_agent_decode(at, input_len, &f);
            if (n == 0)
                break;
            if (n < 0) {
                syncing = true;
                continue;
            }
            on_frame(&f);
        }
        input_off += (size_t)n;
        input_len -= (size_t)n;
    }
    if (input_len == 0)
        input_off = 0;
}

/* ---- the port -------------------------------------------------------------------- */

/* The other end is gone: nobody waits for what still runs. A device's host may come back. */
static void lose(bool gone)
{
    mvm__streams_drop_all();
    mvm__out_reset(true);
    input_off = input_len = 0;
    syncing = false;
    readable = false;
    lost = true;
    if (gone)
        mvm__loop_close(&port);
}

static void take_input(void)
{
    size_t taken = 0;

    while (readable && taken < TURN_INPUT && port.fd >= 0) {
        if (INPUT_CAP - input_off - input_len < TURN_INPUT) {
            memmove(input, input + input_off, input_len);
            input_off = 0;
        }
        size_t room = MVM_MIN(INPUT_CAP - input_off - input_len, (size_t)TURN_INPUT);
        ssize_t n = read(port.fd, input + input_off + input_len, room);
        if (n > 0) {
            input_len += (size_t)n;
            taken += (size_t)n;
        } else if (n == 0) {
            lose(port_kind == MVM__PORT_SOCKET);
        } else if (errno == EAGAIN) {
            readable = false;
        } else if (errno != EINTR) {
            lose(true);
        }
    }
}

bool mvm__session_serve(void)
{
    if (port.fd >= 0 && !mvm__out_is_choked()) {
        take_frames(); /* those that an earlier turn had no room for */
        if (!mvm__out_is_choked())
            take_input();
        take_frames();
    }
    bool more = mvm__taps_pump();
    if (port.fd >= 0 && writable) {
        int rc = mvm__out_flush(port.fd);
        writable = rc == 0;
        if (rc < 0)
            lose(true);
    }
    return port.fd >= 0 && ((readable && !mvm__out_is_choked()) || (more && mvm__out_has_room()));
}

void mvm__session_sent_all(void)
{
    uint64_t until = mvm__now_ns() + FAREWELL_MS * 1000000ull;

    while (port.fd >= 0 && mvm__out_flush(port.fd) == 1 && mvm__now_ns() < until) {
        struct pollfd p = {.fd = port.fd, .events = POLLOUT};
        if (poll(&p, 1, FAREWELL_MS) <= 0 || !(p.revents & POLLOUT))
            break;
    }
}
