/* SPDX-License-Identifier: MIT */
/*
 * The agent session of one machine: finds where it begins, takes frames in, notices breaches of
 * the protocol and the agent's death. Whatever the guest sends, the worst that happens is the end
 * of this session. Loop thread only.
 */
#include "vm/agent.h"

#include <string.h>
#include <sys/random.h>

#include "base/base.h"
#include "mvm/log.h"
#include "vm/agent_internal.h"

mvm__agent *mvm__agent_new(mvm_vm *vm)
{
    mvm__agent *agent = mvm__alloc(sizeof(*agent));

    agent->vm = vm;
    agent->next_id = 1;
    mvm__list_init(&agent->turns);
    for (size_t i = 0; i < MVM__AGENT_BUCKETS; i++)
        mvm__list_init(&agent->calls[i]);
    return agent;
}

/* Ends every call with err and forgets the session. */
static void end_session(mvm__agent *agent, const mvm_err *err)
{
    agent->state = MVM__AGENT_SCAN;
    agent->nonce = 0;
    agent->next_id = 1;
    agent->asked = 0;
    mvm__buf_free(&agent->out);
    agent->info = (mvm__agent_info){0};
    for (size_t i = 0; i < MVM__AGENT_BUCKETS; i++)
        while (!mvm__list_empty(&agent->calls[i]))
            mvm__call_end(mvm__container_of(agent->calls[i].next, mvm__call, link), err);
}

/* The session ends though the machine runs on. */
static void lose_session(mvm__agent *agent, const mvm_err *err)
{
    mvm_log(MVM_LOG_INFO, "%s: %s", mvm_vm_name(agent->vm), err->message);
    end_session(agent, err);
    mvm__vm_on_agent_lost(agent->vm, err);
}

void mvm__agent_free(mvm__agent *agent)
{
    mvm_err err;

    if (!agent)
        return;
    mvm_fail(&err, MVM_EAGENT, "the machine is gone");
    end_session(agent, &err);
    mvm__buf_free(&agent->in);
    mvm__free(agent);
}

void mvm__agent_reset(mvm__agent *agent, const mvm_err *err)
{
    mvm_err gone;

    if (!err) {
        mvm_fail(&gone, MVM_EAGENT, "the machine went down");
        err = &gone;
    }
    end_session(agent, err);
    mvm__buf_free(&agent->in);
    agent->run++;
    agent->replaced = false;
}

void mvm__agent_down(mvm__agent *agent, const mvm_err *err)
{
    mvm__agent_reset(agent, err);
    agent->wrote = agent->blocked = false;
}

void mvm__agent_breach(mvm__agent *agent, const char *why)
{
    mvm_err err;

    mvm_fail(&err, MVM_EAGENT, "the agent broke the protocol: %s", why);
    mvm_err_vm(&err, mvm_vm_name(agent->vm));
    lose_session(agent, &err);
}

void mvm__agent_port(mvm__agent *agent, bool open)
{
    if (open)
        return; /* the HELLO tells more, and may have come before this report */
    if (agent->replaced) {
        /* This is the end of the session before the present one, told late: the report and the
         * port's bytes take different ways. */
        agent->replaced = false;
        return;
    }
    if (agent->state == MVM__AGENT_SCAN)
        return;
    mvm_err err;
    mvm_fail(&err, MVM_EAGENT, "the agent in the guest has ended");
    mvm_err_vm(&err, mvm_vm_name(agent->vm));
    lose_session(agent, &err);
}

/* ---- the beginning of a session ------------------------------------------------------- */

void mvm__agent_join(mvm__agent *agent)
{
    static const uint8_t zeros[MVM_AGENT_SYNC];
    uint8_t frame[MVM_AGENT_HEADER + 20];
    mvm_agent_writer w = {frame + MVM_AGENT_HEADER, 20, 0, false};
    mvm_err err;

    mvm_fail(&err, MVM_EAGENT, "the agent's session was begun anew");
    mvm_err_vm(&err, mvm_vm_name(agent->vm));
    end_session(agent, &err);
    do {
        if (getentropy(&agent->nonce, sizeof(agent->nonce)) != 0)
            agent->nonce = (uint64_t)(mvm_loop_now(mvm__vm_loop(agent->vm)) * 1e9) | 1;
    } while (agent->nonce == 0);
    memcpy(w.data, MVM_AGENT_HELLO_MAGIC, 8);
    w.len = 8;
    mvm_agent_put_u32(&w, MVM_AGENT_VERSION);
    mvm_agent_put_u64(&w, agent->nonce);
    mvm_agent_header(frame, MVM_AGENT_HELLO, 0, 0, 20);
    mvm__buf_append(&agent->out, zeros, sizeof(zeros));
    mvm__buf_append(&agent->out, frame, sizeof(frame));
    agent->state = MVM__AGENT_JOIN;
    mvm__agent_pump(agent);
}

