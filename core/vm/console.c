/* SPDX-License-Identifier: MIT */
/*
 * A console of a machine: the last MiB it printed, its lines as events, its log file,
 * and what is typed into it. Nothing here grows with what the guest prints. Loop thread only.
 */
#include "mvm/console.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "base/buf.h"
#include "io/wait.h"
#include "mvm/log.h"
#include "vm/vm_internal.h"
#include "wire/panic_scan.h"

#define KEPT_MAX   (1u << 20)
#define LINE_BYTES 4096u
#define SEND_MAX   65536u
/* A kernel prints its report in one go; after this silence, no more of it is expected. */
#define REPORT_SILENCE 2.0

struct mvm_console {
    mvm_vm *vm;
    mvm_record *device; /* NULL: the serial console that every machine has */
    mvm__buf text;      /* the kept bytes */
    uint64_t end;       /* position past the last one */
    mvm__list waits, flushes;
    mvm__buf out; /* typed, not taken by the back end yet */
    bool blocked;
    int log; /* -1: none */
    char *log_path;
    char line[LINE_BYTES + 1];
    size_t line_len;
    mvm__panic_scan panic;
    mvm_timer *silence;
};

struct mvm_console *mvm__console_new(mvm_vm *vm, mvm_record *device)
{
    mvm_console *console = mvm__alloc(sizeof(*console));

    console->vm = vm;
    console->device = device;
    console->log = -1;
    mvm__list_init(&console->waits);
    mvm__list_init(&console->flushes);
    return console;
}

/* ---- the log file ---------------------------------------------------------------------- */

static void close_log(mvm_console *console)
{
    if (console->log >= 0)
        close(console->log);
    console->log = -1;
    mvm__free(console->log_path);
    console->log_path = NULL;
}

int mvm__console_log(struct mvm_console *console, const char *path, mvm_err *err)
{
    close_log(console);
    if (!path)
        return 0;
    /* O_NONBLOCK: a pipe that nobody reads must not hold up the loop. */
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
    if (fd < 0)
        return mvm_fail(err, MVM_EIO, "console log %s: %s", path, strerror(errno));
    console->log = fd;
    console->log_path = mvm__strdup(path);
    return 0;
}

static void write_log(mvm_console *console, const char *data, size_t len)
{
    while (console->log >= 0 && len > 0) {
        ssize_t put = write(console->log, data, len);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            mvm_log(MVM_LOG_WARN, "%s: console log %s: %s; logging stops", mvm_vm_name(console->vm),
                    console->log_path, strerror(errno));
            close_log(console);
            return;
        }
        data += put;
        len -= (size_t)put;
    }
}

/* ---- lines and kernel reports ------------------------------------------------------------ */

static void emit(mvm_console *console, const char *name, const char *text, size_t len)
{
    mvm_event event = {.name = name, .at = mvm_loop_now(mvm__vm_loop(console->vm)), .nargs = 1};

    event.args[0].type = MVM_T_STRING;
    event.args[0].as.string.ptr = text;
    event.args[0].as.string.len = len;
    mvm__vm_emit(console->vm, &event);
}

/* An oops is told and the machine goes on; after a panic nothing in the guest answers. */
static void emit_report(mvm_console *console)
{
    static const char fatal[] = "Kernel panic - not syncing";
    const char *text = mvm__buf_str(&console->panic.text);
    const char *line = strstr(text, fatal);

    emit(console, "panic", text, mvm__buf_len(&console->panic.text));
    if (line) {
        char why[200];
        snprintf(why, sizeof(why), "%.*s", (int)strcspn(line, "\n"), line);
        mvm__vm_on_kernel_panic(console->vm, why);
    }
}

static void end_report(mvm_console *console)
{
    mvm_timer_cancel(console->silence);
    console->silence = NULL;
    if (mvm__panic_end(&console->panic))
        emit_report(console);
}

static void on_silence(void *ud)
{
    mvm_console *console = ud;

    console->silence = NULL;
    end_report(console);
}

static void end_line(mvm_console *console)
{
    size_t len = console->line_len;

    while (len > 0 && console->line[len - 1] == '\r')
        len--;
    console->line[len] = '\0';
    console->line_len = 0;
    bool report = mvm__panic_line(&console->panic, console->line, len);
    if (!console->device) /* the lines of further consoles are no events */
        emit(console, "console", console->line, len);
    if (report)
        emit_report(console);
    if (console->silence || mvm__panic_inside(&console->panic)) {
        mvm_timer_cancel(console->silence);
        console->silence = NULL;
    }
    if (mvm__panic_inside(&console->panic))
        console->silence =
            mvm_timer_start(mvm__vm_loop(console->vm), REPORT_SILENCE, on_silence, console);
}

static void split_lines(mvm_console *console, const char *data, size_t len)
{
    while (len > 0) {
        const char *end = memchr(data, '\n', len);
        size_t n = MVM_MIN(end ? (size_t)(end - data) : len, LINE_BYTES - console->line_len);
        memcpy(console->line + console->line_len, data, n);
        console->line_len += n;
        data += n;
        len -= n;
        if (len > 0 && *data == '\n') {
            data++;
            len--;
            end_line(console);
        } else if (console->line_len == LINE_BYTES && len > 0) {
            end_line(console);
        }
    }
}

