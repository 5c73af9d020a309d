/* SPDX-License-Identifier: MIT */
/*
 * macvm's own guest gets the words of the table, then what the user adds, which wins where the
 * kernel takes the last. A user's own kernel gets the user's words, and a console on the serial
 * port unless they name one: without it neither its output nor its panic would be seen.
 * Pure.
 */
#include "backend/qemu/cmdline.h"

#include <inttypes.h>
#include <string.h>

#include "base/base.h"
#include "base/buf.h"

enum { ALWAYS = 0, TCG_ONLY = 1, PC_ONLY = 2 };

static const struct {
    const char *word;
    int when;
    const char *reason;
} g_words[] = {
    {"quiet", ALWAYS, "every line printed during boot is emulated byte by byte"},
    {"panic=0", ALWAYS, "a panic stays on the console and is reported; it never boots in a circle"},
    {"8250.nr_uarts=", PC_ONLY, "there are so many serial ports; others are not looked for"},
    {"cryptomgr.notests", ALWAYS, "the kernel's ciphers are not tested anew at every boot"},
    {"init_on_alloc=0", ALWAYS,
     "pages are not cleared a second time; the guest is the script's own"},
    {"no_timer_check", TCG_ONLY | PC_ONLY,
     "the check of the timer interrupt misjudges an emulated one"},
    {"mitigations=off", TCG_ONLY, "no processor speculates here, so these only cost time"},
};

static void put(mvm__buf *out, const char *word)
{
    mvm__buf_printf(out, "%s%s", mvm__buf_len(out) ? " " : "", word);
}

/* Does a word of the line begin with `prefix`? */
static bool has_word(const char *line, const char *prefix)
{
    for (const char *at = line; (at = strstr(at, prefix)) != NULL; at++)
        if (at == line || at[-1] == ' ')
            return true;
    return false;
}

static void put_own(mvm__buf *out, const mvm__cmdline *in)
{
    mvm__buf_printf(out, "console=%s", in->console); /* what it prints is seen on the serial port */
    for (size_t i = 0; i < MVM_COUNT(g_words); i++) {
        const char *word = g_words[i].word;
        if (((g_words[i].when & TCG_ONLY) && in->kvm) || ((g_words[i].when & PC_ONLY) && !in->pc))
            continue;
        put(out, word);
        if (word[strlen(word) - 1] == '=')
            mvm__buf_printf(out, "%u", MVM_MAX(in->serials, 1));
    }
    /* The guest counts with the host's counter; its own measuring takes long and can fail for want
     * of a quick enough reference clock. It checks the figure later and corrects it. */
    if (!in->kvm && in->tsc_khz > 0)
        mvm__buf_printf(out, " tsc_early_khz=%" PRId64, in->tsc_khz);
}

/* For macvm's agent, where it is the init of the guest; everybody else passes over them. */
static void put_agent_words(mvm__buf *out, const mvm__cmdline *in)
{
    mvm__buf_printf(out, "%smacvm.hostname=%s", mvm__buf_len(out) ? " " : "", in->name);
    if (in->net && in->net[0])
        put(out, in->net);
}

char *mvm__cmdline_build(const mvm__cmdline *in)
{
    mvm__buf out = {0};

    if (in->own)
        put_own(&out, in);
    put_agent_words(&out, in);
    if (in->user && in->user[0])
        put(&out, in->user);
    if (!in->own && !has_word(mvm__buf_str(&out), "console="))
        mvm__buf_printf(&out, " console=%s", in->console);
    char *line = mvm__strdup(mvm__buf_str(&out));
    mvm__buf_free(&out);
    return line;
}