/* false: not a HELLO that means anything here. */
static bool on_hello(mvm__agent *agent, const mvm_agent_frame *frame)
{
    mvm_agent_reader r = {frame->payload, frame->len, 8, false};
    mvm_err err;

    if (frame->type != MVM_AGENT_HELLO || frame->stream != 0 || frame->len != 20 ||
        memcmp(frame->payload, MVM_AGENT_HELLO_MAGIC, 8) != 0)
        return false;
    uint32_t version = mvm_agent_get_u32(&r);
    uint64_t nonce = mvm_agent_get_u64(&r);
    bool joining = agent->state == MVM__AGENT_JOIN;
    if (nonce != 0 && !(joining && nonce == agent->nonce))
        return false;
    if (version != MVM_AGENT_VERSION) {
        mvm_fail(&err, MVM_EAGENT, "the agent speaks version %u of the protocol, macvm version %d",
                 version, MVM_AGENT_VERSION);
        mvm_err_hint(&err, "rebuild the guest image with `macvm guest`");
        mvm_err_vm(&err, mvm_vm_name(agent->vm));
        lose_session(agent, &err);
        return true;
    }
    if (nonce == 0 && (joining || agent->wrote)) {
        /* It began just now, and may find what was meant for its predecessor in the port. */
        mvm__agent_join(agent);
        return true;
    }
    agent->nonce = nonce;
    agent->state = MVM__AGENT_GREET;
    return true;
}

/* A HELLO within a session: the agent was restarted, and the port's closing is still to be told. */
static const char *on_restart(mvm__agent *agent, const mvm_agent_frame *frame)
{
    uint32_t run = agent->run;
    mvm_err err;

    if (frame->len != 20 || memcmp(frame->payload + 12, "\0\0\0\0\0\0\0\0", 8) != 0)
        return "a HELLO that nobody asked for";
    mvm_fail(&err, MVM_EAGENT, "the agent in the guest was restarted");
    mvm_err_vm(&err, mvm_vm_name(agent->vm));
    lose_session(agent, &err);
    if (agent->run != run)
        return NULL;
    agent->replaced = true;
    return on_hello(agent, frame) ? NULL : "a HELLO that makes no sense";
}

static bool get_text(mvm_agent_reader *r, char *out, size_t cap)
{
    size_t len;
    const char *text = mvm_agent_get_str(r, &len);

    if (r->bad || len >= cap)
        return false;
    mvm__guest_text(out, cap, text, len);
    return true;
}

static const char *on_ready(mvm__agent *agent, const mvm_agent_frame *frame)
{
    mvm_agent_reader r = {frame->payload, frame->len, 0, false};
    mvm__agent_info info = {0};

    if (agent->state == MVM__AGENT_READY)
        return "a second READY frame";
    if (mvm_agent_get_u64(&r) != agent->nonce)
        return "a READY frame of another session";
    info.init_ns = mvm_agent_get_u64(&r);
    info.now_ns = mvm_agent_get_u64(&r);
    if (!get_text(&r, info.version, sizeof(info.version)) ||
        !get_text(&r, info.kernel, sizeof(info.kernel)) ||
        !get_text(&r, info.hostname, sizeof(info.hostname)) || r.pos != r.len)
        return "a READY frame with texts too long or missing";
    agent->info = info;
    agent->state = MVM__AGENT_READY;
    mvm__vm_on_agent_ready(agent->vm, &agent->info);
    return NULL;
}

/* ---- frames ------------------------------------------------------------------------------ */

