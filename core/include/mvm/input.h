/* SPDX-License-Identifier: MIT */
/*
 * What a person would do at a keyboard and a pointer, as lists of the events that mvm_vm_input
 * (mvm/device.h) takes: text on a US keyboard, chords by their names, clicks. Pure; any thread.
 */
#ifndef MVM_INPUT_H
#define MVM_INPUT_H

#include "mvm/device.h"

/* Zeroed is empty. The functions below append; after an error nothing was appended. */
typedef struct mvm_inputs {
    mvm_input *items;
    size_t n, cap;
} mvm_inputs;

void mvm_inputs_free(mvm_inputs *list);

/* The keys that type `text` on a US keyboard: printable ASCII, newline (the return key) and tab.
 * MVM_ECONFIG names a character that has no key. */
int mvm_input_text(const char *text, size_t len, mvm_inputs *list, mvm_err *err);

/* Keys pressed in this order and let go in reverse: "ctrl-alt-delete", "shift+f5", "enter", "a".
 * A character of the US keyboard is its own name; case does not matter. */
int mvm_input_chord(const char *names, mvm_inputs *list, mvm_err *err);

void mvm_input_move(int x, int y, mvm_inputs *list);
/* button: "left", "middle", "right", "side", "extra", "wheel-up" or "wheel-down". */
int mvm_input_click(const char *button, int times, mvm_inputs *list, mvm_err *err);

#endif
