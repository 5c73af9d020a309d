/* SPDX-License-Identifier: MIT */
/*
 * The run's control over QMP: the verbs, and QEMU's events as reports. A command that fails because
 * QEMU is gone is not reported: the end of the process is, with the better reason. Loop thread
 * only.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "backend/qemu/dev.h"
#include "backend/qemu/run.h"
#include "base/base.h"
#include "mvm/log.h"

#define COMMAND_SECONDS 30 /* a host under load may be slow; a hung QEMU is noticed */
#define GRACE_SECONDS   30 /* it may have a large image to close */

/* ---- giving up -------------------------------------------------------------------- */

void mvm__control_give_up(mvm__run *run, const mvm_err *why)
{
    if (!run->why.code && !run->killed)
        run->why = *why;
    mvm__proc_kill(run->proc, SIGKILL);
}

static void on_grace_over(void *ud)
{
    mvm__run *run = ud;
    mvm_err err;

    run->grace = NULL;
    mvm_fail(&err, MVM_EBACKEND, "QEMU closed its control socket and did not end");
    mvm__control_give_up(run, &err);
}

/* A closed socket is how a QEMU that ends looks first: it has a moment to end by itself. */
static void on_dead(void *ud, const mvm_err *err)
{
    mvm__run *run = ud;
    mvm_loop *loop = mvm_lab_loop(mvm_vm_lab(run->vm));

    if (mvm__proc_pid(run->proc) == 0)
        return;
    if (err->code == MVM_EIO)
        run->grace = mvm_timer_start(loop, GRACE_SECONDS, on_grace_over, run);
    else
        mvm__control_give_up(run, err);
}

/* ---- events ------------------------------------------------------------------------- */

static void on_shutdown(mvm__run *run, const mvm_qmp_value *data)
{
    const char *reason = mvm_qmp_str(data, "reason");

    snprintf(run->ended, sizeof(run->ended), "%s", reason[0] ? reason : "unknown");
    if (mvm_qmp_bool(data, "guest"))
        mvm__vm_on_guest_shutdown(run->vm, "shutdown");
}

static void on_reset(mvm__run *run, const mvm_qmp_value *data)
{
    if (run->resetting && !mvm_qmp_bool(data, "guest")) {
        run->resetting = false;
        mvm__vm_on_reset(run->vm);
        return;
    }
    mvm__vm_on_guest_shutdown(run->vm, "reset");
}

static void on_panicked(mvm__run *run, const mvm_qmp_value *data)
{
    (void)data;
    mvm__vm_on_guest_shutdown(run->vm, "panic");
}

/* The agent's port; those of devices have ids of their own. */
static void on_port(mvm__run *run, const mvm_qmp_value *data)
{
    if (strcmp(mvm_qmp_str(data, "id"), "agentport") != 0)
        mvm__devs_event(run, "VSERPORT_CHANGE", data);
    else
        mvm__vm_on_agent_port(run->vm, mvm_qmp_bool(data, "open"));
}

static const struct {
    const char *name;
    void (*handle)(mvm__run *run, const mvm_qmp_value *data);
} g_events[] = {
    {"SHUTDOWN", on_shutdown},
    {"RESET", on_reset},
    {"GUEST_PANICKED", on_panicked},
    {"VSERPORT_CHANGE", on_port},
};

static void on_event(void *ud, const char *name, const mvm_qmp_value *data)
{
    mvm__run *run = ud;

    mvm_log(MVM_LOG_DEBUG, "%s: QMP event %s", mvm_vm_name(run->vm), name);
    for (size_t i = 0; i < MVM_COUNT(g_events); i++) {
        if (strcmp(g_events[i].name, name) == 0) {
            g_events[i].handle(run, data);
            return;
        }
    }
    if (!mvm__hotplug_event(run, name, data))
        mvm__devs_event(run, name, data);
}

/* ---- the start ------------------------------------------------------------------------ */

/* The processors run since QEMU has made the machine: it was not started paused, because `cont`
 * would only come a round trip later. */
static void on_ready(void *ud, const char *version)
{
    mvm__run *run = ud;

    snprintf(run->version, sizeof(run->version), "%s", version);
    mvm__vm_mark(run->vm, "qmp");
    mvm__devs_live(run);
    mvm__control_settled(run);
}

void mvm__control_settled(mvm__run *run)
{
    if (run->running || mvm__devs_settling(run))
        return;
    run->running = true;
    mvm__vm_on_running(run->vm);
}

const mvm__qmp_ops mvm__control_ops = {on_ready, on_event, on_dead};

/* ---- verbs ---------------------------------------------------------------------------- */

/* Is the failure of a command one to report? Not when the run is ending. */
static bool to_report(const mvm__run *run, const mvm_err *err)
{
    return mvm__proc_pid(run->proc) != 0 && !run->killed && !run->why.code && !run->grace &&
           err->code != MVM_ECANCELLED;
}

static void on_paused(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    mvm__run *run = ud;

    (void)value;
    if (!err)
        mvm__vm_on_paused(run->vm);
    else if (to_report(run, err))
        mvm__vm_on_failed(run->vm, err);
}

static void on_resumed(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    mvm__run *run = ud;

    (void)value;
    if (!err)
        mvm__vm_on_running(run->vm);
    else if (to_report(run, err))
        mvm__vm_on_failed(run->vm, err);
}

/* Success is the RESET event. */
static void on_reset_asked(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    mvm__run *run = ud;

    (void)value;
    if (!err)
        return;
    run->resetting = false;
    if (to_report(run, err))
        mvm__vm_on_failed(run->vm, err);
}

static void on_button(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    mvm__run *run = ud;

    (void)value;
    if (err && to_report(run, err))
        mvm_log(MVM_LOG_WARN, "%s: %s", mvm_vm_name(run->vm), err->message);
}

static int call(mvm_vm *vm, mvm__qmp_reply_fn fn, const char *command, mvm_err *err)
{
    mvm__run *run = mvm__run_of(vm);

    return mvm__qmp_call(run->qmp, COMMAND_SECONDS, fn, run, err, command, NULL);
}

int mvm__control_pause(mvm_vm *vm, mvm_err *err)
{
    return call(vm, on_paused, "stop", err);
}

int mvm__control_resume(mvm_vm *vm, mvm_err *err)
{
    return call(vm, on_resumed, "cont", err);
}

int mvm__control_reset(mvm_vm *vm, mvm_err *err)
{
    int rc = call(vm, on_reset_asked, "system_reset", err);

    mvm__run_of(vm)->resetting = rc == 0;
    return rc;
}

int mvm__control_power_button(mvm_vm *vm, mvm_err *err)
{
    return call(vm, on_button, "system_powerdown", err);
}
