/* SPDX-License-Identifier: MIT */
/*
 * The host's side of the shared clipboard. One of the two sides owns it. When the guest takes it we
 * ask for its text at once, one question at a time; when it asks for ours we answer, one answer at
 * a time, and read no more from a guest that does not take them. Loop thread only.
 */
#include "vm/clipboard.h"

#include <string.h>

#include "base/base.h"
#include "base/buf.h"
#include "wire/vdagent_wire.h"

#define OUT_HIGH    (64u * 1024u) /* beyond this much unsent the guest is not read */
#define OWED_MAX    64            /* requests that it may have waiting */
#define CAPS_WANTED (1u << MVM__VDAGENT_CAP_BY_DEMAND)

struct mvm__clipboard {
    const mvm__clipboard_ops *ops;
    void *ud;
    mvm__vdagent_reader reader;
    mvm__buf out;
    bool open, blocked, stopped; /* stopped: we don't read */
    bool lost;
    bool able;       /* the guest's agent has announced that it does clipboards */
    bool selections; /* ... and that it tells them apart */
    bool crlf;       /* its lines end in CR LF */
    bool asked;      /* a request of ours is not answered yet */
    bool stale;      /* the guest's clipboard changed since: the answer is not the last word */
    int owed;        /* requests of the guest that are not answered yet */
    mvm__buf ours, theirs;
    bool offering, has_theirs; /* at most one: whose the text is */
};

mvm__clipboard *mvm__clipboard_new(const mvm__clipboard_ops *ops, void *ud)
{
    mvm__clipboard *c = mvm__alloc(sizeof(*c));

    c->ops = ops;
    c->ud = ud;
    return c;
}

static void forget_guest(mvm__clipboard *c)
{
    mvm__vdagent_free(&c->reader);
    mvm__buf_free(&c->out);
    mvm__buf_free(&c->theirs);
    c->has_theirs = c->able = c->selections = c->crlf = false;
    c->asked = c->stale = c->blocked = false;
    c->owed = 0;
}

void mvm__clipboard_free(mvm__clipboard *c)
{
    if (!c)
        return;
    forget_guest(c);
    mvm__buf_free(&c->ours);
    mvm__free(c);
}

/* ---- text ------------------------------------------------------------------------------- */