/* The guest has nothing to say on stream 0 but that it will not power off. */
static const char *on_refusal(mvm__agent *agent, const mvm_agent_frame *frame)
{
    mvm_err err;

    if (agent->asked == 0)
        return "an ERROR frame that answers nothing";
    if (mvm__guest_error(frame, "the agent's power off or reboot", &err) < 0)
        return "an ERROR frame of the wrong form";
    agent->asked--;
    mvm_err_vm(&err, mvm_vm_name(agent->vm));
    mvm__vm_on_power_refused(agent->vm, &err);
    return NULL;
}

static const char *on_frame(mvm__agent *agent, const mvm_agent_frame *frame)
{
    if (frame->type == MVM_AGENT_HELLO)
        return on_restart(agent, frame);
    if (frame->type == MVM_AGENT_READY)
        return frame->stream == 0 ? on_ready(agent, frame) : "a READY frame on a stream";
    if (agent->state != MVM__AGENT_READY)
        return "a frame before READY";
    if (frame->stream == 0 && frame->type == MVM_AGENT_ERROR)
        return on_refusal(agent, frame);
    if (frame->stream == 0 || frame->stream >= agent->next_id)
        return "a frame for a stream that was never opened";
    mvm__call *call = mvm__call_find(agent, frame->stream);
    return call ? mvm__call_frame(call, frame) : NULL; /* ended streams: still on their way */
}

/* Looks for a HELLO. Returns how many bytes are done with; 0: more are needed. */
static size_t scan(mvm__agent *agent, const uint8_t *data, size_t len)
{
    mvm_agent_frame frame;
    size_t skip = mvm_agent_resync(data, len);

    if (skip > 0)
        return skip;
    long took = mvm_agent_decode(data, len, &frame);
    if (took > 0 && on_hello(agent, &frame))
        return (size_t)took;
    return took == 0 ? 0 : 1;
}

/* One frame of a session. Returns how many bytes are done with; 0: more are needed. */
static size_t take(mvm__agent *agent, const uint8_t *data, size_t len)
{
    mvm_agent_frame frame;
    long took = mvm_agent_decode(data, len, &frame);

    if (took == 0)
        return 0;
    const char *wrong = took < 0 ? "bytes that are no frame" : on_frame(agent, &frame);
    if (wrong)
        mvm__agent_breach(agent, wrong);
    return took < 0 ? 1 : (size_t)took;
}

void mvm__agent_data(mvm__agent *agent, const void *data, size_t len)
{
    mvm__buf held = agent->in; /* a part of a frame from before */
    uint32_t run = agent->run;
    const uint8_t *at = data;

    agent->in = (mvm__buf){0};
    if (mvm__buf_len(&held) > 0) {
        mvm__buf_append(&held, data, len);
        at = (const uint8_t *)mvm__buf_ptr(&held);
        len = mvm__buf_len(&held);
    }
    agent->busy = true;
    while (len > 0 && agent->run == run) {
        bool in_session = agent->state >= MVM__AGENT_GREET;
        size_t took = in_session ? take(agent, at, len) : scan(agent, at, len);
        if (took == 0)
            break;
        at += took;
        len -= took;
    }
    agent->busy = false;
    if (agent->run == run && mvm__buf_len(&held) > 0) {
        mvm__buf_consume(&held, mvm__buf_len(&held) - len);
        agent->in = held;
    } else {
        if (agent->run == run)
            mvm__buf_append(&agent->in, at, len);
        mvm__buf_free(&held);
    }
    mvm__agent_pump(agent);
}

/* ---- for the machine ------------------------------------------------------------------------ */

bool mvm__agent_is_ready(const mvm__agent *agent)
{
    return agent->state == MVM__AGENT_READY;
}

const mvm__agent_info *mvm__agent_about(const mvm__agent *agent)
{
    return &agent->info;
}

int mvm__agent_power(mvm__agent *agent, int how, mvm_err *err)
{
    uint8_t payload = (uint8_t)how;

    if (agent->state != MVM__AGENT_READY) {
        mvm_fail(err, MVM_EAGENT, "the agent is not ready");
        mvm_err_vm(err, mvm_vm_name(agent->vm));
        return MVM_EAGENT;
    }
    agent->asked++;
    int rc = mvm__agent_put(agent, MVM_AGENT_POWER, 0, 0, &payload, 1, err);
    if (rc)
        agent->asked--;
    return rc;
}
