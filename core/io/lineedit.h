/* SPDX-License-Identifier: MIT */
/* A line being typed on the terminal that standard input and output are. One at a time in a
 * process. */
#ifndef MVM_IO_LINEEDIT_H
#define MVM_IO_LINEEDIT_H

#include <stdbool.h>
#include <stddef.h>

#include "mvm/status.h"

typedef struct mvm__lineedit mvm__lineedit;

/* NULL: standard input or output is no terminal. */
mvm__lineedit *mvm__lineedit_new(void);
void mvm__lineedit_free(mvm__lineedit *ed); /* gives the terminal back; NULL is fine */

/* Between begin and end a line is being typed and the terminal is in the mode for it. The calls
 * up to `resume` are for that time. */
void mvm__lineedit_begin(mvm__lineedit *ed, const char *prompt);
void mvm__lineedit_end(mvm__lineedit *ed);

enum { MVM__KEY_MAX = 34 };
/* Length of the first whole key (a character of UTF-8, an escape sequence, a prefix with its
 * key) of what was typed, at most MVM__KEY_MAX; 0: more bytes are needed. len > 0. Pure. */
size_t mvm__lineedit_split(const char *bytes, size_t len);
/* Acts on one whole key. Returns the line when the key has finished it (valid until the next call),
 * else NULL. */
const char *mvm__lineedit_key(mvm__lineedit *ed, const char *key, size_t len, size_t *line_len);
/* What is typed so far: `len` bytes up to the cursor; `empty` tells of the whole line. */
const char *mvm__lineedit_text(mvm__lineedit *ed, size_t *len, bool *empty);
/* Inserts at the cursor; shown by the next redraw. false: not text of this locale. */
bool mvm__lineedit_insert(mvm__lineedit *ed, const char *text, size_t len);
void mvm__lineedit_redraw(mvm__lineedit *ed);
/* Prints whole lines above it. */
void mvm__lineedit_above(mvm__lineedit *ed, const char *text, size_t len);
/* Leaves what is typed on the screen, with the sign that it was given up. */
void mvm__lineedit_drop(mvm__lineedit *ed);
void mvm__lineedit_resume(mvm__lineedit *ed); /* the process was in the background */

void mvm__lineedit_resize(mvm__lineedit *ed); /* the terminal has a new size */
int mvm__lineedit_history(mvm__lineedit *ed, const char *path, mvm_err *err);
void mvm__lineedit_remember(mvm__lineedit *ed, const char *line);

#endif
