/* SPDX-License-Identifier: MIT */
/* Processes of the guest: the EXEC call of the agent session as mvm/process.h offers it. Loop
 * thread only. */
#include "mvm/process.h"

#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "vm/agent_internal.h"

struct mvm_process {
    int refs;
    mvm__call *call;
};

static size_t count(const char *const *list)
{
    size_t n = 0;

    while (list && list[n])
        n++;
    return n;
}

/* The command as messages quote it: the words, or the text given to a shell. */
static void describe(char *out, size_t cap, const char *const *argv)
{
    mvm__buf text = {0};

    if (count(argv) == 3 && strcmp(argv[0], "sh") == 0 && strcmp(argv[1], "-c") == 0)
        argv += 2;
    for (size_t i = 0; argv[i] && mvm__buf_len(&text) < cap; i++)
        mvm__buf_printf(&text, i ? " %.*s" : "%.*s", (int)cap, argv[i]);
    const char *all = mvm__buf_str(&text);
    bool cut = mvm__buf_len(&text) > cap - 6;
    snprintf(out, cap, "`%.*s%s`", (int)(cap - 6), all, cut ? "..." : "");
    mvm__buf_free(&text);
}

static int check(const mvm_exec *exec, mvm_err *err)
{
    if (!exec->argv || !exec->argv[0] || !exec->argv[0][0])
        return mvm_fail(err, MVM_ECONFIG, "the command is empty");
    for (size_t i = 0; i < count(exec->env); i++) {
        const char *equals = strchr(exec->env[i], '=');
        if (!equals || equals == exec->env[i]) {
            mvm_fail(err, MVM_ECONFIG, "`%.64s` is no environment variable", exec->env[i]);
            mvm_err_hint(err, "write NAME=value");
            return MVM_ECONFIG;
        }
    }
    return 0;
}

static void put_all(mvm_agent_writer *w, const char *const *list)
{
    for (size_t i = 0; list && list[i]; i++)
        mvm_agent_put_str(w, list[i], strlen(list[i]));
}

/* Writes the EXEC payload; the writer goes bad when it does not fit. */
static int encode(mvm_agent_writer *w, const mvm_exec *exec, mvm_err *err)
{
    const char *cwd = exec->cwd ? exec->cwd : "/";
    size_t argc = count(exec->argv), envc = count(exec->env);

    mvm_agent_put_u32(w, exec->stdin_null ? MVM_AGENT_EXEC_STDIN_NULL : 0);
    mvm_agent_put_u16(w, (uint16_t)argc);
    mvm_agent_put_u16(w, (uint16_t)envc);
    mvm_agent_put_str(w, cwd, strlen(cwd));
    put_all(w, exec->argv);
    put_all(w, exec->env);
    if (!w->bad && argc <= UINT16_MAX && envc <= UINT16_MAX)
        return 0;
    mvm_fail(err, MVM_ECONFIG, "the command and its environment take more than %u bytes",
             MVM_AGENT_PAYLOAD_MAX);
    mvm_err_hint(err, "write the long part to a file in the guest, or to the command's stdin");
    return MVM_ECONFIG;
}

mvm_process *mvm_vm_spawn(mvm_vm *vm, const mvm_exec *exec, mvm_err *err)
{
    char what[64];

    if (check(exec, err) || mvm__vm_need_agent(vm, err))
        return NULL;
    MVM_AUTO_FREE uint8_t *payload = mvm__alloc(MVM_AGENT_PAYLOAD_MAX);
    mvm_agent_writer w = {payload, MVM_AGENT_PAYLOAD_MAX, 0, false};
    if (encode(&w, exec, err))
        return NULL;
    describe(what, sizeof(what), exec->argv);
    mvm__call *call = mvm__call_new(vm, MVM__CALL_EXEC, what);
    if (exec->stdin_null)
        call->chan[0].s.shut = call->chan[0].eof_sent = true;
    if (mvm__call_begin(call, MVM_AGENT_EXEC, payload, w.len, err)) {
        mvm__call_release(call);
        return NULL;
    }
    mvm_process *process = mvm__alloc(sizeof(*process));
    *process = (mvm_process){.refs = 1, .call = call};
    return process;
}

mvm_process *mvm_process_ref(mvm_process *process)
{
    process->refs++;
    return process;
}

void mvm_process_unref(mvm_process *process)
{
    if (!process || --process->refs > 0)
        return;
    mvm__call_drop(process->call);
    mvm__call_release(process->call);
    mvm__free(process);
}

mvm_stream *mvm_process_stream(mvm_process *process, int fd)
{
    return &process->call->chan[fd].s;
}

int mvm_process_pid(const mvm_process *process)
{
    return process->call->pid;
}

mvm_wait *mvm_process_wait(mvm_process *process, const mvm_waiter *waiter, mvm_err *err)
{
    (void)err; /* waiting is always possible */
    return mvm__call_wait(process->call, waiter);
}

void mvm_process_result(const mvm_process *process, int *status, int *signal)
{
    *status = process->call->status;
    *signal = process->call->signal;
}

bool mvm_process_ended(const mvm_process *process)
{
    return process->call->exited || process->call->ended;
}

int mvm_process_kill(mvm_process *process, int signum, mvm_err *err)
{
    mvm__call *call = process->call;
    uint8_t payload[4];
    mvm_agent_writer w = {payload, sizeof(payload), 0, false};

    if (signum < 1 || signum > 64) {
        mvm_fail(err, MVM_ECONFIG, "%d is no signal", signum);
        mvm_err_hint(err, "1 to 64");
        return MVM_ECONFIG;
    }
    if (call->ended && call->exited)
        return 0; /* it is where the signal would take it */
    if (call->ended) {
        if (err)
            *err = *call->failed;
        return call->failed->code;
    }
    mvm_agent_put_u32(&w, (uint32_t)signum);
    return mvm__agent_put(call->agent, MVM_AGENT_SIGNAL, 0, call->id, payload, w.len, err);
}
