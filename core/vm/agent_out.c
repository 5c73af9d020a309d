/* SPDX-License-Identifier: MIT */
/*
 * What goes to the agent: control frames at once, bulk data in turns of one frame a channel and
 * only while little waits, so that a signal is never stuck behind a copy. Loop thread only.
 */
#include "base/base.h"
#include "vm/agent_internal.h"

static void put_frame(mvm__agent *agent, uint8_t type, uint8_t channel, uint32_t stream,
                      const void *payload, size_t len)
{
    uint8_t header[MVM_AGENT_HEADER];

    mvm_agent_header(header, type, channel, stream, (uint32_t)len);
    mvm__buf_append(&agent->out, header, sizeof(header));
    mvm__buf_append(&agent->out, payload, len);
}

int mvm__agent_put(mvm__agent *agent, uint8_t type, uint8_t channel, uint32_t stream,
                   const void *payload, size_t len, mvm_err *err)
{
    /* CLOSE always fits: there are no more of them than calls that were begun. */
    if (type != MVM_AGENT_CLOSE &&
        mvm__buf_len(&agent->out) + MVM_AGENT_HEADER + len > MVM__AGENT_OUT_MAX) {
        mvm_fail(err, MVM_EAGENT, "the agent does not take what is sent: %zu bytes wait for it",
                 mvm__buf_len(&agent->out));
        mvm_err_vm(err, mvm_vm_name(agent->vm));
        return MVM_EAGENT;
    }
    put_frame(agent, type, channel, stream, payload, len);
    mvm__agent_pump(agent);
    return 0;
}

bool mvm__chan_ready(const mvm__chan *chan)
{
    size_t queued = mvm__buf_len(&chan->s.out);

    return queued > 0 ? chan->credit > 0 : chan->s.shut && !chan->eof_sent;
}

void mvm__chan_turn(mvm__chan *chan)
{
    if (chan->call->agent && !mvm__linked(&chan->turn) && mvm__chan_ready(chan))
        mvm__list_append(&chan->call->agent->turns, &chan->turn);
}

static void send_some(mvm__agent *agent, mvm__chan *chan)
{
    size_t len = MVM_MIN(mvm__buf_len(&chan->s.out), MVM_MIN(chan->credit, MVM_AGENT_DATA_MAX));

    if (len > 0) {
        put_frame(agent, MVM_AGENT_DATA, chan->number, chan->call->id, mvm__buf_ptr(&chan->s.out),
                  len);
        chan->credit -= (uint32_t)len;
        mvm__stream_sent(&chan->s, len);
    }
    if (mvm__buf_len(&chan->s.out) == 0 && chan->s.shut && !chan->eof_sent) {
        put_frame(agent, MVM_AGENT_EOF, chan->number, chan->call->id, NULL, 0);
        chan->eof_sent = true;
    }
}

static void fill(mvm__agent *agent)
{
    while (mvm__buf_len(&agent->out) < MVM__AGENT_BULK) {
        mvm__link *first = mvm__list_shift(&agent->turns);
        if (!first)
            return;
        mvm__chan *chan = mvm__container_of(first, mvm__chan, turn);
        send_some(agent, chan);
        mvm__chan_turn(chan);
    }
}

void mvm__agent_pump(mvm__agent *agent)
{
    if (agent->busy || agent->state == MVM__AGENT_SCAN)
        return;
    for (;;) {
        fill(agent);
        size_t len = mvm__buf_len(&agent->out);
        if (len == 0 || agent->blocked)
            return;
        size_t taken =
            mvm__vm_ops(agent->vm)->agent_write(agent->vm, mvm__buf_ptr(&agent->out), len);
        agent->wrote = true;
        mvm__buf_consume(&agent->out, MVM_MIN(taken, len));
        agent->blocked = taken < len;
    }
}

void mvm__agent_writable(mvm__agent *agent)
{
    agent->blocked = false;
    mvm__agent_pump(agent);
}
