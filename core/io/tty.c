/* SPDX-License-Identifier: MIT */
/*
 * Lines from the user: typed on a terminal (core/io/lineedit.c edits them), or read plainly from
 * whatever standard input is. The loop watches standard input, so that machines and tasks
 * run on while a line is being typed, and no read ever blocks. Loop thread only.
 */
#include "mvm/tty.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "base/buf.h"
#include "io/lineedit.h"
#include "io/wait.h"
#include "mvm/log.h"

enum { KEY_EOF = 0x04, KEY_TAB = '\t' };

struct mvm_tty {
    mvm_loop *loop;
    mvm_tty_calls calls;
    void *ud;
    mvm__lineedit *ed;    /* NULL: no terminal */
    mvm_wait *wait;       /* a line was asked for: it is being typed */
    mvm__buf line;        /* the last one, */
    enum mvm_tty_end end; /* and how it ended */
    bool at_end;          /* standard input has ended */
    bool dirty;           /* the line was changed and not drawn yet */
    mvm__buf input;       /* bytes that were typed and not looked at yet */
    mvm_timer *soon;
    mvm_watch *readable, *interrupts, *resizes, *continues;
    struct sigaction chained; /* the loop's own handler of SIGINT */
};

/* A signal handler has nothing but what is static. */
static volatile sig_atomic_t interrupted;
static mvm_tty *the_tty;

/* ---- reading ------------------------------------------------------------------- */

static void on_soon(void *ud);
static void on_readable(void *ud);

/* The line is over: the terminal goes back to its normal mode, for what the line will print. */
static void stop_typing(mvm_tty *tty)
{
    tty->wait = NULL;
    mvm_timer_cancel(tty->soon);
    tty->soon = NULL;
    mvm_watch_close(tty->readable);
    tty->readable = NULL;
    if (tty->ed)
        mvm__lineedit_end(tty->ed);
}

static void finish(mvm_tty *tty, enum mvm_tty_end end, const char *line, size_t len)
{
    mvm_wait *wait = tty->wait;

    mvm__buf_consume(&tty->line, mvm__buf_len(&tty->line));
    mvm__buf_append(&tty->line, line, len);
    tty->end = end;
    stop_typing(tty);
    mvm__wait_done(wait, NULL);
}

static void on_dropped(mvm_wait *wait)
{
    stop_typing(wait->subject);
}

static void complete(mvm_tty *tty, const char *line, size_t len)
{
    MVM_AUTO_FREE char *text = mvm__strndup(line, len);

    tty->calls.complete(tty->ud, text, len);
    if (tty->dirty && tty->wait)
        mvm__lineedit_redraw(tty->ed);
    tty->dirty = false;
}

static void take_key(mvm_tty *tty, const char *key, size_t len)
{
    bool empty;
    size_t typed, line_len;
    const char *text = mvm__lineedit_text(tty->ed, &typed, &empty);

    if (key[0] == KEY_TAB) {
        complete(tty, text, typed);
    } else if (key[0] == KEY_EOF && empty) {
        fputs("\n", stdout);
        finish(tty, MVM_TTY_EOF, "", 0);
    } else {
        const char *line = mvm__lineedit_key(tty->ed, key, len, &line_len);
        if (line)
            finish(tty, MVM_TTY_LINE, line, line_len);
    }
}

static void take_keys(mvm_tty *tty)
{
    while (tty->wait && mvm__buf_len(&tty->input) > 0) {
        size_t len = mvm__lineedit_split(mvm__buf_ptr(&tty->input), mvm__buf_len(&tty->input));
        if (len == 0)
            break;
        char key[MVM__KEY_MAX];
        memcpy(key, mvm__buf_ptr(&tty->input), len);
        mvm__buf_consume(&tty->input, len);
        take_key(tty, key, len);
    }
    if (tty->wait && tty->at_end)
        finish(tty, MVM_TTY_EOF, "", 0);
}

