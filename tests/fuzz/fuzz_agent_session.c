/* SPDX-License-Identifier: MIT */
/*
 * A guest that sends anything: the bytes go into an agent session with commands, files and a mount.
 * The first byte chooses the size of the pieces and whether the session has begun already.
 * Whatever comes, memory stays bounded, every wait ends once, and nothing is left.
 */
#include <stdint.h>
#include <stdlib.h>

#include "mvm/file.h"
#include "mvm/process.h"
#include "support/fake_vm.h"
#include "vm/agent_internal.h"

#define EXECS 2

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void drain(mvm_stream *s, size_t most)
{
    size_t len;

    mvm_stream_peek(s, &len);
    require(len <= MVM_AGENT_WINDOW);
    mvm_stream_consume(s, MVM_MIN(len, most));
}

static void feed(mvm_vm *vm, mvm_stream **streams, size_t n, const uint8_t *data, size_t size)
{
    size_t piece = 1 + (data[0] & 0x3f) * 97u;

    for (size_t at = 1; at < size; at += piece) {
        mvm__agent_data(vm->agent, data + at, MVM_MIN(piece, size - at));
        require(mvm__buf_len(&vm->agent->in) < MVM_AGENT_HEADER + MVM_AGENT_PAYLOAD_MAX);
        require(mvm__buf_len(&vm->agent->out) <= MVM__AGENT_OUT_MAX);
        for (size_t i = 0; i < n; i++)
            drain(streams[i], i % 2 ? piece / 2 : piece);
        mvm__buf_consume(&vm->port, mvm__buf_len(&vm->port));
        mvm_loop_step(vm->loop, false);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *argv[] = {"cat", NULL};
    mvm_exec exec = {.argv = argv};
    mvm_process *process[EXECS];
    fake_result ends[EXECS + 3] = {{0}};
    mvm_stream *streams[2 * EXECS + 1];
    size_t n = 0;

    if (size == 0)
        return 0;
    mvm_vm *vm = fake_new();
    guest_start(vm);
    for (size_t i = 0; i < EXECS; i++) {
        process[i] = mvm_vm_spawn(vm, &exec, NULL);
        mvm_process_wait(process[i], &(mvm_waiter){-1, fake_done, &ends[i]}, NULL);
        streams[n++] = mvm_process_stream(process[i], 1);
        streams[n++] = mvm_process_stream(process[i], 2);
        mvm_stream_write(mvm_process_stream(process[i], 0), "input", 5, NULL);
    }
    mvm_stream_shutdown(mvm_process_stream(process[0], 0));
    mvm_file *read = mvm_vm_open(vm, "/r", MVM_FILE_READ, -1, NULL);
    mvm_file *write = mvm_vm_open(vm, "/w", MVM_FILE_WRITE, -1, NULL);
    mvm_file_wait(read, &(mvm_waiter){-1, fake_done, &ends[EXECS]}, NULL);
    mvm_file_wait(write, &(mvm_waiter){-1, fake_done, &ends[EXECS + 1]}, NULL);
    streams[n++] = mvm_file_stream(read);
    mvm_stream_write(mvm_file_stream(write), "text", 4, NULL);
    mvm_stream_shutdown(mvm_file_stream(write));
    mvm__call *mount = mvm__call_new(vm, MVM__CALL_MOUNT, "/m");
    require(mvm__call_begin(mount, MVM_AGENT_MOUNT, "", 0, NULL) == 0);
    mvm__call_wait(mount, &(mvm_waiter){-1, fake_done, &ends[EXECS + 2]});
    if (data[0] & 0x80) {
        mvm__agent_port(vm->agent, false);
        mvm__agent_port(vm->agent, true);
    }
    feed(vm, streams, n, data, size);
    mvm__agent_down(vm->agent, NULL);
    fake_turn(vm);
    for (size_t i = 0; i < MVM_COUNT(ends); i++)
        require(ends[i].calls == 1);
    for (size_t i = 0; i < EXECS; i++)
        mvm_process_unref(process[i]);
    mvm_file_unref(read);
    mvm_file_unref(write);
    mvm__call_release(mount);
    require(fake_free(vm) == 0);
    return 0;
}