/* ---- what the machine printed --------------------------------------------------------------- */

void mvm__console_data(struct mvm_console *console, const void *data, size_t len)
{
    const char *bytes = data;
    size_t keep = MVM_MIN(len, KEPT_MAX);

    if (len == 0)
        return;
    console->end += len;
    size_t held = mvm__buf_len(&console->text);
    if (held + keep > KEPT_MAX)
        mvm__buf_consume(&console->text, held + keep - KEPT_MAX);
    mvm__buf_append(&console->text, bytes + len - keep, keep);
    mvm__waits_done(&console->waits, NULL);
    write_log(console, bytes, len);
    split_lines(console, bytes, len);
}

const char *mvm_console_text(const mvm_console *console, uint64_t *pos, size_t *len)
{
    uint64_t first = console->end - mvm__buf_len(&console->text);

    *pos = MVM_MAX(MVM_MIN(*pos, console->end), first);
    *len = (size_t)(console->end - *pos);
    return *len ? mvm__buf_ptr(&console->text) + (*pos - first) : "";
}

uint64_t mvm_console_end(const mvm_console *console)
{
    return console->end;
}

static int down_error(const mvm_console *console, mvm_err *err)
{
    mvm_fail(err, MVM_ESTATE, "the machine is down, its console is silent");
    mvm_err_vm(err, mvm_vm_name(console->vm));
    return MVM_ESTATE;
}

mvm_wait *mvm_console_wait(mvm_console *console, uint64_t pos, const mvm_waiter *waiter,
                           mvm_err *err)
{
    bool there = pos < console->end;

    if (!there && !mvm_vm_up(console->vm)) {
        down_error(console, err);
        return NULL;
    }
    mvm_wait *wait =
        mvm__wait_new(mvm__vm_loop(console->vm), &console->waits, waiter, "output on the console");
    if (there)
        mvm__wait_done(wait, NULL);
    return wait;
}

/* ---- what is typed -------------------------------------------------------------------- */

static size_t write_out(mvm_console *console, const char *data, size_t len)
{
    const mvm_backend_ops *ops = mvm__vm_ops(console->vm);

    if (!console->device)
        return ops->console_write(console->vm, data, len);
    return ops->port_write ? ops->port_write(console->vm, console->device, data, len) : 0;
}

static void pump(mvm_console *console)
{
    while (mvm__buf_len(&console->out) > 0 && !console->blocked) {
        size_t len = mvm__buf_len(&console->out);
        size_t taken = write_out(console, mvm__buf_ptr(&console->out), len);
        mvm__buf_consume(&console->out, MVM_MIN(taken, len));
        console->blocked = taken < len;
    }
    if (mvm__buf_len(&console->out) == 0)
        mvm__waits_done(&console->flushes, NULL);
}

int mvm_console_send(mvm_console *console, const char *data, size_t len, mvm_err *err)
{
    size_t queued = mvm__buf_len(&console->out);

    if (!mvm_vm_up(console->vm))
        return down_error(console, err);
    if (len > SEND_MAX - queued) {
        mvm_fail(err, MVM_EIO, "%zu bytes wait to be typed already and %zu more are too many",
                 queued, len);
        mvm_err_hint(err, "at most %u at a time: a console is slow, copy files with push",
                     SEND_MAX);
        mvm_err_vm(err, mvm_vm_name(console->vm));
        return MVM_EIO;
    }
    mvm__buf_append(&console->out, data, len);
    pump(console);
    return 0;
}

mvm_wait *mvm_console_flush(mvm_console *console, const mvm_waiter *waiter, mvm_err *err)
{
    if (!mvm_vm_up(console->vm)) {
        down_error(console, err);
        return NULL;
    }
    mvm_wait *wait = mvm__wait_new(mvm__vm_loop(console->vm), &console->flushes, waiter,
                                   "the machine to take what was typed");
    if (mvm__buf_len(&console->out) == 0)
        mvm__wait_done(wait, NULL);
    return wait;
}

void mvm__console_writable(struct mvm_console *console)
{
    console->blocked = false;
    pump(console);
}

/* ---- the end -------------------------------------------------------------------------- */

void mvm__console_down(struct mvm_console *console, const mvm_err *err)
{
    mvm_err down;

    if (console->line_len > 0)
        end_line(console);
    end_report(console);
    if (!err) {
        down_error(console, &down);
        err = &down;
    }
    mvm__waits_done(&console->waits, err);
    mvm__waits_done(&console->flushes, err);
    mvm__buf_free(&console->out);
    console->blocked = false;
    close_log(console);
}

void mvm__console_free(struct mvm_console *console)
{
    mvm_err gone;

    if (!console)
        return;
    mvm_timer_cancel(console->silence);
    mvm_fail(&gone, MVM_ESTATE, "the machine is gone");
    mvm__waits_done(&console->waits, &gone);
    mvm__waits_done(&console->flushes, &gone);
    close_log(console);
    mvm__buf_free(&console->text);
    mvm__buf_free(&console->out);
    mvm__panic_free(&console->panic);
    mvm__free(console);
}
