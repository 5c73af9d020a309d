/* SPDX-License-Identifier: MIT */
/* The QEMU back end's table of operations. The work is done beside it: plan.c reads the
 * configuration, run.c starts and ends QEMU, control.c speaks to it. Loop thread only. */
#include "backend/qemu/qemu.h"

#include <signal.h>
#include <string.h>

#include "backend/qemu/dev.h"
#include "backend/qemu/plan.h"

/* What a kind can't have here, before anything is made. */
static int check_device(mvm_vm *vm, const mvm_record *device, const char *at, mvm_err *err)
{
    const char *kind = mvm_record_schema(device)->kind;

    for (size_t i = 0; mvm__dev_ops_at(i); i++) {
        const mvm__dev_ops *ops = mvm__dev_ops_at(i);
        if (strcmp(ops->kind, kind) == 0)
            return ops->check ? ops->check(vm, device, at, err) : 0;
    }
    return 0;
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
    .check_device = check_device,
    .cannot = mvm__qemu_cannot,
    .cure = mvm__qemu_cure,
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
    .share_driver = mvm__share_driver,
    .port_write = mvm__port_write,
    .port_read = mvm__port_read,
    .plug = mvm__hotplug_plug,
    .unplug = mvm__hotplug_unplug,
    .balloon = mvm__balloon_set,
    .set_link = mvm__net_set_link,
    .forward = mvm__net_forward_at,
    .resize = mvm__disk_resize,
    .screenshot = mvm__screenshot,
    .input = mvm__input_send,
};
