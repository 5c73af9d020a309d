/* SPDX-License-Identifier: MIT */
/*
 * The agent of a simulated guest: the far side of the agent protocol (wire/agent_wire.h), with the
 * flow control of the real one. Every turn of the guest looks at each stream once, so none starves.
 * Loop thread only.
 */
#include "backend/sim/sim_internal.h"

#include <errno.h>
#include <string.h>

#include "mvm/backend.h"
#include "mvm/host.h"

/* What the host gets at once: frames arrive cut anywhere, as they do from a real port. */
#define PIECE 7919u
#define GRANT (MVM_AGENT_WINDOW / 8) /* consumed bytes that are worth a CREDIT frame */

struct mvm__sim_stream {
    mvm__link link;
    mvm__sim *sim;
    uint32_t id;
    uint32_t credit[3]; /* 1, 2: what may still be sent; 0: what the host may still send */
    bool held;          /* the command has not begun: latency */
    mvm__sim_task task;
    mvm__sim_proc *proc; /* EXEC */
    bool scripted;
    int status, signal;
    double delay;
    bool reading; /* OPEN to read */
    mvm__sim_source source;
    mvm__sim_blob *blob; /* OPEN to write: what has arrived */
    char *path;
    int perm;
    uint32_t taken; /* of it, since credit was last granted */
};

static void pump(void *ud);

void mvm__sim_wake(mvm__sim *sim)
{
    if (!mvm__linked(&sim->pump.link) && !sim->halted)
        mvm__sim_at(&sim->clock, &sim->pump, 0, pump, sim);
}

/* ---- frames to the host --------------------------------------------------------------- */

static void send_frame(mvm__sim *sim, uint8_t type, uint8_t channel, uint32_t stream,
                       const void *payload, size_t len)
{
    uint8_t header[MVM_AGENT_HEADER];

    mvm_agent_header(header, type, channel, stream, (uint32_t)len);
    mvm__buf_append(&sim->port.out, header, sizeof(header));
    mvm__buf_append(&sim->port.out, payload, len);
    mvm__sim_wake(sim);
}

static void send_pair(mvm__sim *sim, uint8_t type, uint32_t stream, int a, int b)
{
    uint8_t payload[8];
    mvm_agent_writer w = {.data = payload, .cap = sizeof(payload)};

    mvm_agent_put_u32(&w, (uint32_t)a);
    mvm_agent_put_u32(&w, (uint32_t)b);
    send_frame(sim, type, 0, stream, payload, w.len);
}

static void send_error(mvm__sim *sim, uint32_t stream, int error, const char *text)
{
    uint8_t payload[512];
    mvm_agent_writer w = {.data = payload, .cap = sizeof(payload)};

    mvm_agent_put_u32(&w, (uint32_t)error);
    mvm_agent_put_str(&w, text, MVM_MIN(strlen(text), sizeof(payload) - 8));
    send_frame(sim, MVM_AGENT_ERROR, 0, stream, payload, w.len);
}

static void send_credit(mvm__sim_stream *s, size_t more)
{
    uint8_t payload[4];
    mvm_agent_writer w = {.data = payload, .cap = sizeof(payload)};

    mvm_agent_put_u32(&w, (uint32_t)more);
    s->credit[0] += (uint32_t)more;
    send_frame(s->sim, MVM_AGENT_CREDIT, 0, s->id, payload, w.len);
}

static void send_ready(mvm__sim *sim, uint64_t nonce)
{
    uint8_t payload[256];
    mvm_agent_writer w = {.data = payload, .cap = sizeof(payload)};
    const char *host = mvm__sim_hostname(sim);
    uint64_t now = (uint64_t)(mvm__sim_clock_now(&sim->clock) * 1e9);

    for (const char *c = MVM_AGENT_HELLO_MAGIC; *c; c++)
        mvm_agent_put_u8(&w, (uint8_t)*c);
    mvm_agent_put_u32(&w, MVM_AGENT_VERSION);
    mvm_agent_put_u64(&w, nonce);
    send_frame(sim, MVM_AGENT_HELLO, 0, 0, payload, w.len);

    w = (mvm_agent_writer){.data = payload, .cap = sizeof(payload)};
    mvm_agent_put_u64(&w, nonce);
    mvm_agent_put_u64(&w, (uint64_t)(sim->boot_seconds * 1e9));
    mvm_agent_put_u64(&w, now);
    mvm_agent_put_str(&w, mvm_version(), strlen(mvm_version()));
    mvm_agent_put_str(&w, "6.1.0-sim", 9);
    mvm_agent_put_str(&w, host, strlen(host));
    send_frame(sim, MVM_AGENT_READY, 0, 0, payload, w.len);
}