static void take_plain_line(mvm_tty *tty)
{
    size_t len = mvm__buf_len(&tty->input);
    const char *text = mvm__buf_ptr(&tty->input), *end = len ? memchr(text, '\n', len) : NULL;

    if (end || (tty->at_end && len > 0)) {
        size_t line_len = end ? (size_t)(end - text) : len;
        finish(tty, MVM_TTY_LINE, text, line_len);
        mvm__buf_consume(&tty->input, end ? line_len + 1 : len);
    } else if (tty->at_end) {
        finish(tty, MVM_TTY_EOF, "", 0);
    }
}

static void take_input(mvm_tty *tty)
{
    if (tty->ed)
        take_keys(tty);
    else
        take_plain_line(tty);
}

static void read_some(mvm_tty *tty)
{
    ssize_t n;

    do
        n = read(STDIN_FILENO, mvm__buf_reserve(&tty->input, 4096), 4096);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        mvm__buf_commit(&tty->input, (size_t)n);
    else if (n == 0 || errno != EAGAIN)
        tty->at_end = true; /* also a terminal that was closed */
}

static void on_readable(void *ud)
{
    mvm_tty *tty = ud;

    read_some(tty);
    take_input(tty);
}

/* libuv makes what it watches non-blocking; here that is shared with standard output, where a
 * long text would then be cut, and with the shell that started us. */
static mvm_watch *watch_input(mvm_tty *tty)
{
    int flags = fcntl(STDIN_FILENO, F_GETFL);
    mvm_watch *watch = mvm_watch_fd(tty->loop, STDIN_FILENO, on_readable, tty);

    if (flags >= 0)
        fcntl(STDIN_FILENO, F_SETFL, flags);
    return watch;
}

static void on_soon(void *ud)
{
    mvm_tty *tty = ud;

    tty->soon = NULL;
    take_input(tty);
    if (!tty->wait || tty->readable)
        return;
    tty->readable = tty->at_end ? NULL : watch_input(tty);
    if (!tty->readable) { /* a regular file: it never blocks */
        read_some(tty);
        tty->soon = mvm_timer_start(tty->loop, 0, on_soon, tty);
    }
}

mvm_wait *mvm_tty_read(mvm_tty *tty, const char *prompt, const mvm_waiter *waiter, mvm_err *err)
{
    if (tty->wait) {
        mvm_fail(err, MVM_ESTATE, "a line is being typed already");
        return NULL;
    }
    tty->wait = mvm__wait_new(tty->loop, NULL, waiter, "a line to be typed");
    tty->wait->subject = tty;
    tty->wait->dropped = on_dropped;
    if (tty->ed)
        mvm__lineedit_begin(tty->ed, prompt);
    tty->soon = mvm_timer_start(tty->loop, 0, on_soon, tty);
    return tty->wait;
}

enum mvm_tty_end mvm_tty_line(mvm_tty *tty, const char **line, size_t *len)
{
    *line = mvm__buf_str(&tty->line);
    *len = mvm__buf_len(&tty->line);
    return tty->end;
}

/* ---- what others show ------------------------------------------------------------ */

void mvm_tty_insert(mvm_tty *tty, const char *text, size_t len)
{
    if (tty->ed && tty->wait && len > 0 && mvm__lineedit_insert(tty->ed, text, len))
        tty->dirty = true;
}

void mvm_tty_above(mvm_tty *tty, const char *text, size_t len)
{
    if (len == 0)
        return;
    MVM_AUTO_FREE char *lines = mvm__alloc(len + 2);
    memcpy(lines, text, len);
    if (lines[len - 1] != '\n')
        lines[len++] = '\n';
    if (tty->ed && tty->wait) {
        mvm__lineedit_above(tty->ed, lines, len);
        tty->dirty = false;
    } else {
        fwrite(lines, 1, len, stdout);
        fflush(stdout);
    }
}

static void log_above(void *ud, int level, const char *line)
{
    mvm_tty *tty = ud;

    (void)level;
    if (tty->wait)
        mvm_tty_above(tty, line, strlen(line));
    else
        fprintf(stderr, "macvm: %s\n", line);
}

/* ---- signals ---------------------------------------------------------------------- */

