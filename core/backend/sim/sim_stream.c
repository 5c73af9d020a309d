/* SPDX-License-Identifier: MIT */
/*
 * Streams of a simulated guest's agent: the commands and open files that the host asked for, with
 * the flow control of the real agent. sim_guest.c brings the frames and gives each stream its
 * turns. Loop thread only.
 */
#include "backend/sim/sim_agent.h"

#include <errno.h>
#include <string.h>

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
    bool exited, eof[3]; /* said: EXIT; 1, 2: EOF */
    int status, signal;
    double delay;
    bool reading; /* OPEN to read */
    mvm__sim_source source;
    mvm__sim_blob *blob; /* OPEN to write: what has arrived */
    char *path;
    int perm;
    uint32_t taken; /* of it, since credit was last granted */
};

/* ---- frames to the host --------------------------------------------------------------- */

static void send_pair(mvm__sim *sim, uint8_t type, uint32_t stream, int a, int b)
{
    uint8_t payload[8];
    mvm_agent_writer w = {.data = payload, .cap = sizeof(payload)};

    mvm_agent_put_u32(&w, (uint32_t)a);
    mvm_agent_put_u32(&w, (uint32_t)b);
    mvm__sim_send(sim, type, 0, stream, payload, w.len);
}

static void send_credit(mvm__sim_stream *s, size_t more)
{
    uint8_t payload[4];
    mvm_agent_writer w = {.data = payload, .cap = sizeof(payload)};

    mvm_agent_put_u32(&w, (uint32_t)more);
    s->credit[0] += (uint32_t)more;
    mvm__sim_send(s->sim, MVM_AGENT_CREDIT, 0, s->id, payload, w.len);
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

void mvm__sim_streams_clear(mvm__sim *sim)
{
    mvm__list_each (it, &sim->port.streams)
        stream_free(mvm__container_of(it, mvm__sim_stream, link));
}

/* Ends the stream with "WHAT: REASON", as the real agent words it. */
static void stream_error(mvm__sim_stream *s, const char *what, int error)
{
    MVM_AUTO_FREE char *text = mvm__asprintf("%.200s: %s", what, mvm__sim_strerror(error));

    mvm__sim_send_error(s->sim, s->id, error, text);
    stream_free(s);
}

/* ---- EXEC ----------------------------------------------------------------------------- */

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
        mvm__sim_send_error(sim, frame->stream, EIO, failure);
        return;
    }
    if (r->bad || argc == 0) {
        mvm__sim_send_error(sim, frame->stream, EPROTO, "bad EXEC: Protocol error");
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
        mvm__sim_send_error(sim, frame->stream, EPROTO, "bad EXEC: Protocol error");
    else
        exec_strings(sim, frame->stream, flags, strings, argc);
    for (int i = 0; i < argc + envc + 2; i++)
        mvm__free(strings[i]);
    mvm__free(strings);
}

/* ---- OPEN ----------------------------------------------------------------------------- */

