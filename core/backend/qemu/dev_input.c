/* SPDX-License-Identifier: MIT */
/*
 * Keyboard and pointer, and what is typed and clicked. A device has one queue: what was asked first
 * is sent first, event by event, each with a report of its own. QEMU drops events that the guest's
 * queue (64 reports) has no room for, and nobody hears of it; so after every key and every move
 * the guest gets a moment to take them. Loop thread only.
 */
#include <string.h>

#include "backend/qemu/dev.h"
#include "base/base.h"
#include "mvm/lab.h"
#include "vm/job.h"

#define COMMAND_SECONDS 30
#define PACE_SECONDS    0.01 /* a guest may stall for some 150 ms and loses nothing */
#define AXIS_RANGE      0x8000

typedef struct input_task {
    mvm__link link;
    mvm__job *job; /* NULL: it has ended, what follows only lets go of keys */
    mvm_input *events;
    size_t n, sent;
    int held;          /* keys and buttons that are down */
    int width, height; /* of the display; 0: not known yet, or not needed */
} input_task;

typedef struct input_queue {
    mvm__dev *dev;
    mvm__list tasks; /* the first is being sent */
    mvm_timer *timer;
    bool asking;  /* a command is under way */
    bool stalled; /* until the machine goes on, as a key is down */
    bool gone;    /* the device is not there any more; freed by the command's answer */
} input_queue;

static void go_on(input_queue *q);

static input_task *first(const input_queue *q)
{
    return mvm__list_empty(&q->tasks) ? NULL : mvm__container_of(q->tasks.next, input_task, link);
}

static void end_job(input_task *task, const mvm_err *err)
{
    mvm__job *job = task->job;

    task->job = NULL;
    if (job)
        mvm__job_done(job, err);
}

static void finish(input_task *task, const mvm_err *err)
{
    mvm__list_remove(&task->link);
    end_job(task, err);
    mvm__free(task->events);
    mvm__free(task);
}

/* A command failed. When QEMU has ended, the device's release ends all. */
static void give_up(input_queue *q, const mvm_err *err)
{
    if (err->code == MVM_ECANCELLED || err->code == MVM_EIO)
        return;
    finish(first(q), err);
    go_on(q);
}

static bool is_paused(const input_queue *q)
{
    mvm_state state = mvm_vm_state(q->dev->run->vm);

    return state == MVM_PAUSED || state == MVM_RESUMING;
}

/* The machine was paused on the way. A key that is down would repeat for ever once it goes on: it
 * is let go of then, though the caller is told now. */
static void pause_over(input_queue *q)
{
    mvm_err err;

    mvm_fail(&err, MVM_ESTATE, "the machine was paused on the way");
    q->stalled = first(q)->held > 0;
    if (q->stalled)
        end_job(first(q), &err);
    else
        give_up(q, &err);
}

/* A command was answered. false: the device has gone meanwhile. */
static bool answered(input_queue *q)
{
    q->asking = false;
    if (q->gone)
        mvm__free(q);
    else
        return true;
    return false;
}

/* ---- one event -------------------------------------------------------------------------- */

static void on_pace(void *ud)
{
    input_queue *q = ud;

    q->timer = NULL;
    go_on(q);
}

static void on_sent(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    input_queue *q = ud;

    (void)value;
    if (!answered(q))
        return;
    if (err) {
        if (err->code == MVM_EBACKEND && is_paused(q))
            pause_over(q);
        else
            give_up(q, err);
        return;
    }
    input_task *task = first(q);
    const mvm_input *event = &task->events[task->sent++];
    if (event->kind != MVM_INPUT_MOVE)
        task->held += event->down ? 1 : -1;
    if (task->held > 0 && task->sent < task->n)
        go_on(q);
    else
        q->timer =
            mvm_timer_start(mvm_lab_loop(mvm_vm_lab(q->dev->run->vm)), PACE_SECONDS, on_pace, q);
}

/* The middle of the pixel, so that the guest finds the same pixel whichever way it rounds. */
static int64_t axis(int at, int size)
{
    return ((2 * (int64_t)at + 1) * AXIS_RANGE) / (2 * (int64_t)size);
}