static void note_interrupt(int signum)
{
    interrupted = 1;
    if (the_tty && the_tty->chained.sa_handler != SIG_IGN && the_tty->chained.sa_handler != SIG_DFL)
        the_tty->chained.sa_handler(signum);
}

static void on_interrupt(void *ud)
{
    mvm_tty *tty = ud;
    bool typing = tty->ed && tty->wait;

    interrupted = 0; /* it is told here */
    if (typing) {
        mvm__buf_consume(&tty->input, mvm__buf_len(&tty->input));
        mvm__lineedit_drop(tty->ed);
        finish(tty, MVM_TTY_INTERRUPT, "", 0);
    }
    tty->calls.interrupt(tty->ud, typing);
}

static void on_resize(void *ud)
{
    mvm_tty *tty = ud;

    mvm__lineedit_resize(tty->ed);
    if (tty->wait)
        mvm__lineedit_redraw(tty->ed);
}

/* Back from the background: the shell has set the terminal as it likes it. */
static void on_continue(void *ud)
{
    mvm_tty *tty = ud;

    if (tty->wait)
        mvm__lineedit_resume(tty->ed);
}

static void take_signals(mvm_tty *tty)
{
    struct sigaction action;

    tty->interrupts = mvm_watch_signal(tty->loop, SIGINT, on_interrupt, tty);
    if (tty->ed) {
        tty->resizes = mvm_watch_signal(tty->loop, SIGWINCH, on_resize, tty);
        tty->continues = mvm_watch_signal(tty->loop, SIGCONT, on_continue, tty);
    }
    /* The loop learns of Ctrl-C by its handler; a script that never lets the loop turn is told by
     * a flag, set in front of it. */
    interrupted = 0;
    sigaction(SIGINT, NULL, &tty->chained);
    action = tty->chained;
    action.sa_handler = note_interrupt;
    sigaction(SIGINT, &action, NULL);
}

static void give_signals_back(mvm_tty *tty)
{
    struct sigaction now;

    sigaction(SIGINT, NULL, &now);
    if (now.sa_handler == note_interrupt)
        sigaction(SIGINT, &tty->chained, NULL);
    mvm_watch_close(tty->interrupts);
    mvm_watch_close(tty->resizes);
    mvm_watch_close(tty->continues);
}

bool mvm_tty_interrupted(mvm_tty *tty)
{
    bool was = interrupted;

    (void)tty;
    interrupted = 0;
    return was;
}

/* ---- history ---------------------------------------------------------------------- */

int mvm_tty_history(mvm_tty *tty, const char *path, mvm_err *err)
{
    return tty->ed ? mvm__lineedit_history(tty->ed, path, err) : 0;
}

void mvm_tty_remember(mvm_tty *tty, const char *line)
{
    if (tty->ed)
        mvm__lineedit_remember(tty->ed, line);
}

/* ---- life ------------------------------------------------------------------------------ */

mvm_tty *mvm_tty_new(mvm_loop *loop, const mvm_tty_calls *calls, void *ud, mvm_err *err)
{
    if (the_tty) {
        mvm_fail(err, MVM_ESTATE, "this process has an interactive session already");
        return NULL;
    }
    mvm_tty *tty = mvm__alloc(sizeof(*tty));
    tty->loop = loop;
    tty->calls = *calls;
    tty->ud = ud;
    the_tty = tty;
    tty->ed = mvm__lineedit_new();
    if (tty->ed)
        mvm_log_sink(log_above, tty);
    take_signals(tty);
    return tty;
}

void mvm_tty_close(mvm_tty *tty)
{
    if (!tty)
        return;
    if (tty->wait)
        mvm_wait_cancel(tty->wait);
    give_signals_back(tty);
    if (tty->ed)
        mvm_log_sink(NULL, NULL);
    mvm__lineedit_free(tty->ed);
    mvm__buf_free(&tty->input);
    mvm__buf_free(&tty->line);
    the_tty = NULL;
    mvm__free(tty);
}

bool mvm_tty_interactive(const mvm_tty *tty)
{
    return tty->ed != NULL;
}

bool mvm_tty_typing(const mvm_tty *tty)
{
    return tty->wait != NULL;
}