/* ---- streams ------------------------------------------------------------------------------ */

static mvm__sim_stream *stream_find(mvm__sim *sim, uint32_t id)
{
    mvm__list_each (it, &sim->port.streams) {
        mvm__sim_stream *s = mvm__container_of(it, mvm__sim_stream, link);
        if (s->id == id)
            return s;
    }
    return NULL;
}

static mvm__sim_stream *stream_new(mvm__sim *sim, uint32_t id)
{
    mvm__sim_stream *s = mvm__alloc(sizeof(*s));

    s->sim = sim;
    s->id = id;
    s->credit[0] = s->credit[1] = s->credit[2] = MVM_AGENT_WINDOW;
    mvm__list_append(&sim->port.streams, &s->link);
    sim->port.nstreams++;
    return s;
}

static void stream_free(mvm__sim_stream *s)
{
    mvm__list_remove(&s->link);
    s->sim->port.nstreams--;
    mvm__sim_unset(&s->task);
    mvm__sim_proc_free(s->proc);
    mvm__sim_source_close(&s->source);
    mvm__sim_blob_unref(s->blob);
    mvm__free(s->path);
    mvm__free(s);
}

static void streams_clear(mvm__sim *sim)
{
    mvm__list_each (it, &sim->port.streams)
        stream_free(mvm__container_of(it, mvm__sim_stream, link));
}

/* Ends the stream with "WHAT: REASON", as the real agent words it. */
static void stream_error(mvm__sim_stream *s, const char *what, int error)
{
    MVM_AUTO_FREE char *text = mvm__asprintf("%.200s: %s", what, mvm__sim_strerror(error));

    send_error(s->sim, s->id, error, text);
    stream_free(s);
}

/* ---- EXEC ---------------------------------------------------------------------------------------
 */

static void scripted_end(void *ud)
{
    mvm__sim_stream *s = ud;

    s->proc->waiting = false;
    mvm__sim_proc_end(s->proc, s->status, s->signal);
    mvm__sim_wake(s->sim);
}

static void exec_start(void *ud)
{
    mvm__sim_stream *s = ud;

    s->held = false;
    send_pair(s->sim, MVM_AGENT_STARTED, s->id, s->proc->pid, -1);
    if (s->scripted) {
        s->proc->waiting = true;
        mvm__sim_at(&s->sim->clock, &s->task, s->delay, scripted_end, s);
    }
    mvm__sim_wake(s->sim);
}

/* Asks the machine's script; true: it answers. */
static bool exec_scripted(mvm__sim_stream *s, const char *const *argv)
{
    mvm_sim_reply reply = {0};

    if (!s->sim->script || !s->sim->script(s->sim->script_ud, s->sim->vm, argv, &reply))
        return false;
    s->scripted = true;
    s->status = reply.status;
    s->signal = reply.signal;
    s->delay = reply.delay;
    mvm__buf_append(&s->proc->out[1], reply.out, reply.out ? reply.out_len : 0);
    mvm__buf_append(&s->proc->out[2], reply.err, reply.err ? reply.err_len : 0);
    return true;
}

static void exec_strings(mvm__sim *sim, uint32_t id, uint32_t flags, char **strings, int argc)
{
    const char *cwd = *strings[0] ? strings[0] : "/";
    MVM_AUTO_FREE char *path = mvm__sim_path("/", cwd);
    mvm__sim_stream *s = stream_new(sim, id);

    s->proc = mvm__sim_proc_new(sim, s, path);
    s->proc->in_eof = flags & MVM_AGENT_EXEC_STDIN_NULL;
    for (char **e = strings + 1 + argc + 1; *e; e++)
        mvm__sim_setenv(s->proc, *e, strlen(*e));
    if (!exec_scripted(s, (const char *const *)strings + 1)) {
        const char *what = mvm__sim_kind(sim, path) == 'd' ? strings[1] : cwd;
        if (what == cwd || mvm__sim_proc_begin(s->proc, (const char *const *)strings + 1) != 0) {
            stream_error(s, what, ENOENT);
            return;
        }
    }
    s->held = true;
    if (sim->latency > 0)
        mvm__sim_at(&sim->clock, &s->task, sim->latency, exec_start, s);
    else
        exec_start(s);
}

