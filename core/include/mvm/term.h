/* SPDX-License-Identifier: MIT */
/*
 * The process's standard input and output as one stream: what a user types into another program
 * through us, and what that prints. A terminal can be put into raw mode for as long as the stream
 * is open. One at a time in a process.
 */
#ifndef MVM_TERM_H
#define MVM_TERM_H

#include <stdbool.h>

#include "mvm/loop.h"
#include "mvm/status.h"
#include "mvm/stream.h"

/* `raw`: where standard input is a terminal, each key comes at once and as it is (also Ctrl-C), and
 * output is not touched. Closing the stream, or the process's exit, gives the terminal back as it
 * was. The end of input is the stream's end. NULL with *err: MVM_ESTATE, there is one already. */
mvm_stream *mvm_term_open(mvm_loop *loop, bool raw, mvm_err *err);

#endif