static int send_event(input_queue *q, const input_task *task, mvm_err *err)
{
    const mvm_input *e = &task->events[task->sent];
    mvm__qmp *qmp = q->dev->run->qmp;

    switch (e->kind) {
    case MVM_INPUT_KEY:
        return mvm__qmp_call(qmp, COMMAND_SECONDS, on_sent, q, err, "input-send-event",
                             "{s:[{s:s, s:{s:b, s:{s:s, s:s}}}]}", "events", "type", "key", "data",
                             "down", e->down, "key", "type", "qcode", "data", e->name);
    case MVM_INPUT_BUTTON:
        return mvm__qmp_call(qmp, COMMAND_SECONDS, on_sent, q, err, "input-send-event",
                             "{s:[{s:s, s:{s:b, s:s}}]}", "events", "type", "btn", "data", "down",
                             e->down, "button", e->name);
    default:
        return mvm__qmp_call(qmp, COMMAND_SECONDS, on_sent, q, err, "input-send-event",
                             "{s:[{s:s, s:{s:s, s:I}}, {s:s, s:{s:s, s:I}}]}", "events", "type",
                             "abs", "data", "axis", "x", "value", axis(e->x, task->width), "type",
                             "abs", "data", "axis", "y", "value", axis(e->y, task->height));
    }
}

/* ---- where the pointer may go --------------------------------------------------------------- */

static int check_moves(const input_task *task, mvm_err *err)
{
    for (size_t i = 0; i < task->n; i++) {
        const mvm_input *e = &task->events[i];
        if (e->kind != MVM_INPUT_MOVE ||
            (e->x >= 0 && e->x < task->width && e->y >= 0 && e->y < task->height))
            continue;
        mvm_fail(err, MVM_ECONFIG, "%d, %d is not on the display, which is %d x %d pixels now",
                 e->x, e->y, task->width, task->height);
        mvm_err_hint(err, "x from 0 to %d, y from 0 to %d", task->width - 1, task->height - 1);
        return MVM_ECONFIG;
    }
    return 0;
}

/* The guest may have set another size than the configuration's: that of the picture counts. */
static void on_size(void *ud, int width, int height, const mvm_err *err)
{
    input_queue *q = ud;
    mvm_err why;

    if (!answered(q))
        return;
    input_task *task = first(q);
    task->width = width;
    task->height = height;
    if (!err && check_moves(task, &why) != 0)
        err = &why;
    if (err)
        give_up(q, err);
    else
        go_on(q);
}

/* Before its driver has the pointer, a guest gets nothing of it, and QEMU says nothing. */
static void on_mice(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    input_queue *q = ud;
    mvm_err why;
    bool driven = false;

    if (!answered(q))
        return;
    for (size_t i = 0; !err && mvm_qmp_at(value, i); i++) {
        const mvm_qmp_value *mouse = mvm_qmp_at(value, i);
        driven |= mvm_qmp_bool(mouse, "absolute") && mvm_qmp_bool(mouse, "current");
    }
    if (!err && !driven) {
        mvm_fail(&why, MVM_EGUEST, "the guest does not drive its pointer");
        mvm_err_hint(&why, "it needs its driver virtio_input; vm:wait \"ready\" first");
        err = &why;
    }
    q->asking = !err && mvm__screen_size(q->dev->run, on_size, q, &why) == 0;
    if (!q->asking)
        give_up(q, err ? err : &why);
}

static bool needs_size(const input_task *task)
{
    for (size_t i = 0; task->width == 0 && i < task->n; i++)
        if (task->events[i].kind == MVM_INPUT_MOVE)
            return true;
    return false;
}

/* ---- the queue ------------------------------------------------------------------------------ */

static int next_command(input_queue *q, const input_task *task, mvm_err *err)
{
    if (needs_size(task))
        return mvm__qmp_call(q->dev->run->qmp, COMMAND_SECONDS, on_mice, q, err, "query-mice",
                             NULL);
    return send_event(q, task, err);
}

/* What nobody waits for any more is not gone on with, once no key is held. */
static void go_on(input_queue *q)
{
    input_task *task;
    mvm_err err;

    while (!q->stalled && !q->asking && !q->timer && (task = first(q)) != NULL) {
        bool wanted = task->job && task->job->wait;
        if (task->sent == task->n || (task->held == 0 && !wanted)) {
            finish(task, NULL);
            continue;
        }
        q->asking = true;
        if (next_command(q, task, &err) == 0)
            return;
        q->asking = false;
        finish(task, &err);
    }
}

