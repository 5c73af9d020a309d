/* SPDX-License-Identifier: MIT */
/*
 * The back end `sim`: its table of operations, and the life of one simulated machine. Operations
 * end by a timer of the loop, so nothing is reported from inside one and virtual time makes them
 * instant. Loop thread only.
 */
#include "backend/sim/sim.h"

#include <stdio.h>
#include <string.h>

#include "backend/sim/sim_internal.h"
#include "mvm/host.h"

mvm__sim *mvm__sim_of(mvm_vm *vm)
{
    mvm__sim *sim = mvm__vm_data(vm);

    if (sim)
        return sim;
    sim = mvm__alloc(sizeof(*sim));
    sim->vm = vm;
    sim->loop = mvm_lab_loop(mvm_vm_lab(vm));
    mvm__sim_clock_init(&sim->clock, sim->loop);
    mvm__list_init(&sim->failures);
    mvm__list_init(&sim->acts);
    mvm__list_init(&sim->injections);
    mvm__list_init(&sim->image);
    mvm__list_init(&sim->files);
    mvm__list_init(&sim->procs);
    mvm__list_init(&sim->port.streams);
    mvm__vm_set_data(vm, sim);
    return sim;
}

/* splitmix64 */
uint64_t mvm__sim_random(mvm__sim *sim)
{
    uint64_t z = sim->rng += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

const char *mvm__sim_hostname(const mvm__sim *sim)
{
    return mvm_vm_name(sim->vm);
}

/* ---- the guest's run ---------------------------------------------------------------- */

static void agent_boot(void *ud)
{
    mvm__sim *sim = ud;
    const char *failure = sim->agent ? mvm__sim_failure(sim, "agent") : NULL;

    if (failure)
        mvm__sim_kmsg(sim, "macvm-agent: %s", failure);
    mvm__sim_console_login(sim);
    if (sim->agent && !failure)
        mvm__sim_agent_start(sim);
}

/* Lets go of everything that the guest of this run had. */
static void guest_clear(mvm__sim *sim)
{
    mvm__sim_agent_clear(sim);
    mvm__sim_console_clear(sim);
    mvm__sim_unset(&sim->boot);
    mvm__sim_unset(&sim->pump);
    mvm__sim_unset(&sim->act);
    mvm__sim_clock_clear(&sim->clock);
    mvm__sim_files_clear(&sim->files);
    sim->halted = sim->powering = false;
}

/* The processor begins at the reset vector. */
static void guest_boot(mvm__sim *sim)
{
    guest_clear(sim);
    mvm__sim_files_boot(sim);
    sim->next_pid = 100 + (int)(mvm__sim_random(sim) % 100);
    mvm__sim_clock_run(&sim->clock, true);
    mvm__sim_console_boot(sim);
    mvm__sim_at(&sim->clock, &sim->boot, sim->boot_seconds, agent_boot, sim);
}

static void configure(mvm__sim *sim)
{
    mvm_record *config = mvm_vm_config(sim->vm);
    mvm_record *defaults = NULL;
    const mvm_record *r = mvm_record_peek(config, "sim");

    if (!r)
        r = defaults = mvm_record_new(mvm_schema_find("sim"));
    sim->boot_seconds = mvm_record_number(r, "boot");
    sim->latency = mvm_record_number(r, "latency");
    sim->agent = mvm_record_bool(r, "agent");
    sim->ignores = strcmp(mvm_record_str(r, "shutdown"), "ignore") == 0;
    /* Machines of one seed differ, but each is the same every time. */
    sim->rng = (uint64_t)mvm_record_int(r, "seed");
    for (const char *c = mvm__sim_hostname(sim); *c; c++)
        sim->rng = (sim->rng ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    mvm_record_unref(defaults);
}

/* ---- operations and their ends ---------------------------------------------------------- */

static void op_clear(mvm__sim *sim)
{
    mvm_timer_cancel(sim->op_timer);
    sim->op_timer = NULL;
    sim->op = MVM__SIM_NO_OP;
    mvm__free(sim->op_err);
    sim->op_err = NULL;
}

static void exit_now(mvm__sim *sim, const mvm_err *err)
{
    mvm_timer_cancel(sim->stats_timer);
    mvm_timer_cancel(sim->inject_timer);
    sim->stats_timer = sim->inject_timer = NULL;
    mvm__sim_injections_clear(sim);
    guest_clear(sim);
    sim->up = false;
    mvm__sim_devices_clear(sim);
    mvm__vm_on_exit(sim->vm, err); /* the last call of this run; the machine may be gone after it */
}

static void op_succeed(mvm__sim *sim, enum mvm__sim_op op)
{
    switch (op) {
    case MVM__SIM_START:
        guest_boot(sim);
        mvm__vm_on_running(sim->vm);
        break;
    case MVM__SIM_PAUSE:
        mvm__sim_clock_run(&sim->clock, false);
        mvm__vm_on_paused(sim->vm);
        break;
    case MVM__SIM_RESUME:
        mvm__sim_clock_run(&sim->clock, true);
        mvm__vm_on_running(sim->vm);
        break;
    case MVM__SIM_RESET:
        mvm__sim_agent_stop(sim, true);
        guest_boot(sim);
        mvm__vm_on_reset(sim->vm);
        break;
    case MVM__SIM_STOP: /* the guest begins to shut down by itself */
        mvm__sim_power(sim, false);
        break;
    case MVM__SIM_EXIT:
    case MVM__SIM_NO_OP:
        break;
    }
}

static void op_end(void *ud)
{
    mvm__sim *sim = ud;
    enum mvm__sim_op op = sim->op;
    mvm_err *failed = sim->op_err;

    sim->op_timer = NULL;
    sim->op_err = NULL;
    sim->op = MVM__SIM_NO_OP;
    if (op == MVM__SIM_EXIT || (op == MVM__SIM_START && failed))
        exit_now(sim, failed);
    else if (failed)
        mvm__vm_on_failed(sim->vm, failed);
    else
        op_succeed(sim, op);
    mvm__free(failed);
}

static void op_begin(mvm__sim *sim, enum mvm__sim_op op, const char *name)
{
    const char *failure = name ? mvm__sim_failure(sim, name) : NULL;

    op_clear(sim);
    sim->op = op;
    if (failure) {
        sim->op_err = mvm__alloc(sizeof(*sim->op_err));
        mvm_fail(sim->op_err, MVM_EBACKEND, "%s", failure);
    }
    sim->op_timer = mvm_timer_start(sim->loop, 0, op_end, sim);
}

static int sim_start(mvm_vm *vm, mvm_err *err)
{
    mvm__sim *sim = mvm__sim_of(vm);

    (void)err;
    configure(sim);
    sim->up = true;
    mvm__vm_mark(vm, "process");
    op_begin(sim, MVM__SIM_START, "start");
    return 0;
}

static int sim_pause(mvm_vm *vm, mvm_err *err)
{
    (void)err;
    op_begin(mvm__vm_data(vm), MVM__SIM_PAUSE, "pause");
    return 0;
}

static int sim_resume(mvm_vm *vm, mvm_err *err)
{
    (void)err;
    op_begin(mvm__vm_data(vm), MVM__SIM_RESUME, "resume");
    return 0;
}

static int sim_reset(mvm_vm *vm, mvm_err *err)
{
    (void)err;
    op_begin(mvm__vm_data(vm), MVM__SIM_RESET, "reset");
    return 0;
}

static int sim_power_button(mvm_vm *vm, mvm_err *err)
{
    mvm__sim *sim = mvm__vm_data(vm);
    const char *failure = mvm__sim_failure(sim, "stop");

    if (failure)
        return mvm_fail(err, MVM_EBACKEND, "%s", failure);
    if (!sim->ignores && !sim->halted)
        op_begin(sim, MVM__SIM_STOP, NULL);
    return 0;
}

static void sim_kill(mvm_vm *vm)
{
    mvm__sim *sim = mvm__vm_data(vm);

    if (sim->op != MVM__SIM_EXIT)
        op_begin(sim, MVM__SIM_EXIT, "kill");
}

void mvm__sim_die(mvm__sim *sim, const char *why)
{
    if (sim->op == MVM__SIM_EXIT)
        return;
    op_begin(sim, MVM__SIM_EXIT, NULL);
    sim->op_err = mvm__alloc(sizeof(*sim->op_err));
    mvm_fail(sim->op_err, MVM_EBACKEND, "%s", why);
}

/* ---- what the guest does to itself -------------------------------------------------------- */

/* The guest is through with shutting down. */
static void guest_off(void *ud)
{
    mvm__sim *sim = ud;

    mvm__sim_kmsg(sim, "reboot: Power down");
    if (sim->op != MVM__SIM_EXIT)
        op_begin(sim, MVM__SIM_EXIT, NULL);
}

static void guest_again(void *ud)
{
    mvm__sim *sim = ud;

    mvm__sim_kmsg(sim, "reboot: Restarting system");
    mvm__sim_agent_stop(sim, true);
    guest_boot(sim);
}

void mvm__sim_power(mvm__sim *sim, bool reboot)
{
    if (sim->powering || sim->halted)
        return;
    sim->powering = true;
    mvm__sim_at(&sim->clock, &sim->act, 0, reboot ? guest_again : guest_off, sim);
    mvm__vm_on_guest_shutdown(sim->vm, reboot ? "reset" : "shutdown");
}

void mvm__sim_panic(mvm__sim *sim, const char *why)
{
    if (sim->halted)
        return;
    mvm__sim_console_panic(sim, why);
    sim->halted = true;
    mvm__sim_unset(&sim->act);
    mvm__sim_unset(&sim->boot);
    mvm__vm_on_guest_shutdown(sim->vm, "panic");
}

/* ---- looking ----------------------------------------------------------------------------------
 */

static void add_int(mvm_vm *vm, const char *name, int64_t n)
{
    mvm__vm_stat_add(vm, &(mvm_value){.type = MVM_T_INT, .as.integer = n}, "%s", name);
}

static void stats_end(void *ud)
{
    mvm__sim *sim = ud;
    const char *failure = mvm__sim_failure(sim, "stats");
    mvm_record *config = mvm_vm_config(sim->vm);
    mvm_err err;

    sim->stats_timer = NULL;
    if (failure) {
        mvm_fail(&err, MVM_EBACKEND, "%s", failure);
        mvm__vm_on_stats(sim->vm, &err);
        return;
    }
    mvm_value name = {.type = MVM_T_STRING, .as.string = {"sim", 3}};
    mvm_value seconds = {.type = MVM_T_NUMBER, .as.number = mvm__sim_clock_now(&sim->clock)};
    mvm__vm_stat_add(sim->vm, &name, "accel");
    add_int(sim->vm, "cpus", mvm_record_int(config, "cpus"));
    add_int(sim->vm, "memory.size", mvm_record_int(config, "memory"));
    mvm__vm_stat_add(sim->vm, &seconds, "guest.uptime");
    add_int(sim->vm, "balloon.actual",
            sim->balloon ? sim->balloon : mvm_record_int(config, "memory"));
    mvm__vm_on_stats(sim->vm, NULL);
}

static int sim_stats(mvm_vm *vm, mvm_err *err)
{
    mvm__sim *sim = mvm__vm_data(vm);

    (void)err;
    if (!sim->stats_timer)
        sim->stats_timer = mvm_timer_start(sim->loop, 0, stats_end, sim);
    return 0;
}

static int sim_probe(mvm_err *err)
{
    (void)err;
    return 0;
}

static size_t sim_findings(struct mvm_finding *out, size_t cap)
{
    if (cap == 0)
        return 0;
    *out = (mvm_finding){.what = "sim", .ok = true};
    snprintf(out->detail, sizeof(out->detail), "simulated machines, only when asked for");
    return 1;
}

static int sim_check(mvm_vm *vm, mvm_err *err)
{
    (void)vm;
    (void)err;
    return 0;
}

/* Only the console that every machine has is simulated; a device may configure that. */
static int sim_check_device(mvm_vm *vm, const mvm_record *device, const char *at, mvm_err *err)
{
    mvm_record *d;
    size_t i = 0;

    if (strcmp(mvm_record_schema(device)->kind, "console") != 0)
        return 0;
    while ((d = mvm_record_item(mvm_vm_config(vm), "devices", i)) != NULL &&
           (mvm_record_schema(d) != mvm_record_schema(device) ||
            strcmp(mvm_record_str(d, "type"), "serial") != 0))
        i++;
    if (d == device)
        return 0;
    mvm_fail(err, MVM_EUNSUPPORTED, "the sim back end has one console, a serial one");
    mvm_err_field(err, "%s", at);
    return MVM_EUNSUPPORTED;
}

/* Devices may be configured, so that a lab can be rehearsed, but its guest sees none of them. */
static const char *sim_cannot(mvm_vm *vm, const char *what)
{
    static const char *const can[] = {"pause", "reboot", "stats",   "console", "entropy",
                                      "disk",  "net",    "hotplug", "balloon"};

    for (size_t i = 0; i < MVM_COUNT(can); i++)
        if (strcmp(can[i], what) == 0)
            return NULL;
    if (strcmp(what, "agent") != 0 && strcmp(what, "exec") != 0)
        return "the sim back end does not simulate it";
    const mvm_record *r = mvm_record_peek(mvm_vm_config(vm), "sim");
    return !r || mvm_record_bool(r, "agent") ? NULL : "its `sim` table says `agent = false`";
}

static void sim_release(mvm_vm *vm)
{
    mvm__sim *sim = mvm__vm_data(vm);

    if (!sim)
        return;
    op_clear(sim);
    mvm_timer_cancel(sim->stats_timer);
    mvm_timer_cancel(sim->inject_timer);
    mvm__sim_injections_clear(sim);
    mvm__sim_failures_clear(sim);
    guest_clear(sim);
    mvm__sim_files_clear(&sim->image);
    mvm__vm_set_data(vm, NULL);
    mvm__free(sim);
}

const mvm_backend_ops mvm__backend_sim = {
    .name = "sim",
    .probe = sim_probe,
    .findings = sim_findings,
    .check = sim_check,
    .check_device = sim_check_device,
    .cannot = sim_cannot,
    .start = sim_start,
    .pause = sim_pause,
    .resume = sim_resume,
    .reset = sim_reset,
    .power_button = sim_power_button,
    .kill = sim_kill,
    .stats = sim_stats,
    .agent_write = mvm__sim_agent_write,
    .console_write = mvm__sim_console_write,
    .agent_read = mvm__sim_agent_read,
    .plug = mvm__sim_plug,
    .unplug = mvm__sim_unplug,
    .balloon = mvm__sim_balloon,
    .resize = mvm__sim_resize,
    .set_link = mvm__sim_set_link,
    .release = sim_release,
};
