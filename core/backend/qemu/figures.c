/* SPDX-License-Identifier: MIT */
/* The figures of a run: QEMU's own counters over QMP, the process's from /proc. Loop thread only.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/qemu/accel.h"
#include "backend/qemu/dev.h"
#include "base/base.h"

#define STATS_SECONDS 10

static void add_int(mvm_vm *vm, const char *name, int64_t n)
{
    mvm__vm_stat_add(vm, &(mvm_value){.type = MVM_T_INT, .as.integer = n}, "%s", name);
}

static void add_text(mvm_vm *vm, const char *name, const char *text)
{
    mvm_value v = {.type = MVM_T_STRING};

    v.as.string.ptr = text;
    v.as.string.len = strlen(text);
    mvm__vm_stat_add(vm, &v, "%s", name);
}

/* ---- the process -------------------------------------------------------------------- */

static size_t read_proc(int pid, const char *file, char *out, size_t cap)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    size_t n = fread(out, 1, cap - 1, f);
    fclose(f);
    out[n] = '\0';
    return n;
}

/* Nothing is added where there is no /proc. */
static void add_process(mvm_vm *vm, int pid)
{
    char text[4096];
    unsigned long user = 0, system = 0;
    long long kib = 0;

    add_int(vm, "pid", pid);
    /* After the name, which may hold anything: state and ten numbers, then the two times. */
    const char *at = read_proc(pid, "stat", text, sizeof(text)) ? strrchr(text, ')') : NULL;
    if (at && sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                     &system) == 2) {
        mvm_value v = {.type = MVM_T_NUMBER};
        v.as.number = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
        mvm__vm_stat_add(vm, &v, "cpu_time");
    }
    at = read_proc(pid, "status", text, sizeof(text)) ? strstr(text, "\nVmRSS:") : NULL;
    if (at && sscanf(at + 7, "%lld", &kib) == 1)
        add_int(vm, "memory.resident", kib * 1024);
}

/* ---- QEMU ------------------------------------------------------------------------------ */

static const mvm_qmp_value *find_disk(const mvm_qmp_value *list, const char *node)
{
    const mvm_qmp_value *item;

    for (size_t i = 0; (item = mvm_qmp_at(list, i)) != NULL; i++)
        if (strcmp(mvm_qmp_str(item, "node-name"), node) == 0)
            return mvm_qmp_get(item, "stats");
    return NULL;
}

static void add_disks(mvm_vm *vm, const mvm_qmp_value *list)
{
    static const struct {
        const char *ours, *theirs;
    } counters[] = {
        {"read_bytes", "rd_bytes"},
        {"write_bytes", "wr_bytes"},
        {"read_ops", "rd_operations"},
        {"write_ops", "wr_operations"},
    };
    mvm__dev *dev;
    char node[32];

    for (size_t i = 0; (dev = mvm__dev_nth(mvm__run_of(vm), "disk", i)) != NULL; i++) {
        snprintf(node, sizeof(node), "%s-image", dev->id);
        const mvm_qmp_value *stats = find_disk(list, node);
        for (size_t k = 0; stats && k < MVM_COUNT(counters); k++)
            mvm__vm_stat_add(vm,
                             &(mvm_value){.type = MVM_T_INT,
                                          .as.integer = mvm_qmp_int(stats, counters[k].theirs, 0)},
                             "disk.%s.%s", dev->name, counters[k].ours);
    }
}

static void add_shares(mvm_vm *vm)
{
    mvm__dev *dev;
    char name[80];

    for (size_t i = 0; (dev = mvm__dev_nth(mvm__run_of(vm), "share", i)) != NULL; i++) {
        snprintf(name, sizeof(name), "share.%s.driver", dev->name);
        add_text(vm, name, mvm__share_driver(vm, dev->record));
        snprintf(name, sizeof(name), "share.%s.sandbox", dev->name);
        add_text(vm, name, mvm__share_sandbox(dev));
    }
}

static void on_blockstats(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    mvm__run *run = ud;
    mvm_vm *vm = run->vm;

    run->stats_asked = false;
    if (mvm__proc_pid(run->proc) == 0)
        return; /* the end of the run ends the wait */
    add_text(vm, "accel", mvm__accel_of(mvm__arch_of(vm))->name);
    add_text(vm, "accel_reason", mvm__accel_of(mvm__arch_of(vm))->reason);
    add_text(vm, "qemu", run->version);
    add_process(vm, mvm__proc_pid(run->proc));
    add_shares(vm);
    if (!err)
        add_disks(vm, value);
    mvm__net_figures(vm);
    mvm__balloon_figures(vm);
    mvm__vm_on_stats(vm, err);
}

int mvm__figures_collect(mvm_vm *vm, mvm_err *err)
{
    mvm__run *run = mvm__run_of(vm);

    if (run->stats_asked)
        return 0;         /* one answer is for all who asked */
    mvm__balloon_ask(vm); /* QEMU answers in order: before what follows */
    int rc =
        mvm__qmp_call(run->qmp, STATS_SECONDS, on_blockstats, run, err, "query-blockstats", NULL);
    run->stats_asked = rc == 0;
    return rc;
}
