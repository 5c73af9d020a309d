/* SPDX-License-Identifier: MIT */
/*
 * A session of the fake machine (fake_vm.h) with commands in it: what the units of the agent's
 * host side share. Include it in one file of a program.
 */
#ifndef MVM_TESTS_AGENT_SESSION_H
#define MVM_TESTS_AGENT_SESSION_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mvm/file.h"
#include "mvm/process.h"
#include "support/fake_vm.h"

static inline int setup(void **state)
{
    mvm_vm *vm = fake_new();

    guest_start(vm);
    *state = vm;
    return 0;
}

static inline int teardown(void **state)
{
    mvm_vm *vm = *state;

    fake_turn(vm);
    assert_int_equal(vm->refs, 1);
    assert_int_equal(fake_free(vm), 0);
    return 0;
}

static inline mvm_process *spawn(mvm_vm *vm, const char *program)
{
    const char *argv[] = {program, NULL};
    mvm_exec exec = {.argv = argv};
    mvm_err err;
    mvm_process *process = mvm_vm_spawn(vm, &exec, &err);

    assert_non_null(process);
    return process;
}

/* Takes the next frame that the host sent and checks what it is. */
static inline mvm_agent_frame expect(mvm_vm *vm, uint8_t type, uint32_t stream)
{
    mvm_agent_frame frame;

    assert_true(host_frame(vm, &frame));
    assert_int_equal(frame.type, type);
    assert_int_equal(frame.stream, stream);
    return frame;
}

static inline void expect_silence(mvm_vm *vm)
{
    assert_int_equal(mvm__buf_len(&vm->port), 0);
}

static inline mvm_process *started(mvm_vm *vm, uint32_t id)
{
    mvm_process *process = spawn(vm, "cat");

    expect(vm, MVM_AGENT_EXEC, id);
    guest_two(vm, MVM_AGENT_STARTED, id, 42, -1);
    return process;
}

static inline void finish(mvm_vm *vm, uint32_t id, int status)
{
    guest_frame(vm, MVM_AGENT_EOF, 1, id, NULL, 0);
    guest_frame(vm, MVM_AGENT_EOF, 2, id, NULL, 0);
    guest_two(vm, MVM_AGENT_EXIT, id, status, 0);
}

static inline size_t peeked(mvm_process *process, int fd)
{
    size_t len;

    mvm_stream_peek(mvm_process_stream(process, fd), &len);
    return len;
}

static const char g_block[MVM_AGENT_DATA_MAX];

static inline void fill_window(mvm_vm *vm, uint32_t id)
{
    for (size_t sent = 0; sent < MVM_AGENT_WINDOW; sent += sizeof(g_block))
        guest_frame(vm, MVM_AGENT_DATA, 1, id, g_block, sizeof(g_block));
}

#endif
