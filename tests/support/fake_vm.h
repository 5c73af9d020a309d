/* SPDX-License-Identifier: MIT */
/*
 * A machine that is nothing but its agent's port and its console: stands in for core/vm/vm.c in
 * the units of agent, files, transfers and console, and lets a test play the guest frame by
 * frame. It defines what vm.c defines: include it in one file of a program, which then links
 * nothing of vm.c. Functions are `inline` only so that a test may leave some unused.
 */
#ifndef MVM_TESTS_FAKE_VM_H
#define MVM_TESTS_FAKE_VM_H

#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "base/buf.h"
#include "mvm/loop.h"
#include "vm/vm_internal.h"
#include "wire/agent_wire.h"

struct mvm_vm {
    mvm_loop *loop;
    int refs;
    bool up;
    mvm__agent *agent;
    struct mvm_console *console;
    mvm__buf port, typed; /* what the host has written and the test has not taken */
    size_t room;          /* how much the back end still takes */
    int ready, lost, refused;
    mvm__agent_info info;
    mvm_err lost_err, refused_err;
    mvm__buf events; /* "name:text\n" of every event */
};

/* ---- what core/vm asks of the machine ------------------------------------------------- */

mvm_loop *mvm__vm_loop(const mvm_vm *vm)
{
    return vm->loop;
}

static size_t fake_take(mvm_vm *vm, mvm__buf *to, const void *data, size_t len)
{
    len = MVM_MIN(len, vm->room);
    vm->room -= len;
    mvm__buf_append(to, data, len);
    return len;
}

static size_t fake_agent_write(mvm_vm *vm, const void *data, size_t len)
{
    return fake_take(vm, &vm->port, data, len);
}

static size_t fake_console_write(mvm_vm *vm, const void *data, size_t len)
{
    return fake_take(vm, &vm->typed, data, len);
}

static const mvm_backend_ops g_fake_ops = {
    .name = "fake", .agent_write = fake_agent_write, .console_write = fake_console_write};

const mvm_backend_ops *mvm__vm_ops(const mvm_vm *vm)
{
    (void)vm;
    return &g_fake_ops;
}

void mvm__vm_on_kernel_panic(mvm_vm *vm, const char *why)
{
    mvm__buf_printf(&vm->events, "fatal:%s\n", why);
}

mvm__agent *mvm__vm_agent(const mvm_vm *vm)
{
    return vm->agent;
}

const char *mvm_vm_name(const mvm_vm *vm)
{
    (void)vm;
    return "web";
}

bool mvm_vm_up(const mvm_vm *vm)
{
    return vm->up;
}

mvm_vm *mvm_vm_ref(mvm_vm *vm)
{
    vm->refs++;
    return vm;
}

void mvm_vm_unref(mvm_vm *vm)
{
    if (vm)
        vm->refs--;
}

int mvm__vm_need_agent(const mvm_vm *vm, mvm_err *err)
{
    if (!vm->up)
        return mvm_fail(err, MVM_ESTATE, "it is stopped");
    return mvm__agent_is_ready(vm->agent) ? 0 : mvm_fail(err, MVM_EAGENT, "agent not ready");
}

void mvm__vm_on_agent_ready(mvm_vm *vm, const mvm__agent_info *info)
{
    vm->ready++;
    vm->info = *info;
}

void mvm__vm_on_agent_lost(mvm_vm *vm, const mvm_err *err)
{
    vm->lost++;
    vm->lost_err = *err;
}

void mvm__vm_on_power_refused(mvm_vm *vm, const mvm_err *err)
{
    vm->refused++;
    vm->refused_err = *err;
}

void mvm__vm_emit(mvm_vm *vm, const mvm_event *event)
{
    mvm__buf_printf(&vm->events, "%s:%.*s\n", event->name, (int)event->args[0].as.string.len,
                    event->args[0].as.string.ptr);
}

/* ---- what a test does with it ------------------------------------------------------------ */

static inline mvm_vm *fake_new(void)
{
    mvm_vm *vm = mvm__alloc(sizeof(*vm));

    vm->loop = mvm_loop_new();
    mvm_loop_virtual_time(vm->loop, true);
    vm->refs = 1;
    vm->up = true;
    vm->room = SIZE_MAX;
    vm->agent = mvm__agent_new(vm);
    return vm;
}

/* Lets the loop do what is due now. */
static inline void fake_turn(mvm_vm *vm)
{
    for (int i = 0; i < 8; i++)
        mvm_loop_step(vm->loop, false);
}

