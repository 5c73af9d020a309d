/* SPDX-License-Identifier: MIT */
/*
 * The serial console of a simulated guest: a few lines of a booting kernel, then a shell that
 * echoes what is typed and runs it line by line, and the report of a panic. Loop thread only.
 */
#include "backend/sim/sim_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "mvm/backend.h"

#define PROMPT    "/ # "
#define TYPED_MAX 4096u /* typed ahead; and the longest line, as of a terminal */

void mvm__sim_console_print(mvm__sim *sim, const void *data, size_t len)
{
    const char *text = data;
    mvm__buf out = {0};

    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\n')
            mvm__buf_append(&out, "\r", 1);
        mvm__buf_append(&out, text + i, 1);
    }
    if (len > 0)
        mvm__vm_on_console_data(sim->vm, mvm__buf_ptr(&out), mvm__buf_len(&out));
    mvm__buf_free(&out);
}

static void print(mvm__sim *sim, const char *text)
{
    mvm__sim_console_print(sim, text, strlen(text));
}

void mvm__sim_kmsg(mvm__sim *sim, const char *fmt, ...)
{
    char text[300], line[340];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    snprintf(line, sizeof(line), "[%12.6f] %s\n", mvm__sim_clock_now(&sim->clock), text);
    print(sim, line);
}

void mvm__sim_console_boot(mvm__sim *sim)
{
    mvm_record *config = mvm_vm_config(sim->vm);

    mvm__sim_kmsg(sim, "Linux version 6.1.0-sim (macvm sim)");
    mvm__sim_kmsg(sim, "Memory: %lldK, %lld CPUs",
                  (long long)mvm_record_int(config, "memory") / 1024,
                  (long long)mvm_record_int(config, "cpus"));
    mvm__sim_kmsg(sim, "random: crng init done, %016llx", (unsigned long long)mvm__sim_random(sim));
    mvm__sim_kmsg(sim, "Run /init as init process");
}

static void prompt(mvm__sim *sim)
{
    const mvm__sim_proc *p = sim->tty.proc;
    MVM_AUTO_FREE char *text = mvm__asprintf("%s:%s# ", mvm__sim_hostname(sim), p->cwd);

    print(sim, text);
}

void mvm__sim_console_login(mvm__sim *sim)
{
    sim->tty.proc = mvm__sim_proc_new(sim, NULL, "/");
    prompt(sim);
    mvm__sim_wake(sim);
}

void mvm__sim_console_panic(mvm__sim *sim, const char *why)
{
    mvm__sim_kmsg(sim, "Kernel panic - not syncing: %s", why);
    mvm__sim_kmsg(sim, "CPU: 0 PID: 1 Comm: init Not tainted 6.1.0-sim #1");
    mvm__sim_kmsg(sim, "Call Trace:");
    mvm__sim_kmsg(sim, " panic+0x100/0x2f0");
    mvm__sim_kmsg(sim, "---[ end Kernel panic - not syncing: %s ]---", why);
}

void mvm__sim_console_clear(mvm__sim *sim)
{
    mvm__sim_proc_free(sim->tty.proc);
    sim->tty.proc = NULL;
    sim->tty.busy = sim->tty.refused = false;
    mvm__buf_free(&sim->tty.in);
    mvm__buf_free(&sim->tty.line);
}

size_t mvm__sim_console_write(mvm_vm *vm, const void *data, size_t len)
{
    mvm__sim *sim = mvm__vm_data(vm);
    size_t n = MVM_MIN(len, TYPED_MAX - mvm__buf_len(&sim->tty.in));

    mvm__buf_append(&sim->tty.in, data, n);
    sim->tty.refused |= n < len;
    mvm__sim_wake(sim);
    return n;
}

/* ---- the shell on it -------------------------------------------------------------------- */

static void run_line(mvm__sim *sim)
{
    sim->tty.busy = true;
    mvm__sim_proc_script(sim->tty.proc, mvm__buf_ptr(&sim->tty.line), mvm__buf_len(&sim->tty.line));
    mvm__buf_free(&sim->tty.line);
}

/* One typed byte, as the line discipline of a terminal takes it. */
static void type(mvm__sim *sim, char c)
{
    mvm__sim_proc *p = sim->tty.proc;

    if (c == 3) { /* Ctrl-C */
        print(sim, "^C\n");
        mvm__buf_free(&sim->tty.line);
        if (sim->tty.busy)
            mvm__sim_proc_signal(p, 2);
        else
            prompt(sim);
    } else if (c == 4) { /* Ctrl-D */
        p->in_eof = sim->tty.busy;
    } else if (c == '\r' || c == '\n') {
        print(sim, "\n");
        mvm__buf_append(&sim->tty.line, "\n", 1);
        if (sim->tty.busy) {
            mvm__buf_append(&p->in, mvm__buf_ptr(&sim->tty.line), mvm__buf_len(&sim->tty.line));
            mvm__buf_free(&sim->tty.line);
        } else {
            run_line(sim);
        }
    } else if (c == 127 || c == 8) {
        if (mvm__buf_len(&sim->tty.line) > 0) {
            sim->tty.line.len--;
            print(sim, "\b \b");
        }
    } else if (mvm__buf_len(&sim->tty.line) < TYPED_MAX) {
        mvm__buf_append(&sim->tty.line, &c, 1);
        mvm__sim_console_print(sim, &c, 1);
    }
}

/* Both outputs of a command are the terminal. */
static bool run_proc(mvm__sim *sim)
{
    mvm__sim_proc *p = sim->tty.proc;
    bool more = mvm__sim_proc_run(p);

    for (int fd = 1; fd <= 2; fd++) {
        mvm__sim_console_print(sim, mvm__buf_ptr(&p->out[fd]), mvm__buf_len(&p->out[fd]));
        mvm__buf_free(&p->out[fd]);
    }
    if (!p->ended)
        return more;
    /* The line is done; its shell lives on, whatever ended the command. */
    p->ended = p->in_eof = false;
    p->signal = 0;
    sim->tty.busy = false;
    if (!sim->halted && !sim->powering)
        prompt(sim);
    return true;
}

bool mvm__sim_console_pump(mvm__sim *sim)
{
    bool more = false;

    if (sim->halted || !sim->tty.proc)
        return false;
    while (mvm__buf_len(&sim->tty.in) > 0) {
        char c = *mvm__buf_ptr(&sim->tty.in);
        bool pause = c == '\r' || c == '\n' || c == 3;
        mvm__buf_consume(&sim->tty.in, 1);
        type(sim, c);
        if (pause) {
            more = true; /* a command begins or ends before the rest is looked at */
            break;
        }
    }
    if (mvm__buf_len(&sim->tty.in) == 0)
        mvm__buf_free(&sim->tty.in);
    if (sim->tty.refused && mvm__buf_len(&sim->tty.in) == 0) {
        sim->tty.refused = false;
        mvm__vm_on_console_writable(sim->vm);
    }
    return (sim->tty.busy && run_proc(sim)) || more;
}
