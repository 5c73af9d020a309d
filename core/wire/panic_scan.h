/* SPDX-License-Identifier: MIT */
/*
 * Finds reports of a Linux kernel that panics or oopses in the lines of its console. Pure: lines
 * in, whole reports out. Only text behind a printk prefix counts ("[   12.345678] " as
 * CONFIG_PRINTK_TIME=y makes it, or "<4>"): what a program merely prints about a panic has none.
 * A kernel that prints no time stamps is therefore not seen here.
 */
#ifndef MVM_WIRE_PANIC_SCAN_H
#define MVM_WIRE_PANIC_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

#define MVM__PANIC_LINES 200u
#define MVM__PANIC_BYTES 16384u

typedef struct mvm__panic_scan {
    mvm__buf text; /* of the report that is being collected */
    unsigned lines;
    bool inside, done;
} mvm__panic_scan;

/* One line without its end. true: `text` holds a whole report now, lines joined by '\n'. It is
 * there until the next call of line() or end(). */
bool mvm__panic_line(mvm__panic_scan *scan, const char *line, size_t len);
/* No more lines belong to the report that is being collected (the machine went down, or fell
 * silent). true: there was one. */
bool mvm__panic_end(mvm__panic_scan *scan);
bool mvm__panic_inside(const mvm__panic_scan *scan);
void mvm__panic_free(mvm__panic_scan *scan);

#endif
