/* SPDX-License-Identifier: MIT */
/*
 * The user's end of an interactive session: lines typed on a terminal, with
 * editing, history and completion, while the loop goes on turning. Where
 * standard input or output is no terminal, plain lines are read from standard
 * input. One at a time in a process, on the loop thread.
 */
#ifndef MVM_TTY_H
#define MVM_TTY_H

#include <stdbool.h>
#include <stddef.h>

#include "mvm/loop.h"
#include "mvm/status.h"
#include "mvm/wait.h"

typedef struct mvm_tty mvm_tty;

/* Both are called from the loop, and may call any function below but mvm_tty_close. */
typedef struct mvm_tty_calls {
    /* Ctrl-C. `typing`: it has thrown away the line being typed, and ends the wait for it. */
    void (*interrupt)(void *ud, bool typing);
    /* Tab was hit behind `text`: answer with mvm_tty_insert and mvm_tty_above. */
    void (*complete)(void *ud, const char *text, size_t len);
} mvm_tty_calls;

/* Takes SIGINT over. NULL with *err filled (MVM_ESTATE: there is one already). */
mvm_tty *mvm_tty_new(mvm_loop *loop, const mvm_tty_calls *calls, void *ud, mvm_err *err);
/* Gives the terminal back as it was. NULL is fine. */
void mvm_tty_close(mvm_tty *tty);

bool mvm_tty_interactive(const mvm_tty *tty); /* a terminal: prompts, editing, colours */
bool mvm_tty_typing(const mvm_tty *tty);      /* a line was asked for and is not there yet */

/* Asks for one line and waits for it. Between two of them the terminal is in its normal mode.
 * MVM_ESTATE while one is being typed. A wait that is cancelled drops what was typed. */
mvm_wait *mvm_tty_read(mvm_tty *tty, const char *prompt, const mvm_waiter *waiter, mvm_err *err);
enum mvm_tty_end { MVM_TTY_LINE, MVM_TTY_EOF, MVM_TTY_INTERRUPT };
/* How the last mvm_tty_read ended, and for MVM_TTY_LINE the line without its newline, valid until
 * the next one. */
enum mvm_tty_end mvm_tty_line(mvm_tty *tty, const char **line, size_t *len);
/* Adds text at the cursor of the line being typed. */
void mvm_tty_insert(mvm_tty *tty, const char *text, size_t len);
/* Prints text on standard output, above the line being typed if there is one; a newline is added
 * where it has none. */
void mvm_tty_above(mvm_tty *tty, const char *text, size_t len);

/* Reads old lines from a file (made with mode 0600 when it is not there) and appends to it what
 * mvm_tty_remember gets from now on. Without a file, lines are remembered until close. */
int mvm_tty_history(mvm_tty *tty, const char *path, mvm_err *err);
void mvm_tty_remember(mvm_tty *tty, const char *line);

/* Ctrl-C was hit since the last call. Unlike `interrupt` this is seen while the loop does not turn.
 */
bool mvm_tty_interrupted(mvm_tty *tty);

#endif
