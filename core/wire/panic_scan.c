/* SPDX-License-Identifier: MIT */
/*
 * Recognises the first and the last line of a kernel's report of its own death. The words are
 * those of Linux on x86 and arm64. Pure, any thread.
 */
#include "wire/panic_scan.h"

#include <string.h>

#include "base/base.h"

/* How a report's first line begins, behind the printk prefix. */
static const char *const g_first[] = {
    "Kernel panic - not syncing",
    "Oops:",
    "Internal error: Oops",
    "BUG: ",
    "kernel BUG at ",
    "KASAN",
    "watchdog: BUG: soft lockup",
    "general protection fault",
    "Unable to handle kernel",
    "invalid opcode: ",
    "divide error: ",
    "double fault: ",
    "stack segment: ",
};

/* How its last line begins. A KASAN report ends with a rule. */
static const char *const g_last[] = {
    "---[ end Kernel panic",
    "---[ end trace",
    "==================================================================",
};

static bool begins(const char *text, size_t len, const char *with)
{
    size_t n = strlen(with);

    return len >= n && memcmp(text, with, n) == 0;
}

static size_t digits(const char *text, size_t len)
{
    size_t n = 0;

    while (n < len && text[n] >= '0' && text[n] <= '9')
        n++;
    return n;
}

static size_t spaces(const char *text, size_t len)
{
    size_t n = 0;

    while (n < len && text[n] == ' ')
        n++;
    return n;
}

/* Length of "[   12.345678]" at the beginning of text, 0 when it is none. */
static size_t stamp(const char *text, size_t len)
{
    if (len == 0 || text[0] != '[')
        return 0;
    size_t at = 1 + spaces(text + 1, len - 1);
    size_t whole = digits(text + at, len - at);
    at += whole;
    if (whole == 0 || at >= len || text[at] != '.')
        return 0;
    at++;
    size_t part = digits(text + at, len - at);
    at += part;
    return part == 6 && at < len && text[at] == ']' ? at + 1 : 0;
}

/* Length of "<4>" at the beginning of text. */
static size_t level(const char *text, size_t len)
{
    size_t n = len > 0 && text[0] == '<' ? digits(text + 1, len - 1) : 0;

    return n > 0 && n <= 3 && n + 1 < len && text[n + 1] == '>' ? n + 2 : 0;
}

/* Length of "[    T1]" or "[   C0]", the caller that CONFIG_PRINTK_CALLER adds. */
static size_t caller(const char *text, size_t len)
{
    if (len == 0 || text[0] != '[')
        return 0;
    size_t at = 1 + spaces(text + 1, len - 1);
    if (at >= len || (text[at] != 'T' && text[at] != 'C'))
        return 0;
    size_t n = digits(text + at + 1, len - at - 1);
    at += 1 + n;
    return n > 0 && at < len && text[at] == ']' ? at + 1 : 0;
}

/* Length of a whole printk prefix at the beginning of text, 0 when it is none. */
static size_t prefix(const char *text, size_t len)
{
    size_t at = level(text, len);

    at += stamp(text + at, len - at);
    if (at == 0)
        return 0;
    at += caller(text + at, len - at);
    return at + spaces(text + at, len - at);
}

/*
 * What the kernel says in this line: the text behind its prefix, which may stand behind what a
 * program left unfinished on the line ("~ # [   12.345678] BUG: ..."). NULL when there is none.
 */
static const char *message(const char *line, size_t len, size_t *out)
{
    for (size_t at = 0; at < len; at++) {
        if (line[at] != '[' && line[at] != '<')
            continue;
        size_t n = prefix(line + at, len - at);
        if (n > 0) {
            *out = len - at - n;
            return line + at + n;
        }
    }
    return NULL;
}

static bool any(const char *const *list, size_t n, const char *text, size_t len)
{
    for (size_t i = 0; text && i < n; i++)
        if (begins(text, len, list[i]))
            return true;
    return false;
}

static void keep(mvm__panic_scan *scan, const char *line, size_t len)
{
    if (mvm__buf_len(&scan->text) > 0)
        mvm__buf_append(&scan->text, "\n", 1);
    mvm__buf_append(&scan->text, line, len);
    scan->lines++;
}

static void clear_done(mvm__panic_scan *scan)
{
    if (!scan->done)
        return;
    mvm__buf_free(&scan->text);
    scan->lines = 0;
    scan->done = false;
}

static bool finish(mvm__panic_scan *scan)
{
    scan->inside = false;
    scan->done = true;
    return true;
}

bool mvm__panic_line(mvm__panic_scan *scan, const char *line, size_t len)
{
    size_t n = 0;
    const char *text = message(line, len, &n);

    clear_done(scan);
    len = MVM_MIN(len, MVM__PANIC_BYTES);
    if (!scan->inside) {
        if (!any(g_first, MVM_COUNT(g_first), text, n))
            return false;
        scan->inside = true;
        keep(scan, line, len);
        return mvm__buf_len(&scan->text) >= MVM__PANIC_BYTES && finish(scan);
    }
    /* The next boot of a machine that restarts at once. */
    if (text && begins(text, n, "Linux version "))
        return finish(scan);
    if (mvm__buf_len(&scan->text) + 1 + len > MVM__PANIC_BYTES)
        return finish(scan);
    keep(scan, line, len);
    if (any(g_last, MVM_COUNT(g_last), text, n) || scan->lines >= MVM__PANIC_LINES)
        return finish(scan);
    return false;
}

bool mvm__panic_end(mvm__panic_scan *scan)
{
    clear_done(scan);
    return scan->inside && finish(scan);
}

bool mvm__panic_inside(const mvm__panic_scan *scan)
{
    return scan->inside;
}

void mvm__panic_free(mvm__panic_scan *scan)
{
    mvm__buf_free(&scan->text);
    *scan = (mvm__panic_scan){0};
}