static void on_exec(mvm__sim *sim, const mvm_agent_frame *frame, mvm_agent_reader *r)
{
    uint32_t flags = mvm_agent_get_u32(r);
    int argc = mvm_agent_get_u16(r), envc = mvm_agent_get_u16(r);
    const char *failure = mvm__sim_failure(sim, "exec");
    int n = 0;

    if (failure) {
        send_error(sim, frame->stream, EIO, failure);
        return;
    }
    if (r->bad || argc == 0) {
        send_error(sim, frame->stream, EPROTO, "bad EXEC: Protocol error");
        return;
    }
    /* cwd, argv, NULL, env, NULL */
    char **strings = mvm__alloc(((size_t)argc + (size_t)envc + 3) * sizeof(*strings));
    for (int i = 0; i < 1 + argc + envc; i++) {
        size_t len;
        const char *text = mvm_agent_get_str(r, &len);
        strings[n++] = mvm__strndup(text, len);
        if (i == argc)
            n++;
    }
    if (r->bad)
        send_error(sim, frame->stream, EPROTO, "bad EXEC: Protocol error");
    else
        exec_strings(sim, frame->stream, flags, strings, argc);
    for (int i = 0; i < argc + envc + 2; i++)
        mvm__free(strings[i]);
    mvm__free(strings);
}

/* ---- OPEN
 * ------------------------------------------------------------------------------------------- */

static void on_open(mvm__sim *sim, const mvm_agent_frame *frame, mvm_agent_reader *r)
{
    uint8_t mode = mvm_agent_get_u8(r);
    int perm = (int)mvm_agent_get_u32(r);
    size_t len;
    const char *text = mvm_agent_get_str(r, &len);
    const char *failure = mvm__sim_failure(sim, "open");

    if (r->bad || mode > 1) {
        send_error(sim, frame->stream, EPROTO, "bad OPEN: Protocol error");
        return;
    }
    if (failure) {
        send_error(sim, frame->stream, EIO, failure);
        return;
    }
    MVM_AUTO_FREE char *given = mvm__strndup(text, len);
    mvm__sim_stream *s = stream_new(sim, frame->stream);
    s->path = mvm__sim_path("/", given);
    s->perm = perm;
    s->reading = mode == 0;
    int error =
        s->reading ? mvm__sim_open(sim, s->path, &s->source) : mvm__sim_may_write(sim, s->path);
    if (error != 0) {
        stream_error(s, s->path, error);
        return;
    }
    if (!s->reading)
        s->blob = mvm__sim_blob_new("", 0);
    send_pair(sim, MVM_AGENT_STARTED, s->id, 0, s->reading ? mvm__sim_perm(sim, s->path) : perm);
}

static void write_data(mvm__sim_stream *s, const mvm_agent_frame *frame)
{
    mvm__buf_append(&s->blob->bytes, frame->payload, frame->len);
    int error = mvm__sim_room(s->sim, s->path, mvm__buf_len(&s->blob->bytes));
    if (error != 0) {
        stream_error(s, s->path, error);
        return;
    }
    s->taken += frame->len;
    if (s->taken >= GRANT) {
        send_credit(s, s->taken);
        s->taken = 0;
    }
}

static void write_end(mvm__sim_stream *s)
{
    mvm__sim_blob *blob = s->blob;

    s->blob = NULL;
    int error = mvm__sim_store(s->sim, s->path, blob, s->perm);
    if (error != 0) {
        stream_error(s, s->path, error);
        return;
    }
    send_pair(s->sim, MVM_AGENT_EXIT, s->id, 0, 0);
    stream_free(s);
}

/* ---- frames from the host
 * ------------------------------------------------------------------------------ */

static void on_data(mvm__sim_stream *s, const mvm_agent_frame *frame)
{
    if (frame->channel != 0 || frame->len > s->credit[0]) {
        stream_error(s, "data beyond the credit", EPROTO);
        return;
    }
    s->credit[0] -= frame->len;
    if (s->blob)
        write_data(s, frame);
    else if (s->scripted)
        s->proc->taken += frame->len; /* read by nobody, like a command that drops it */
    else if (s->proc && !s->proc->in_eof)
        mvm__buf_append(&s->proc->in, frame->payload, frame->len);
}

