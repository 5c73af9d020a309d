/* SPDX-License-Identifier: MIT */
/* The QEMU back end's table of operations. The work is done beside it: plan.c reads the
 * configuration, run.c starts and ends QEMU, control.c speaks to it. Loop thread only. */
#include "backend/qemu/qemu.h"

#include <signal.h>
#include <string.h>

#include "backend/qemu/plan.h"
#include "backend/qemu/run.h"

static const char *cannot(mvm_vm *vm, const char *what)
{
    (void)vm;
    (void)what; /* what vm.c knows, it can */
    return NULL;
}

static void kill_run(mvm_vm *vm)
{
    mvm__run *run = mvm__run_of(vm);

    run->killed = true;
    mvm__proc_kill(run->proc, SIGKILL);
}

/* The machine above may still have something to say while it is told of the end of the run. */
static size_t agent_write(mvm_vm *vm, const void *data, size_t len)
{
    mvm__run *run = mvm__run_of(vm);

    return run ? mvm__pipe_write(run->agent, data, len) : 0;
}

static size_t console_write(mvm_vm *vm, const void *data, size_t len)
{
    mvm__run *run = mvm__run_of(vm);

    return run ? mvm__pipe_write(run->console, data, len) : 0;
}

static void agent_read(mvm_vm *vm, bool on)
{
    mvm__run *run = mvm__run_of(vm);

    if (run)
        mvm__pipe_read(run->agent, on);
}

const mvm_backend_ops mvm__backend_qemu = {
    .name = "qemu",
    .real = true,
    .probe = mvm__qemu_probe,
    .findings = mvm__qemu_findings,
    .check = mvm__plan_check,
    .cannot = cannot,
    .start = mvm__run_start,
    .pause = mvm__control_pause,
    .resume = mvm__control_resume,
    .reset = mvm__control_reset,
    .power_button = mvm__control_power_button,
    .kill = kill_run,
    .stats = mvm__figures_collect,
    .agent_write = agent_write,
    .console_write = console_write,
    .agent_read = agent_read,
};
