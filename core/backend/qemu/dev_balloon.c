/* SPDX-License-Identifier: MIT */
/*
 * The memory balloon: what the guest has given back is the host's, at once, since its RAM is a file
 * in memory with holes. Loop thread only.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backend/qemu/dev.h"
#include "base/base.h"
#include "mvm/log.h"

#define COMMAND_SECONDS 30
#define STATS_SECONDS   2 /* how often the guest tells its figures */
#define PAGE            4096

enum { TOTAL, FREE, AVAILABLE, CACHE, NFIGURES };

static const char *const g_figures[NFIGURES][2] = {
    [TOTAL] = {"memory.guest_total", "stat-total-memory"},
    [FREE] = {"memory.guest_free", "stat-free-memory"},
    [AVAILABLE] = {"memory.guest_available", "stat-available-memory"},
    [CACHE] = {"memory.guest_cache", "stat-disk-caches"},
};

/* dev->data. Of the guest's figures -1: it has not told. */
typedef struct balloon {
    int64_t target, actual; /* bytes; actual -1: not known yet */
    mvm__job *job;          /* until actual is target */
    int64_t guest[NFIGURES];
} balloon;

static balloon *of_run(const mvm__run *run)
{
    mvm__dev *dev = mvm__dev_nth(run, "balloon", 0);

    return dev ? dev->data : NULL;
}

static int prepare(mvm__dev *dev, mvm_err *err)
{
    balloon *b = mvm__alloc(sizeof(*b));

    (void)err;
    b->target = mvm_record_int(mvm_vm_config(dev->run->vm), "memory");
    b->actual = -1;
    for (size_t i = 0; i < NFIGURES; i++)
        b->guest[i] = -1;
    dev->data = b;
    return 0;
}

/* A guest that runs out of memory takes some back: it is not killed for the balloon's sake. */
static void parts(mvm__dev *dev, mvm_qemu_parts *p)
{
    mvm__dev_removable(dev);
    mvm__dev_pci(dev, p, "virtio-balloon-pci");
    mvm_qemu_key_bool(p, "deflate-on-oom", true);
    mvm_qemu_key_bool(p, "free-page-reporting", mvm_record_bool(dev->record, "reporting"));
    mvm_qemu_key_int(p, "guest-stats-polling-interval", STATS_SECONDS);
}

static void release(mvm__dev *dev)
{
    balloon *b = dev->data;
    mvm_err err;

    if (b && b->job) {
        mvm_fail(&err, MVM_ESTATE, "the balloon is gone");
        mvm__job_done(b->job, &err);
    }
    mvm__free(b);
    dev->data = NULL;
}

/* ---- following the guest ----------------------------------------------------------------- */

static void finish(balloon *b, const mvm_err *err)
{
    mvm__job *job = b->job;

    b->job = NULL;
    if (job)
        mvm__job_done(job, err);
}

static void moved(balloon *b, int64_t actual)
{
    char has[24], wanted[24];

    b->actual = actual;
    if (!b->job)
        return;
    if (actual == b->target) {
        finish(b, NULL);
        return;
    }
    mvm__job_tell(b->job, "the guest to follow its balloon to %s: it has %s",
                  mvm_format_size(b->target, wanted, sizeof(wanted)),
                  mvm_format_size(actual, has, sizeof(has)));
}

static bool event(mvm__dev *dev, const char *name, const mvm_qmp_value *data)
{
    mvm_event e = {.name = "balloon", .nargs = 1};
    balloon *b = dev->data;
    int64_t actual = mvm_qmp_int(data, "actual", -1);

    if (strcmp(name, "BALLOON_CHANGE") != 0 || actual < 0)
        return false;
    if (actual != b->actual) {
        e.args[0] = (mvm_value){.type = MVM_T_INT, .as.integer = actual};
        mvm__vm_emit(dev->run->vm, &e);
    }
    moved(b, actual);
    return true;
}

/* ---- the verb ------------------------------------------------------------------------- */

static void on_actual(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    balloon *b = of_run(ud);
    int64_t actual = mvm_qmp_int(value, "actual", -1);

    if (b && !err && actual >= 0)
        moved(b, actual);
}

static int ask_actual(mvm__run *run, mvm_err *err)
{
    return mvm__qmp_call(run->qmp, COMMAND_SECONDS, on_actual, run, err, "query-balloon", NULL);
}

/* QEMU has the target. What is paused can't follow: it will when it goes on. */
static void on_set(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    mvm__run *run = ud;
    balloon *b = of_run(run);
    mvm_err why;

    (void)value;
    if (!b)
        return;
    if (err)
        finish(b, err);
    else if (mvm_vm_state(run->vm) == MVM_PAUSED)
        finish(b, NULL);
    else if (ask_actual(run, &why) != 0)
        finish(b, &why);
}

int mvm__balloon_set(mvm_vm *vm, int64_t bytes, mvm__job *job, mvm_err *err)
{
    mvm__run *run = mvm__run_of(vm);
    balloon *b = of_run(run);
    mvm_err why;

    if (!b)
        return mvm_fail(err, MVM_ESTATE, "its balloon is being attached");
    int rc = mvm__qmp_call(run->qmp, COMMAND_SECONDS, on_set, run, err, "balloon", "{s:I}", "value",
                           (long long)(bytes / PAGE * PAGE));
    if (rc != 0)
        return rc;
    mvm_fail(&why, MVM_ESTATE, "the balloon was given another target");
    finish(b, &why);
    b->target = bytes / PAGE * PAGE;
    b->job = job;
    return 0;
}

/* ---- figures -------------------------------------------------------------------------- */

/* The guest's own words: any number, or none. */
static void on_guest_stats(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    balloon *b = of_run(ud);
    const mvm_qmp_value *stats = mvm_qmp_get(value, "stats");

    for (size_t i = 0; b && !err && i < NFIGURES; i++)
        b->guest[i] = mvm_qmp_int(stats, g_figures[i][1], -1);
}

void mvm__balloon_ask(mvm_vm *vm)
{
    mvm__run *run = mvm__run_of(vm);
    mvm__dev *dev = mvm__dev_nth(run, "balloon", 0);
    char path[64];

    if (!dev || dev->job)
        return;
    snprintf(path, sizeof(path), "/machine/peripheral/%s", dev->id);
    (void)ask_actual(run, NULL);
    (void)mvm__qmp_call(run->qmp, COMMAND_SECONDS, on_guest_stats, run, NULL, "qom-get",
                        "{s:s, s:s}", "path", path, "property", "guest-stats");
}

static void add(mvm_vm *vm, const char *name, int64_t n)
{
    if (n >= 0)
        mvm__vm_stat_add(vm, &(mvm_value){.type = MVM_T_INT, .as.integer = n}, "%s", name);
}

void mvm__balloon_figures(mvm_vm *vm)
{
    const balloon *b = of_run(mvm__run_of(vm));

    if (!b)
        return;
    add(vm, "balloon.target", b->target);
    add(vm, "balloon.actual", b->actual);
    for (size_t i = 0; i < NFIGURES; i++)
        add(vm, g_figures[i][0], b->guest[i]);
}

const mvm__dev_ops mvm__dev_balloon = {
    .kind = "balloon",
    .prepare = prepare,
    .parts = parts,
    .event = event,
    .release = release,
};