static void on_stream_frame(mvm__sim_stream *s, const mvm_agent_frame *frame, mvm_agent_reader *r)
{
    uint32_t n;

    switch (frame->type) {
    case MVM_AGENT_DATA:
        on_data(s, frame);
        break;
    case MVM_AGENT_EOF:
        if (s->proc)
            s->proc->in_eof = true;
        else if (s->blob)
            write_end(s);
        break;
    case MVM_AGENT_CREDIT:
        n = mvm_agent_get_u32(r);
        s->credit[frame->channel] += MVM_MIN(n, UINT32_MAX - s->credit[frame->channel]);
        break;
    case MVM_AGENT_SIGNAL:
        if (s->proc)
            mvm__sim_proc_signal(s->proc, (int)mvm_agent_get_u32(r));
        break;
    case MVM_AGENT_CLOSE:
        stream_free(s);
        break;
    default:
        stream_error(s, "a frame that only the guest sends", EPROTO);
    }
}

static void on_power(mvm__sim *sim, bool reboot)
{
    const char *failure = reboot ? NULL : mvm__sim_failure(sim, "stop");

    if (failure)
        mvm__sim_kmsg(sim, "macvm-agent: poweroff: %s", failure);
    else if (reboot || !sim->ignores)
        mvm__sim_power(sim, reboot);
}

static void on_frame(mvm__sim *sim, const mvm_agent_frame *frame)
{
    mvm_agent_reader r = {.data = frame->payload, .len = frame->len};
    mvm__sim_stream *s = frame->stream ? stream_find(sim, frame->stream) : NULL;

    if (frame->type == MVM_AGENT_HELLO) {
        for (size_t i = 0; i < 8; i++)
            mvm_agent_get_u8(&r);
        mvm_agent_get_u32(&r);
        streams_clear(sim);
        send_ready(sim, mvm_agent_get_u64(&r));
    } else if (frame->type == MVM_AGENT_POWER) {
        on_power(sim, mvm_agent_get_u8(&r) == 1);
    } else if (frame->type != MVM_AGENT_EXEC && frame->type != MVM_AGENT_OPEN) {
        if (s) /* else: in flight when the stream ended */
            on_stream_frame(s, frame, &r);
    } else if (s) {
        stream_error(s, "a number in use", EPROTO);
    } else if (sim->port.nstreams >= MVM_AGENT_STREAMS_MAX) {
        send_error(sim, frame->stream, EAGAIN, mvm__sim_strerror(EAGAIN));
    } else if (frame->type == MVM_AGENT_EXEC) {
        on_exec(sim, frame, &r);
    } else {
        on_open(sim, frame, &r);
    }
}

static void take_frames(mvm__sim *sim)
{
    mvm_agent_frame frame;

    while (sim->port.open && mvm__buf_len(&sim->port.in) > 0) {
        const uint8_t *data = (const uint8_t *)mvm__buf_ptr(&sim->port.in);
        size_t len = mvm__buf_len(&sim->port.in);
        long used = mvm_agent_decode(data, len, &frame);
        if (used == 0)
            break;
        if (used < 0) {
            size_t skip = mvm_agent_resync(data, len);
            mvm__buf_consume(&sim->port.in, skip);
            if (skip == 0)
                break;
            continue;
        }
        on_frame(sim, &frame);
        mvm__buf_consume(&sim->port.in, MVM_MIN((size_t)used, mvm__buf_len(&sim->port.in)));
    }
    if (mvm__buf_len(&sim->port.in) == 0)
        mvm__buf_free(&sim->port.in);
    if (sim->port.refused && mvm__buf_len(&sim->port.in) < MVM__SIM_PORT / 2) {
        sim->port.refused = false;
        mvm__vm_on_agent_writable(sim->vm);
    }
}

/* ---- the turn
 * ---------------------------------------------------------------------------------------------- */

/* One frame of a channel's output, when there is credit for it. */
static bool send_output(mvm__sim_stream *s, int channel)
{
    mvm__buf *out = &s->proc->out[channel];
    size_t n = MVM_MIN(mvm__buf_len(out), MVM_MIN(s->credit[channel], MVM_AGENT_DATA_MAX));

    if (n == 0)
        return false;
    send_frame(s->sim, MVM_AGENT_DATA, (uint8_t)channel, s->id, mvm__buf_ptr(out), n);
    s->credit[channel] -= (uint32_t)n;
    mvm__buf_consume(out, n);
    return true;
}

