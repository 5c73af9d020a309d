/* SPDX-License-Identifier: MIT */
/*
 * The agent of a simulated guest: the far side of the agent protocol (wire/agent_wire.h). This file
 * has the port and the session on it: bytes and frames both ways, HELLO and POWER, and the turn in
 * which the guest does something. Loop thread only.
 */
#include "backend/sim/sim_agent.h"

#include <errno.h>
#include <string.h>

#include "mvm/backend.h"
#include "mvm/host.h"

/* What the host gets at once: frames arrive cut anywhere, as they do from a real port. */
#define PIECE 7919u

static void pump(void *ud);

void mvm__sim_wake(mvm__sim *sim)
{
    if (!mvm__linked(&sim->pump.link) && !sim->halted)
        mvm__sim_at(&sim->clock, &sim->pump, 0, pump, sim);
}

/* ---- frames to the host --------------------------------------------------------------- */

void mvm__sim_send(mvm__sim *sim, uint8_t type, uint8_t channel, uint32_t stream,
                   const void *payload, size_t len)
{
    uint8_t header[MVM_AGENT_HEADER];

    mvm_agent_header(header, type, channel, stream, (uint32_t)len);
    mvm__buf_append(&sim->port.out, header, sizeof(header));
    mvm__buf_append(&sim->port.out, payload, len);
    mvm__sim_wake(sim);
}

void mvm__sim_send_error(mvm__sim *sim, uint32_t stream, int error, const char *text)
{
    uint8_t payload[512];
    mvm_agent_writer w = {.data = payload, .cap = sizeof(payload)};

    mvm_agent_put_u32(&w, (uint32_t)error);
    mvm_agent_put_str(&w, text, MVM_MIN(strlen(text), sizeof(payload) - 8));
    mvm__sim_send(sim, MVM_AGENT_ERROR, 0, stream, payload, w.len);
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
    mvm__sim_send(sim, MVM_AGENT_HELLO, 0, 0, payload, w.len);

    w = (mvm_agent_writer){.data = payload, .cap = sizeof(payload)};
    mvm_agent_put_u64(&w, nonce);
    mvm_agent_put_u64(&w, (uint64_t)(sim->boot_seconds * 1e9));
    mvm_agent_put_u64(&w, now);
    mvm_agent_put_str(&w, mvm_version(), strlen(mvm_version()));
    mvm_agent_put_str(&w, "6.1.0-sim", 9);
    mvm_agent_put_str(&w, host, strlen(host));
    mvm__sim_send(sim, MVM_AGENT_READY, 0, 0, payload, w.len);
}

/* ---- frames from the host -------------------------------------------------------------- */

static void on_hello(mvm__sim *sim, const mvm_agent_frame *frame)
{
    /* 8 bytes of magic, u32 version: the host decides what it can do with ours. */
    mvm_agent_reader r = {.data = frame->payload, .len = frame->len, .pos = 12};

    if (frame->len != 20)
        return;
    mvm__sim_streams_clear(sim);
    send_ready(sim, mvm_agent_get_u64(&r));
}

static void on_power(mvm__sim *sim, bool reboot)
{
    const char *failure = mvm__sim_failure(sim, reboot ? "reset" : "stop");

    if (failure)
        mvm__sim_send_error(sim, 0, EPERM, failure);
    else if (reboot || !sim->ignores)
        mvm__sim_power(sim, reboot);
}

static void on_frame(mvm__sim *sim, const mvm_agent_frame *frame)
{
    if (frame->type == MVM_AGENT_HELLO)
        on_hello(sim, frame);
    else if (frame->type == MVM_AGENT_POWER)
        on_power(sim, frame->len == 1 && frame->payload[0] == 1);
    else if (frame->stream != 0)
        mvm__sim_stream_frame(sim, frame);
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

/* ---- the turn ------------------------------------------------------------------------- */

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

    take_frames(sim);
    bool more = mvm__sim_streams_turn(sim);
    more |= mvm__sim_console_pump(sim);
    deliver(sim);
    if (more && mvm__buf_len(&sim->port.out) < MVM__SIM_PORT)
        mvm__sim_wake(sim);
}

/* ---- the port ------------------------------------------------------------------------- */

void mvm__sim_agent_start(mvm__sim *sim)
{
    sim->port.open = sim->port.reading = true;
    mvm__vm_on_agent_port(sim->vm, true);
    send_ready(sim, 0);
}

void mvm__sim_agent_clear(mvm__sim *sim)
{
    mvm__sim_streams_clear(sim);
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