/* The length of the UTF-8 sequence at p, 0 when it is none. */
static size_t utf8_step(const unsigned char *p, size_t left)
{
    static const unsigned char least[] = {0, 0, 0x80, 0xa0, 0x90}; /* no overlong forms */
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

    if (n == 0 || p[0] > 0xf4 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((p[0] == 0xe0 && p[1] < least[3]) || (p[0] == 0xf0 && p[1] < least[4]) ||
        (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0; /* too long a form, a surrogate, or beyond the last character */
    return n;
}

static bool is_utf8(const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text;

    for (size_t at = 0, n; at < len; at += n) {
        n = utf8_step(p + at, len - at);
        if (n == 0)
            return false;
    }
    return true;
}

static void append_crlf(mvm__buf *out, const char *text, size_t len)
{
    while (len > 0) {
        const char *end = memchr(text, '\n', len);
        size_t n = end ? (size_t)(end - text) : len;
        mvm__buf_append(out, text, n);
        if (!end)
            break;
        mvm__buf_append(out, "\r\n", 2);
        text += n + 1;
        len -= n + 1;
    }
}

static void append_without_cr(mvm__buf *out, const char *text, size_t len)
{
    for (size_t i = 0, from = 0; i <= len; i++) {
        bool cr = i + 1 < len && text[i] == '\r' && text[i + 1] == '\n';
        if (cr || i == len) {
            mvm__buf_append(out, text + from, i - from);
            from = i + 1;
        }
    }
}

/* ---- to the guest ----------------------------------------------------------------------- */

static void flush(mvm__clipboard *c)
{
    while (mvm__buf_len(&c->out) > 0 && !c->blocked && c->open) {
        size_t len = mvm__buf_len(&c->out);
        size_t taken = c->ops->write(c->ud, mvm__buf_ptr(&c->out), len);
        mvm__buf_consume(&c->out, MVM_MIN(taken, len));
        c->blocked = taken < len;
    }
}

/* Answers what the guest asked for, as far as it takes answers. */
static void pay(mvm__clipboard *c)
{
    while (c->owed > 0 && mvm__buf_len(&c->out) < OUT_HIGH) {
        mvm__buf text = {0};
        c->owed--;
        if (c->offering && c->crlf)
            append_crlf(&text, mvm__buf_ptr(&c->ours), mvm__buf_len(&c->ours));
        else if (c->offering)
            mvm__buf_append(&text, mvm__buf_ptr(&c->ours), mvm__buf_len(&c->ours));
        mvm__vdagent_put_data(&c->out, c->selections, MVM__VDAGENT_SEL_CLIPBOARD,
                              c->offering ? MVM__VDAGENT_UTF8 : MVM__VDAGENT_NONE,
                              mvm__buf_ptr(&text), mvm__buf_len(&text));
        mvm__buf_free(&text);
        flush(c);
    }
}

static void pump(mvm__clipboard *c)
{
    flush(c);
    pay(c);
    bool full = mvm__buf_len(&c->out) >= OUT_HIGH;
    if (full != c->stopped && c->open) {
        c->stopped = full;
        c->ops->read(c->ud, !full);
    }
}

static void offer(mvm__clipboard *c)
{
    if (c->able && c->offering)
        mvm__vdagent_put_grab(&c->out, c->selections);
}

static void ask(mvm__clipboard *c)
{
    if (c->asked) {
        c->stale = true;
        return;
    }
    c->asked = true;
    mvm__vdagent_put_request(&c->out, c->selections);
}

/* ---- from the guest --------------------------------------------------------------------- */

static void lose(mvm__clipboard *c, const char *why)
{
    mvm_err err;

    mvm_fail(&err, MVM_EGUEST, "the clipboard is lost: the guest's agent sent %s", why);
    forget_guest(c);
    c->lost = true;
    c->ops->lost(c->ud, &err);
}

static void on_announce(mvm__clipboard *c, const mvm__vdagent_event *event)
{
    bool was_able = c->able;

    c->able = (event->caps & CAPS_WANTED) == CAPS_WANTED;
    c->selections = event->caps & 1u << MVM__VDAGENT_CAP_SELECTION;
    c->crlf = event->caps & 1u << MVM__VDAGENT_CAP_CRLF;
    if (event->answer)
        mvm__vdagent_put_announce(&c->out, false);
    if (!was_able || event->answer)
        offer(c);
}

static void drop_theirs(mvm__clipboard *c)
{
    mvm__buf_free(&c->theirs);
    c->has_theirs = false;
}

static void on_grab(mvm__clipboard *c, const mvm__vdagent_event *event)
{
    c->offering = false; /* it is the guest's now */
    mvm__buf_free(&c->ours);
    drop_theirs(c);
    if (event->has_text)
        ask(c);
    else
        c->stale = c->asked; /* an answer on its way is about what was there before */
}

static void on_text(mvm__clipboard *c, const mvm__vdagent_event *event, bool dropped)
{
    if (!c->asked)
        return; /* nobody asked */
    bool stale = c->stale;
    c->asked = c->stale = false;
    if (c->offering)
        return; /* overtaken by what we have set since */
    if (stale) {
        ask(c);
        return;
    }
    size_t len = event->len;
    while (len > 0 && event->text[len - 1] == '\0')
        len--; /* some agents send the end of their string too */
    drop_theirs(c);
    if (dropped || event->kind != MVM__VDAGENT_UTF8 || !is_utf8(event->text, len))
        return;
    append_without_cr(&c->theirs, event->text, len);
    c->has_theirs = true;
    c->ops->changed(c->ud, mvm__buf_ptr(&c->theirs), mvm__buf_len(&c->theirs));
}

static void on_request(mvm__clipboard *c, const mvm__vdagent_event *event)
{
    if (event->selection == MVM__VDAGENT_SEL_CLIPBOARD && event->kind == MVM__VDAGENT_UTF8) {
        c->owed++;
        return;
    }
    if (mvm__buf_len(&c->out) < OUT_HIGH)
        mvm__vdagent_put_data(&c->out, c->selections, event->selection, MVM__VDAGENT_NONE, "", 0);
}

static void on_message(mvm__clipboard *c, const mvm__vdagent_msg *msg)
{
    mvm__vdagent_event event;
    bool dropped = msg->dropped && msg->type == MVM__VDAGENT_CLIPBOARD;

    if (msg->type != MVM__VDAGENT_ANNOUNCE && !c->able)
        return; /* before it has said what it can, it can nothing */
    if (dropped) {
        event = (mvm__vdagent_event){0};
    } else if (msg->dropped) {
        lose(c, "a message that is too long for its type");
        return;
    } else if (!mvm__vdagent_parse(msg, c->selections, &event)) {
        lose(c, "a message that is too short for its type");
        return;
    }
    if (msg->type == MVM__VDAGENT_ANNOUNCE)
        on_announce(c, &event);
    else if (msg->type == MVM__VDAGENT_REQUEST)
        on_request(c, &event);
    else if (event.selection != MVM__VDAGENT_SEL_CLIPBOARD)
        return; /* X11's others are the guest's own business */
    else if (msg->type == MVM__VDAGENT_GRAB)
        on_grab(c, &event);
    else if (msg->type == MVM__VDAGENT_RELEASE)
        drop_theirs(c);
    else
        on_text(c, &event, dropped);
    if (!c->lost && c->owed > OWED_MAX)
        lose(c, "more requests than it takes answers");
}

void mvm__clipboard_data(mvm__clipboard *c, const void *data, size_t len)
{
    const char *bytes = data;
    mvm__vdagent_msg msg;

    while (len > 0 && !c->lost && c->open) {
        size_t used;
        int rc = mvm__vdagent_read(&c->reader, bytes, len, &used, &msg);
        bytes += used;
        len -= used;
        if (rc < 0)
            lose(c, c->reader.broken);
        else if (rc > 0)
            on_message(c, &msg);
        if (!c->lost)
            pump(c);
    }
}

/* ---- the port --------------------------------------------------------------------------- */

void mvm__clipboard_open(mvm__clipboard *c, bool open)
{
    if (c->open == open)
        return;
    forget_guest(c);
    c->open = open;
    c->stopped = false;
    if (!open || c->lost)
        return;
    mvm__vdagent_put_announce(&c->out, true);
    pump(c);
}

void mvm__clipboard_writable(mvm__clipboard *c)
{
    c->blocked = false;
    if (!c->lost)
        pump(c);
}

void mvm__clipboard_down(mvm__clipboard *c)
{
    mvm__clipboard_open(c, false);
    forget_guest(c);
    c->lost = false;
}

/* ---- the machine's side ------------------------------------------------------------------- */

int mvm__clipboard_set(mvm__clipboard *c, const char *text, size_t len, mvm_err *err)
{
    if (len > MVM__VDAGENT_TEXT_MAX) {
        mvm_fail(err, MVM_ECONFIG, "%zu bytes are too many for the clipboard", len);
        mvm_err_hint(err, "at most 1 MiB of text; copy files with push");
        return MVM_ECONFIG;
    }
    if (!is_utf8(text, len))
        return mvm_fail(err, MVM_ECONFIG, "the clipboard takes text in UTF-8 only");
    if (c->lost)
        return mvm_fail(err, MVM_EGUEST, "the clipboard is lost: the guest's agent broke protocol");
    mvm__buf_free(&c->ours);
    mvm__buf_append(&c->ours, text, len);
    drop_theirs(c);
    c->offering = true;
    offer(c);
    pump(c);
    return 0;
}

const char *mvm__clipboard_text(const mvm__clipboard *c, size_t *len)
{
    const mvm__buf *text = c->offering ? &c->ours : &c->theirs;

    *len = 0;
    if (c->lost || (!c->offering && !c->has_theirs))
        return NULL;
    *len = mvm__buf_len(text);
    return mvm__buf_ptr(text);
}