static bool exec_turn(mvm__sim_stream *s)
{
    mvm__sim_proc *p = s->proc;
    bool more = mvm__sim_proc_run(p);

    more |= send_output(s, 1);
    more |= send_output(s, 2);
    if (p->taken >= GRANT || (p->taken > 0 && mvm__buf_len(&p->in) == 0)) {
        send_credit(s, p->taken);
        p->taken = 0;
    }
    if (!p->ended || mvm__buf_len(&p->out[1]) > 0 || mvm__buf_len(&p->out[2]) > 0)
        return more;
    send_frame(s->sim, MVM_AGENT_EOF, 1, s->id, NULL, 0);
    send_frame(s->sim, MVM_AGENT_EOF, 2, s->id, NULL, 0);
    send_pair(s->sim, MVM_AGENT_EXIT, s->id, p->status, p->signal);
    stream_free(s);
    return false;
}

static bool read_turn(mvm__sim_stream *s)
{
    char chunk[MVM_AGENT_DATA_MAX];
    size_t most = MVM_MIN(s->credit[1], sizeof(chunk));

    if (most == 0)
        return false;
    size_t n = mvm__sim_read(s->sim, &s->source, chunk, most);
    s->credit[1] -= (uint32_t)n;
    if (n > 0) {
        send_frame(s->sim, MVM_AGENT_DATA, 1, s->id, chunk, n);
        return true;
    }
    send_frame(s->sim, MVM_AGENT_EOF, 1, s->id, NULL, 0);
    send_pair(s->sim, MVM_AGENT_EXIT, s->id, 0, 0);
    stream_free(s);
    return false;
}

static void deliver(mvm__sim *sim)
{
    while (sim->port.open && sim->port.reading && mvm__buf_len(&sim->port.out) > 0) {
        char piece[PIECE];
        size_t n = MVM_MIN(mvm__buf_len(&sim->port.out), sizeof(piece));
        memcpy(piece, mvm__buf_ptr(&sim->port.out), n);
        mvm__buf_consume(&sim->port.out, n);
        mvm__vm_on_agent_data(sim->vm, piece, n);
    }
    if (mvm__buf_len(&sim->port.out) == 0)
        mvm__buf_free(&sim->port.out);
}

/* One turn of the guest: what arrived, a step of every command, what they have to say. */
static void pump(void *ud)
{
    mvm__sim *sim = ud;
    bool more = false;

    take_frames(sim);
    mvm__list_each (it, &sim->port.streams) {
        mvm__sim_stream *s = mvm__container_of(it, mvm__sim_stream, link);
        if (mvm__buf_len(&sim->port.out) >= MVM__SIM_PORT || sim->halted)
            break;
        if (s->proc && !s->held)
            more |= exec_turn(s);
        else if (s->reading)
            more |= read_turn(s);
    }
    more |= mvm__sim_console_pump(sim);
    deliver(sim);
    if (more && mvm__buf_len(&sim->port.out) < MVM__SIM_PORT)
        mvm__sim_wake(sim);
}

/* ---- the port
 * ---------------------------------------------------------------------------------------------------
 */

void mvm__sim_agent_start(mvm__sim *sim)
{
    sim->port.open = sim->port.reading = true;
    mvm__vm_on_agent_port(sim->vm, true);
    send_ready(sim, 0);
}

void mvm__sim_agent_clear(mvm__sim *sim)
{
    streams_clear(sim);
    mvm__buf_free(&sim->port.in);
    mvm__buf_free(&sim->port.out);
    sim->port.open = sim->port.refused = false;
}

void mvm__sim_agent_stop(mvm__sim *sim, bool report)
{
    bool was = sim->port.open;

    mvm__sim_agent_clear(sim);
    if (was && report)
        mvm__vm_on_agent_port(sim->vm, false);
}

/* With nobody at the far side, bytes are lost, as on a port that the guest has not opened. */
size_t mvm__sim_agent_write(mvm_vm *vm, const void *data, size_t len)
{
    mvm__sim *sim = mvm__vm_data(vm);

    if (!sim->port.open)
        return len;
    size_t n = MVM_MIN(len, MVM__SIM_PORT - mvm__buf_len(&sim->port.in));
    mvm__buf_append(&sim->port.in, data, n);
    sim->port.refused |= n < len;
    mvm__sim_wake(sim);
    return n;
}

void mvm__sim_agent_read(mvm_vm *vm, bool on)
{
    mvm__sim *sim = mvm__vm_data(vm);

    sim->port.reading = on;
    if (on)
        mvm__sim_wake(sim);
}