static const char *kind_for(const mvm_input *events, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (events[i].kind != MVM_INPUT_KEY)
            return "pointer";
    return "keyboard";
}

static int check(mvm__run *run, const mvm_input *events, size_t n, const char *kind, mvm_err *err)
{
    for (size_t i = 0; i < n && mvm__dev_nth(run, kind, 0); i++)
        if (events[i].kind == MVM_INPUT_MOVE && !mvm__dev_nth(run, "display", 0))
            kind = "display";
    if (!mvm__dev_nth(run, kind, 0)) {
        mvm_fail(err, MVM_ECONFIG, "the machine has no %s", kind);
        mvm_err_hint(err, "add macvm.%s {} to its devices", kind);
        return MVM_ECONFIG;
    }
    if (mvm_vm_state(run->vm) == MVM_PAUSED) {
        mvm_fail(err, MVM_ESTATE, "a machine that is paused takes no input");
        mvm_err_hint(err, "vm:resume() first");
        return MVM_ESTATE;
    }
    return 0;
}

int mvm__input_send(mvm_vm *vm, const mvm_input *events, size_t n, mvm__job *job, mvm_err *err)
{
    mvm__run *run = mvm__run_of(vm);
    const char *kind = kind_for(events, n);
    int rc = check(run, events, n, kind, err);

    if (rc != 0)
        return rc;
    input_queue *q = mvm__dev_nth(run, kind, 0)->data;
    input_task *task = mvm__alloc(sizeof(*task));
    task->job = job;
    task->n = n;
    task->events = mvm__alloc(MVM_MAX(n, 1) * sizeof(*events));
    memcpy(task->events, events, n * sizeof(*events));
    mvm__list_append(&q->tasks, &task->link);
    if (!q->asking && !q->timer)
        q->timer = mvm_timer_start(mvm_lab_loop(mvm_vm_lab(vm)), 0, on_pace, q);
    return 0;
}

/* ---- the devices ------------------------------------------------------------------------------
 */

static int prepare(mvm__dev *dev, mvm_err *err)
{
    input_queue *q = mvm__alloc(sizeof(*q));

    (void)err;
    q->dev = dev;
    mvm__list_init(&q->tasks);
    dev->data = q;
    return 0;
}

/* false: it is not for this device alone. */
static bool event(mvm__dev *dev, const char *name, const mvm_qmp_value *data)
{
    input_queue *q = dev->data;

    (void)data;
    if (q && q->stalled && strcmp(name, "RESUME") == 0) {
        q->stalled = false;
        go_on(q);
    }
    return false;
}

static void release(mvm__dev *dev)
{
    input_queue *q = dev->data;
    mvm_err err;

    if (!q)
        return;
    mvm_timer_cancel(q->timer);
    if (dev->unplugged)
        mvm_fail(&err, MVM_ESTATE, "the %s was detached on the way", dev->ops->kind);
    else
        mvm_fail(&err, MVM_ECANCELLED, "the machine went down");
    while (first(q))
        finish(first(q), &err);
    dev->data = NULL;
    q->gone = true;
    if (!q->asking)
        mvm__free(q);
}

static void keyboard_parts(mvm__dev *dev, mvm_qemu_parts *parts)
{
    mvm__dev_removable(dev);
    mvm__dev_pci(dev, parts, "virtio-keyboard-pci");
}

/* A tablet and not a mouse: it says where the pointer is, not how far it has moved. */
static void pointer_parts(mvm__dev *dev, mvm_qemu_parts *parts)
{
    mvm__dev_removable(dev);
    mvm__dev_pci(dev, parts, "virtio-tablet-pci");
}

const mvm__dev_ops mvm__dev_keyboard = {
    .kind = "keyboard",
    .prepare = prepare,
    .parts = keyboard_parts,
    .event = event,
    .release = release,
};

const mvm__dev_ops mvm__dev_pointer = {
    .kind = "pointer",
    .prepare = prepare,
    .parts = pointer_parts,
    .event = event,
    .release = release,
};
