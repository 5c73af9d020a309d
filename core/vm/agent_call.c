/* SPDX-License-Identifier: MIT */
/*
 * Calls: one command, open file or mount of the guest, with its channels. Checks every frame that
 * the guest sends for one, keeps the credit both ways, ends the waits at EXIT and the call when its
 * outputs have ended too. Loop thread only.
 */
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "io/wait.h"
#include "vm/agent_internal.h"

static mvm__chan *chan_of(mvm_stream *s)
{
    return mvm__container_of(s, mvm__chan, s);
}

/* ---- memory -------------------------------------------------------------------------- */

static void call_unref(mvm__call *call)
{
    if (--call->refs > 0)
        return;
    mvm__free(call->failed);
    mvm__free(call);
}

static void stream_consumed(mvm_stream *s, size_t len)
{
    mvm__chan *chan = chan_of(s);
    mvm__agent *agent = chan->call->agent;

    chan->owed += (uint32_t)len; /* at most the window */
    if (!agent || s->eof || chan->owed < MVM__AGENT_GRANT)
        return;
    uint8_t payload[4];
    mvm_agent_writer w = {payload, sizeof(payload), 0, false};
    mvm_agent_put_u32(&w, chan->owed);
    if (mvm__agent_put(agent, MVM_AGENT_CREDIT, chan->number, chan->call->id, payload, w.len, NULL))
        return; /* far too much waits already: the next grant carries this one too */
    chan->credit += chan->owed;
    chan->owed = 0;
}

static void stream_kick(mvm_stream *s)
{
    mvm__chan *chan = chan_of(s);

    mvm__chan_turn(chan);
    if (chan->call->agent)
        mvm__agent_pump(chan->call->agent);
}

/*
 * Closing a command's standard input ends it after what is queued; a closed output is read and
 * dropped, so that the command is not held up. A file without its stream makes no sense.
 */
static void stream_closed(mvm_stream *s)
{
    mvm__chan *chan = chan_of(s);
    mvm__call *call = chan->call;

    if (call->kind == MVM__CALL_READ || (call->kind == MVM__CALL_WRITE && !s->shut)) {
        mvm__call_drop(call);
    } else if (chan->number == 0 && !s->shut && !s->failed) {
        s->shut = true;
        stream_kick(s);
    }
}

static void stream_free(mvm_stream *s)
{
    call_unref(chan_of(s)->call);
}

static const mvm__stream_ops g_ops = {stream_consumed, stream_kick, stream_closed, stream_free};

static void add_channel(mvm__call *call, uint8_t number, const char *of)
{
    mvm__chan *chan = &call->chan[number];
    char what[96];

    chan->call = call;
    chan->number = number;
    chan->used = true;
    chan->credit = MVM_AGENT_WINDOW;
    snprintf(what, sizeof(what), "%s%s", of, call->what);
    mvm__stream_init(&chan->s, call->loop, &g_ops, number != 0, number == 0, what);
    call->refs++;
}

mvm__call *mvm__call_new(mvm_vm *vm, enum mvm__call_kind kind, const char *what)
{
    mvm__call *call = mvm__alloc(sizeof(*call));

    call->loop = mvm__vm_loop(vm);
    call->kind = kind;
    call->refs = 1;
    call->perm = -1;
    mvm__list_init(&call->waits);
    snprintf(call->vm, sizeof(call->vm), "%s", mvm_vm_name(vm));
    mvm__guest_text(call->what, sizeof(call->what), what, strlen(what));
    if (kind == MVM__CALL_EXEC) {
        add_channel(call, 0, "stdin of ");
        add_channel(call, 1, "stdout of ");
        add_channel(call, 2, "stderr of ");
    } else if (kind != MVM__CALL_MOUNT) {
        add_channel(call, kind == MVM__CALL_WRITE ? 0 : 1, "");
    }
    call->agent = mvm__vm_agent(vm);
    return call;
}

int mvm__call_begin(mvm__call *call, uint8_t type, const void *payload, size_t len, mvm_err *err)
{
    mvm__agent *agent = call->agent;

    if (agent->next_id == UINT32_MAX)
        return mvm_fail(err, MVM_EAGENT,
                        "this session of the agent has used up its stream numbers");
    int rc = mvm__agent_put(agent, type, 0, agent->next_id, payload, len, err);
    if (rc)
        return rc;
    call->id = agent->next_id++;
    call->refs++;
    for (int i = 0; i < 3; i++)
        if (call->chan[i].used)
            mvm_stream_ref(&call->chan[i].s);
    mvm__list_append(&agent->calls[call->id % MVM__AGENT_BUCKETS], &call->link);
    return 0;
}