/* Lets time pass until the next timer, and turns. */
static inline void fake_elapse(mvm_vm *vm)
{
    mvm_loop_step(vm->loop, true);
    fake_turn(vm);
}

/* What mvm_loop_close says: 0 when nothing was left open. */
static inline int fake_free(mvm_vm *vm)
{
    mvm__agent_free(vm->agent);
    fake_turn(vm);
    int left = mvm_loop_close(vm->loop);
    mvm__buf_free(&vm->port);
    mvm__buf_free(&vm->typed);
    mvm__buf_free(&vm->events);
    mvm__free(vm);
    return left;
}

/* The guest sends one frame. */
static inline void guest_frame(mvm_vm *vm, uint8_t type, uint8_t channel, uint32_t stream,
                               const void *payload, size_t len)
{
    uint8_t *bytes = mvm__alloc(MVM_AGENT_HEADER + len);

    mvm_agent_header(bytes, type, channel, stream, (uint32_t)len);
    if (len > 0)
        memcpy(bytes + MVM_AGENT_HEADER, payload, len);
    mvm__agent_data(vm->agent, bytes, MVM_AGENT_HEADER + len);
    mvm__free(bytes);
}

static inline void guest_two(mvm_vm *vm, uint8_t type, uint32_t stream, int a, int b)
{
    uint8_t payload[8];
    mvm_agent_writer w = {payload, sizeof(payload), 0, false};

    mvm_agent_put_u32(&w, (uint32_t)a);
    mvm_agent_put_u32(&w, (uint32_t)b);
    guest_frame(vm, type, 0, stream, payload, w.len);
}

static inline void guest_hello(mvm_vm *vm, uint32_t version, uint64_t nonce)
{
    uint8_t payload[20] = MVM_AGENT_HELLO_MAGIC;
    mvm_agent_writer w = {payload, sizeof(payload), 8, false};

    mvm_agent_put_u32(&w, version);
    mvm_agent_put_u64(&w, nonce);
    guest_frame(vm, MVM_AGENT_HELLO, 0, 0, payload, w.len);
}

static inline void guest_ready(mvm_vm *vm, uint64_t nonce, const char *hostname)
{
    uint8_t payload[512];
    mvm_agent_writer w = {payload, sizeof(payload), 0, false};

    mvm_agent_put_u64(&w, nonce);
    mvm_agent_put_u64(&w, 100);
    mvm_agent_put_u64(&w, 200);
    mvm_agent_put_str(&w, "0.1.0", 5);
    mvm_agent_put_str(&w, "6.1.0", 5);
    mvm_agent_put_str(&w, hostname, strlen(hostname));
    guest_frame(vm, MVM_AGENT_READY, 0, 0, payload, w.len);
}

static inline void guest_start(mvm_vm *vm)
{
    guest_hello(vm, MVM_AGENT_VERSION, 0);
    guest_ready(vm, 0, "guest");
}

static inline void guest_error(mvm_vm *vm, uint32_t stream, int number, const char *text)
{
    uint8_t payload[512];
    mvm_agent_writer w = {payload, sizeof(payload), 0, false};

    mvm_agent_put_u32(&w, (uint32_t)number);
    mvm_agent_put_str(&w, text, strlen(text));
    guest_frame(vm, MVM_AGENT_ERROR, 0, stream, payload, w.len);
}

static inline void guest_credit(mvm_vm *vm, uint8_t channel, uint32_t stream, uint32_t more)
{
    uint8_t payload[4];
    mvm_agent_writer w = {payload, sizeof(payload), 0, false};

    mvm_agent_put_u32(&w, more);
    guest_frame(vm, MVM_AGENT_CREDIT, channel, stream, payload, w.len);
}

/* The next frame that the host sent; its payload lives until the next call of host_frame or
 * another write to the port. false: there is none. */
static inline bool host_frame(mvm_vm *vm, mvm_agent_frame *frame)
{
    long took = mvm__buf_len(&vm->port) == 0
                    ? 0
                    : mvm_agent_decode((const uint8_t *)mvm__buf_ptr(&vm->port),
                                       mvm__buf_len(&vm->port), frame);

    if (took <= 0)
        return false;
    mvm__buf_consume(&vm->port, (size_t)took); /* the bytes stay where they are */
    return true;
}

/* What a wait ended with. */
typedef struct fake_result {
    int calls;
    mvm_err err; /* code 0: success */
} fake_result;

static inline void fake_done(void *ud, const mvm_err *err)
{
    fake_result *result = ud;

    result->calls++;
    if (err)
        result->err = *err;
}

#endif