static void on_open(mvm__sim *sim, const mvm_agent_frame *frame, mvm_agent_reader *r)
{
    uint8_t mode = mvm_agent_get_u8(r);
    int perm = (int)mvm_agent_get_u32(r);
    size_t len;
    const char *text = mvm_agent_get_str(r, &len);
    const char *failure = mvm__sim_failure(sim, "open");

    if (r->bad || mode > 1) {
        mvm__sim_send_error(sim, frame->stream, EPROTO, "bad OPEN: Protocol error");
        return;
    }
    if (failure) {
        mvm__sim_send_error(sim, frame->stream, EIO, failure);
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

/* ---- frames from the host ------------------------------------------------------------- */

static void on_data(mvm__sim_stream *s, const mvm_agent_frame *frame)
{
    if (frame->channel != 0 || frame->len > s->credit[0]) {
        stream_error(s, "data beyond the credit", EPROTO);
        return;
    }
    s->credit[0] -= frame->len;
    if (s->blob)
        write_data(s, frame);
    else if (s->proc && (s->scripted || s->proc->ended))
        s->proc->taken += frame->len; /* read by nobody: dropped, so that the host goes on */
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

void mvm__sim_stream_frame(mvm__sim *sim, const mvm_agent_frame *frame)
{
    mvm_agent_reader r = {.data = frame->payload, .len = frame->len};
    mvm__sim_stream *s = stream_find(sim, frame->stream);

    if (frame->type != MVM_AGENT_EXEC && frame->type != MVM_AGENT_OPEN &&
        frame->type != MVM_AGENT_MOUNT) {
        if (s) /* else: in flight when the stream ended */
            on_stream_frame(s, frame, &r);
    } else if (s) {
        stream_error(s, "a number in use", EPROTO);
    } else if (sim->port.nstreams >= MVM_AGENT_STREAMS_MAX) {
        mvm__sim_send_error(sim, frame->stream, EAGAIN, mvm__sim_strerror(EAGAIN));
    } else if (frame->type == MVM_AGENT_MOUNT) {
        mvm__sim_send_error(sim, frame->stream, ENOSYS, "a simulated guest mounts nothing");
    } else if (frame->type == MVM_AGENT_EXEC) {
        on_exec(sim, frame, &r);
    } else {
        on_open(sim, frame, &r);
    }
}

/* ---- turns: each looks at every stream once, so none starves -------------------------- */

/* One frame of a channel's output, when there is credit for it. */
static bool send_output(mvm__sim_stream *s, int channel)
{
    mvm__buf *out = &s->proc->out[channel];
    size_t n = MVM_MIN(mvm__buf_len(out), MVM_MIN(s->credit[channel], MVM_AGENT_DATA_MAX));

    if (n == 0)
        return false;
    mvm__sim_send(s->sim, MVM_AGENT_DATA, (uint8_t)channel, s->id, mvm__buf_ptr(out), n);
    s->credit[channel] -= (uint32_t)n;
    mvm__buf_consume(out, n);
    return true;
}

/* What a command that has ended leaves behind: EXIT does not wait for what nobody reads yet. */
static void exec_ended(mvm__sim_stream *s)
{
    mvm__sim_proc *p = s->proc;

    p->taken += mvm__buf_len(&p->in);
    mvm__buf_free(&p->in);
    for (uint8_t channel = 1; channel <= 2; channel++) {
        if (s->eof[channel] || mvm__buf_len(&p->out[channel]) > 0)
            continue;
        s->eof[channel] = true;
        mvm__sim_send(s->sim, MVM_AGENT_EOF, channel, s->id, NULL, 0);
    }
    if (!s->exited) {
        s->exited = true;
        send_pair(s->sim, MVM_AGENT_EXIT, s->id, p->status, p->signal);
    }
}

static bool exec_turn(mvm__sim_stream *s)
{
    mvm__sim_proc *p = s->proc;
    bool more = mvm__sim_proc_run(p);

    more |= send_output(s, 1);
    more |= send_output(s, 2);
    if (p->ended)
        exec_ended(s);
    if (s->eof[1] && s->eof[2]) {
        stream_free(s);
        return false;
    }
    if (p->taken >= GRANT || (p->taken > 0 && mvm__buf_len(&p->in) == 0)) {
        send_credit(s, p->taken);
        p->taken = 0;
    }
    return more;
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
        mvm__sim_send(s->sim, MVM_AGENT_DATA, 1, s->id, chunk, n);
        return true;
    }
    mvm__sim_send(s->sim, MVM_AGENT_EOF, 1, s->id, NULL, 0);
    send_pair(s->sim, MVM_AGENT_EXIT, s->id, 0, 0);
    stream_free(s);
    return false;
}

bool mvm__sim_streams_turn(mvm__sim *sim)
{
    bool more = false;

    mvm__list_each (it, &sim->port.streams) {
        mvm__sim_stream *s = mvm__container_of(it, mvm__sim_stream, link);
        if (mvm__buf_len(&sim->port.out) >= MVM__SIM_PORT || sim->halted)
            break;
        if (s->proc && !s->held)
            more |= exec_turn(s);
        else if (s->reading)
            more |= read_turn(s);
    }
    return more;
}