void mvm__call_release(mvm__call *call)
{
    if (!mvm__linked(&call->link)) /* never begun, or over */
        call->agent = NULL;
    for (int i = 0; i < 3; i++)
        if (call->chan[i].used)
            mvm_stream_unref(&call->chan[i].s);
    call_unref(call);
}

/* ---- the end --------------------------------------------------------------------------- */

static void end_channel(mvm__chan *chan, const mvm_err *err)
{
    mvm__list_remove(&chan->turn);
    if (err) {
        if (!chan->s.eof)
            mvm__stream_fail(&chan->s, err);
    } else if (chan->number == 0) {
        mvm_err over;
        mvm_fail(&over, MVM_EIO, "%s has ended", chan->call->what);
        mvm_err_vm(&over, chan->call->vm);
        mvm__stream_fail(&chan->s, &over);
    }
}

void mvm__call_end(mvm__call *call, const mvm_err *err)
{
    if (call->ended)
        return;
    bool begun = mvm__linked(&call->link);
    call->ended = true;
    call->agent = NULL;
    mvm__list_remove(&call->link);
    if (err) {
        call->failed = mvm__alloc(sizeof(*err));
        *call->failed = *err;
        mvm_err_vm(call->failed, call->vm);
        err = call->failed;
    }
    for (int i = 0; i < 3; i++)
        if (call->chan[i].used)
            end_channel(&call->chan[i], err);
    mvm__waits_done(&call->waits, err);
    if (!begun)
        return;
    for (int i = 0; i < 3; i++)
        if (call->chan[i].used)
            mvm_stream_unref(&call->chan[i].s);
    call_unref(call);
}

void mvm__call_drop(mvm__call *call)
{
    if (call->ended)
        return;
    mvm_err err;
    mvm_fail(&err, MVM_ECANCELLED, "%s was let go before the end%s", call->what,
             call->exited ? " of its output" : "");
    if (mvm__linked(&call->link))
        mvm__agent_put(call->agent, MVM_AGENT_CLOSE, 0, call->id, NULL, 0, NULL);
    mvm__call_end(call, &err);
}

mvm_wait *mvm__call_wait(mvm__call *call, const mvm_waiter *waiter)
{
    mvm_wait *wait = mvm__wait_new(call->loop, &call->waits, waiter, "the end of %s", call->what);

    if (call->exited || call->ended)
        mvm__wait_done(wait, call->exited ? NULL : call->failed);
    return wait;
}

/* ---- frames of the guest ------------------------------------------------------------------ */

void mvm__guest_text(char *out, size_t cap, const char *text, size_t len)
{
    len = MVM_MIN(len, cap - 1);
    for (size_t i = 0; i < len; i++)
        out[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i];
    out[len] = '\0';
}

mvm__call *mvm__call_find(mvm__agent *agent, uint32_t id)
{
    mvm__list_each (link, &agent->calls[id % MVM__AGENT_BUCKETS]) {
        mvm__call *call = mvm__container_of(link, mvm__call, link);
        if (call->id == id)
            return call;
    }
    return NULL;
}

static const char *on_started(mvm__call *call, mvm_agent_reader *r)
{
    int32_t pid = (int32_t)mvm_agent_get_u32(r);
    int32_t perm = (int32_t)mvm_agent_get_u32(r);

    if (r->bad || r->pos != r->len)
        return "a STARTED frame of the wrong length";
    if (call->started)
        return "a second STARTED frame for one stream";
    if (call->kind == MVM__CALL_MOUNT)
        return "a STARTED frame for what does not start";
    if (call->kind == MVM__CALL_EXEC ? pid <= 0 || perm != -1
                                     : pid != 0 || perm < -1 || perm > 07777)
        return "a STARTED frame with impossible values";
    call->started = true;
    call->pid = pid;
    call->perm = perm;
    return NULL;
}

/* The channel that the guest sends on, or NULL. */
static mvm__chan *inbound(mvm__call *call, uint8_t number)
{
    return number >= 1 && number <= 2 && call->chan[number].used ? &call->chan[number] : NULL;
}

static const char *on_data(mvm__call *call, const mvm_agent_frame *frame)
{
    mvm__chan *chan = inbound(call, frame->channel);

    if (!chan)
        return "data on a channel that the guest does not send on";
    if (!call->started || chan->s.eof)
        return "data outside of a channel's life";
    if (frame->len > MVM_AGENT_DATA_MAX || frame->len > chan->credit)
        return "data beyond the credit of its channel";
    chan->credit -= frame->len;
    mvm__stream_feed(&chan->s, frame->payload, frame->len);
    return NULL;
}

static bool outputs_ended(const mvm__call *call)
{
    for (int i = 1; i < 3; i++)
        if (call->chan[i].used && !call->chan[i].s.eof)
            return false;
    return true;
}

/* All of it has come: the command's end and those of its outputs, in whatever order. */
static void end_if_over(mvm__call *call)
{
    if (call->exited && outputs_ended(call))
        mvm__call_end(call, NULL);
}

static const char *on_eof(mvm__call *call, const mvm_agent_frame *frame)
{
    mvm__chan *chan = inbound(call, frame->channel);

    if (!chan)
        return "the end of a channel that the guest does not send on";
    if (!call->started || chan->s.eof || frame->len != 0)
        return "a misplaced end of a channel";
    mvm__stream_feed_eof(&chan->s);
    end_if_over(call);
    return NULL;
}

static const char *on_credit(mvm__call *call, const mvm_agent_frame *frame, mvm_agent_reader *r)
{
    mvm__chan *chan = &call->chan[0];
    uint32_t more = mvm_agent_get_u32(r);

    if (r->bad || r->pos != r->len)
        return "a CREDIT frame of the wrong length";
    if (frame->channel != 0 || !chan->used)
        return "credit for a channel that the host does not send on";
    if (more > MVM_AGENT_WINDOW - chan->credit)
        return "credit beyond the window";
    chan->credit += more;
    mvm__chan_turn(chan);
    return NULL;
}

static const char *on_exit_frame(mvm__call *call, mvm_agent_reader *r)
{
    int32_t status = (int32_t)mvm_agent_get_u32(r);
    int32_t signum = (int32_t)mvm_agent_get_u32(r);

    if (r->bad || r->pos != r->len)
        return "an EXIT frame of the wrong length";
    if (call->exited)
        return "a second EXIT frame for one stream";
    if ((!call->started && call->kind != MVM__CALL_MOUNT) || signum < 0 || signum > 64 ||
        status < 0 || status > 255)
        return "an EXIT frame with impossible values";
    if (call->kind != MVM__CALL_EXEC && (status != 0 || signum != 0))
        return "an EXIT frame with impossible values";
    if (call->kind == MVM__CALL_WRITE ? !call->chan[0].eof_sent
                                      : call->kind == MVM__CALL_READ && !outputs_ended(call))
        return "an EXIT frame before the end of the file";
    call->exited = true;
    call->signal = signum;
    call->status = signum ? 128 + signum : status;
    mvm__waits_done(&call->waits, NULL);
    end_if_over(call);
    return NULL;
}

int mvm__guest_error(const mvm_agent_frame *frame, const char *what, mvm_err *err)
{
    mvm_agent_reader r = {frame->payload, frame->len, 0, false};
    int32_t number = (int32_t)mvm_agent_get_u32(&r);
    size_t len;
    const char *text = mvm_agent_get_str(&r, &len);
    char words[512];

    if (r.bad || r.pos != r.len || number < 0)
        return -1;
    mvm__guest_text(words, sizeof(words), text, len);
    if (words[0])
        mvm_fail(err, MVM_EGUEST, "%s", words);
    else
        mvm_fail(err, MVM_EGUEST, "%s: the guest refused it (errno %d)", what, number);
    return number;
}

static const char *on_error(mvm__call *call, const mvm_agent_frame *frame)
{
    mvm_err err;
    int number = mvm__guest_error(frame, call->what, &err);

    if (number < 0)
        return "an ERROR frame of the wrong form";
    call->guest_errno = number;
    mvm__call_end(call, &err);
    return NULL;
}

const char *mvm__call_frame(mvm__call *call, const mvm_agent_frame *frame)
{
    mvm_agent_reader r = {frame->payload, frame->len, 0, false};

    switch (frame->type) {
    case MVM_AGENT_STARTED:
        return on_started(call, &r);
    case MVM_AGENT_DATA:
        return on_data(call, frame);
    case MVM_AGENT_EOF:
        return on_eof(call, frame);
    case MVM_AGENT_CREDIT:
        return on_credit(call, frame, &r);
    case MVM_AGENT_EXIT:
        return on_exit_frame(call, &r);
    case MVM_AGENT_ERROR:
        return on_error(call, frame);
    default:
        return "a frame that only the host sends";
    }
}
