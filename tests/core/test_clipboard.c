/* SPDX-License-Identifier: MIT */
/* The shared clipboard: who owns it, what each side gets, and a guest that breaks the rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "vm/clipboard.h"
#include "wire/vdagent_wire.h"

enum { CAPS = 1 << MVM__VDAGENT_CAP_BY_DEMAND | 1 << MVM__VDAGENT_CAP_SELECTION };

/* The guest's agent: what we sent is read by the same codec, which reads both directions. */
typedef struct scene {
    mvm__clipboard *c;
    mvm__vdagent_reader reader;
    mvm__buf out; /* what the clipboard wrote and the guest has not read */
    size_t room;  /* how much more it can write */
    bool reading, lost;
    int changes;
    char text[256]; /* the last change, cut */
    size_t text_len;
    mvm_err err;
} scene;

static size_t on_write(void *ud, const void *data, size_t len)
{
    scene *s = ud;
    size_t n = MVM_MIN(len, s->room);

    s->room -= n;
    mvm__buf_append(&s->out, data, n);
    return n;
}

static void on_read(void *ud, bool on)
{
    scene *s = ud;

    assert_true(s->reading != on);
    s->reading = on;
}

static void on_changed(void *ud, const char *text, size_t len)
{
    scene *s = ud;

    s->changes++;
    s->text_len = len;
    snprintf(s->text, sizeof(s->text), "%.*s", (int)MVM_MIN(len, sizeof(s->text) - 1), text);
}

static void on_lost(void *ud, const mvm_err *err)
{
    scene *s = ud;

    assert_false(s->lost);
    s->lost = true;
    s->err = *err;
}

static const mvm__clipboard_ops g_ops = {on_write, on_read, on_changed, on_lost};

static int setup(void **state)
{
    scene *s = mvm__alloc(sizeof(*s));

    s->room = SIZE_MAX;
    s->reading = true;
    s->c = mvm__clipboard_new(&g_ops, s);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    scene *s = *state;

    mvm__clipboard_free(s->c);
    mvm__vdagent_free(&s->reader);
    mvm__buf_free(&s->out);
    mvm__free(s);
    return 0;
}

/* ---- the guest's part ---------------------------------------------------------------------- */

static void put32(mvm__buf *b, uint32_t value)
{
    uint8_t p[4];

    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> 8 * i);
    mvm__buf_append(b, p, 4);
}

static void guest_raw(scene *s, uint32_t type, const void *data, size_t len)
{
    mvm__buf b = {0};

    put32(&b, 1);
    put32(&b, (uint32_t)len + 20);
    put32(&b, 1);
    put32(&b, type);
    put32(&b, 0);
    put32(&b, 0);
    put32(&b, (uint32_t)len);
    mvm__buf_append(&b, data, len);
    mvm__clipboard_data(s->c, mvm__buf_ptr(&b), mvm__buf_len(&b));
    mvm__buf_free(&b);
}

static void guest_announces(scene *s, uint32_t caps, bool ask)
{
    mvm__buf b = {0};

    put32(&b, ask);
    put32(&b, caps);
    guest_raw(s, MVM__VDAGENT_ANNOUNCE, mvm__buf_ptr(&b), mvm__buf_len(&b));
    mvm__buf_free(&b);
}

static void guest_grabs(scene *s, uint32_t selection, uint32_t kind)
{
    mvm__buf b = {0};

    put32(&b, selection);
    put32(&b, kind);
    guest_raw(s, MVM__VDAGENT_GRAB, mvm__buf_ptr(&b), mvm__buf_len(&b));
    mvm__buf_free(&b);
}

static void guest_requests(scene *s, uint32_t selection, uint32_t kind)
{
    mvm__buf b = {0};

    put32(&b, selection);
    put32(&b, kind);
    guest_raw(s, MVM__VDAGENT_REQUEST, mvm__buf_ptr(&b), mvm__buf_len(&b));
    mvm__buf_free(&b);
}

static void guest_sends(scene *s, uint32_t kind, const char *text, size_t len)
{
    mvm__buf b = {0};

    mvm__vdagent_put_data(&b, true, 0, kind, text, len);
    mvm__clipboard_data(s->c, mvm__buf_ptr(&b), mvm__buf_len(&b));
    mvm__buf_free(&b);
}

/* The next message that we sent to the guest; its type, 0 when there is none. */
static uint32_t guest_reads(scene *s, mvm__vdagent_event *event)
{
    mvm__vdagent_msg msg;
    size_t used;
    int rc =
        mvm__vdagent_read(&s->reader, mvm__buf_ptr(&s->out), mvm__buf_len(&s->out), &used, &msg);

    assert_true(rc >= 0);
    mvm__buf_consume(&s->out, used);
    if (rc == 0)
        return 0;
    assert_true(mvm__vdagent_parse(&msg, true, event));
    return msg.type;
}

static void guest_comes_up(scene *s)
{
    mvm__vdagent_event event;

    mvm__clipboard_open(s->c, true);
    assert_int_equal(MVM__VDAGENT_ANNOUNCE, guest_reads(s, &event));
    assert_true(event.answer);
    assert_int_equal(CAPS, event.caps);
    guest_announces(s, CAPS, false);
    assert_false(s->lost);
}

static void expect_text(scene *s, const char *text)
{
    size_t len;
    const char *got = mvm__clipboard_text(s->c, &len);

    if (!text) {
        assert_null(got);
        return;
    }
    assert_non_null(got);
    assert_int_equal(strlen(text), len);
    assert_memory_equal(text, got, len);
}

/* The guest takes the clipboard and we ask for its text. */
static void guest_copies(scene *s)
{
    mvm__vdagent_event event;

    guest_grabs(s, 0, MVM__VDAGENT_UTF8);
    assert_int_equal(MVM__VDAGENT_REQUEST, guest_reads(s, &event));
    assert_int_equal(MVM__VDAGENT_UTF8, event.kind);
}

/* ---- cases --------------------------------------------------------------------------------- */

static void test_guest_to_host(void **state)
{
    scene *s = *state;

    guest_comes_up(s);
    expect_text(s, NULL);
    guest_copies(s);
    expect_text(s, NULL);
    guest_sends(s, MVM__VDAGENT_UTF8, "gr\xc3\xbc\xc3\x9f", 6);
    assert_int_equal(1, s->changes);
    assert_string_equal("gr\xc3\xbc\xc3\x9f", s->text);
    expect_text(s, "gr\xc3\xbc\xc3\x9f");
    guest_raw(s, MVM__VDAGENT_RELEASE, "\0\0\0\0", 4);
    expect_text(s, NULL);
    assert_int_equal(1, s->changes);
}

static void test_host_to_guest(void **state)
{
    scene *s = *state;
    mvm__vdagent_event event;

    assert_int_equal(0, mvm__clipboard_set(s->c, "early", 5, NULL)); /* before there is an agent */
    expect_text(s, "early");
    guest_comes_up(s);
    assert_int_equal(MVM__VDAGENT_GRAB, guest_reads(s, &event));
    assert_true(event.has_text);
    guest_requests(s, 0, MVM__VDAGENT_UTF8);
    assert_int_equal(MVM__VDAGENT_CLIPBOARD, guest_reads(s, &event));
    assert_int_equal(MVM__VDAGENT_UTF8, event.kind);
    assert_int_equal(5, event.len);
    assert_memory_equal("early", event.text, 5);
    assert_int_equal(0, mvm__clipboard_set(s->c, "", 0, NULL));
    assert_int_equal(MVM__VDAGENT_GRAB, guest_reads(s, &event));
    expect_text(s, "");
    guest_copies(s); /* now it has its own, and gets ours no more */
    expect_text(s, NULL);
    guest_requests(s, 0, MVM__VDAGENT_UTF8);
    assert_int_equal(MVM__VDAGENT_CLIPBOARD, guest_reads(s, &event));
    assert_int_equal(MVM__VDAGENT_NONE, event.kind);
    assert_int_equal(0, s->changes);
}

/* The daemon asks for our capabilities when it opens the port, and again when it likes. */
static void test_announcements(void **state)
{
    scene *s = *state;
    mvm__vdagent_event event;

    mvm__clipboard_open(s->c, true);
    guest_announces(s, CAPS, true);
    assert_int_equal(MVM__VDAGENT_ANNOUNCE, guest_reads(s, &event));
    assert_int_equal(MVM__VDAGENT_ANNOUNCE, guest_reads(s, &event));
    assert_false(event.answer);
    assert_int_equal(0, guest_reads(s, &event));
    assert_int_equal(0, mvm__clipboard_set(s->c, "x", 1, NULL));
    assert_int_equal(MVM__VDAGENT_GRAB, guest_reads(s, &event));
    guest_announces(s, CAPS, true); /* the session's agent is a new one: it is offered again */
    assert_int_equal(MVM__VDAGENT_ANNOUNCE, guest_reads(s, &event));
    assert_int_equal(MVM__VDAGENT_GRAB, guest_reads(s, &event));
}

/* An agent that does no clipboards is offered none. */
static void test_unable_agent(void **state)
{
    scene *s = *state;
    mvm__vdagent_event event;

    mvm__clipboard_open(s->c, true);
    assert_int_equal(MVM__VDAGENT_ANNOUNCE, guest_reads(s, &event));
    guest_announces(s, 0, false);
    assert_int_equal(0, mvm__clipboard_set(s->c, "x", 1, NULL));
    guest_grabs(s, 0, MVM__VDAGENT_UTF8);
    assert_int_equal(0, guest_reads(s, &event));
    assert_false(s->lost);
}

static void test_reopened_port(void **state)
{
    scene *s = *state;
    mvm__vdagent_event event;

    guest_comes_up(s);
    guest_copies(s);
    guest_sends(s, MVM__VDAGENT_UTF8, "gone with it", 12);
    mvm__clipboard_data(s->c, "\1\0\0\0", 4); /* half a chunk's header */
    mvm__clipboard_open(s->c, false);
    expect_text(s, NULL);
    assert_int_equal(0, mvm__clipboard_set(s->c, "kept", 4, NULL));
    assert_int_equal(0, guest_reads(s, &event)); /* nobody is there */
    guest_comes_up(s);
    assert_int_equal(MVM__VDAGENT_GRAB, guest_reads(s, &event));
}

/* Only the text of the last of several grabs counts. */
static void test_quick_changes(void **state)
{
    scene *s = *state;
    mvm__vdagent_event event;

    guest_comes_up(s);
    guest_copies(s);
    guest_grabs(s, 0, MVM__VDAGENT_UTF8);
    guest_grabs(s, 0, MVM__VDAGENT_UTF8);
    assert_int_equal(0, guest_reads(s, &event)); /* one question at a time */
    guest_sends(s, MVM__VDAGENT_UTF8, "old", 3);
    assert_int_equal(0, s->changes);
    assert_int_equal(MVM__VDAGENT_REQUEST, guest_reads(s, &event));
    guest_sends(s, MVM__VDAGENT_UTF8, "new", 3);
    assert_int_equal(1, s->changes);
    expect_text(s, "new");
    guest_copies(s);
    assert_int_equal(0, mvm__clipboard_set(s->c, "ours", 4, NULL)); /* overtakes the answer */
    guest_sends(s, MVM__VDAGENT_UTF8, "late", 4);
    expect_text(s, "ours");
    assert_int_equal(1, s->changes);
}

static void test_what_is_no_text(void **state)
{
    static const struct {
        const char *text;
        size_t len;
    } bad[] = {{"\xff", 1},
               {"\xc3", 1},
               {"\xc0\x80", 2},
               {"\xed\xa0\x80", 3},
               {"\xf4\x90\x80\x80", 4},
               {"\xe0\x80\x80", 3},
               {"a\x80", 2},
               {"\xf0\x80\x80\x80", 4}};
    scene *s = *state;
    mvm__vdagent_event event;
    mvm_err err;

    guest_comes_up(s);
    for (size_t i = 0; i < MVM_COUNT(bad); i++) {
        guest_copies(s);
        guest_sends(s, MVM__VDAGENT_UTF8, bad[i].text, bad[i].len);
        expect_text(s, NULL);
        assert_int_equal(MVM_ECONFIG, mvm__clipboard_set(s->c, bad[i].text, bad[i].len, &err));
    }
    guest_copies(s);
    guest_sends(s, MVM__VDAGENT_NONE, "", 0);
    expect_text(s, NULL);
    guest_grabs(s, 0, 2);                 /* a picture */
    guest_grabs(s, 1, MVM__VDAGENT_UTF8); /* X11's own selection */
    assert_int_equal(0, guest_reads(s, &event));
    guest_sends(s, MVM__VDAGENT_UTF8, "unasked", 7);
    expect_text(s, NULL);
    guest_requests(s, 1, MVM__VDAGENT_UTF8);
    assert_int_equal(MVM__VDAGENT_CLIPBOARD, guest_reads(s, &event));
    assert_int_equal(1, event.selection);
    assert_int_equal(MVM__VDAGENT_NONE, event.kind);
    assert_int_equal(0, s->changes);
    assert_false(s->lost);
}

static void test_lengths(void **state)
{
    scene *s = *state;
    mvm__vdagent_event event;
    size_t max = MVM__VDAGENT_TEXT_MAX;
    char *text = mvm__alloc(max + 1);
    mvm_err err;

    memset(text, 'x', max + 1);
    guest_comes_up(s);
    assert_int_equal(MVM_ECONFIG, mvm__clipboard_set(s->c, text, max + 1, &err));
    assert_non_null(strstr(err.hint, "1 MiB"));
    assert_int_equal(0, mvm__clipboard_set(s->c, text, max, &err));
    assert_int_equal(MVM__VDAGENT_GRAB, guest_reads(s, &event));
    guest_copies(s);
    guest_sends(s, MVM__VDAGENT_UTF8, text, max);
    assert_int_equal(max, s->text_len);
    guest_copies(s);
    guest_sends(s, MVM__VDAGENT_UTF8, text, max + 1); /* not kept, and nothing is lost by it */
    expect_text(s, NULL);
    assert_int_equal(1, s->changes);
    assert_false(s->lost);
    mvm__free(text);
}

static void test_line_ends(void **state)
{
    scene *s = *state;
    mvm__vdagent_event event;

    guest_comes_up(s);
    guest_announces(s, CAPS | 1 << MVM__VDAGENT_CAP_CRLF, false);
    assert_int_equal(0, mvm__clipboard_set(s->c, "a\n\nb", 4, NULL));
    assert_int_equal(MVM__VDAGENT_GRAB, guest_reads(s, &event));
    guest_requests(s, 0, MVM__VDAGENT_UTF8);
    assert_int_equal(MVM__VDAGENT_CLIPBOARD, guest_reads(s, &event));
    assert_int_equal(6, event.len);
    assert_memory_equal("a\r\n\r\nb", event.text, 6);
    guest_copies(s);
    guest_sends(s, MVM__VDAGENT_UTF8, "a\r\n\rb\r\n\0", 8); /* and its own end of the string */
    expect_text(s, "a\n\rb\n");
}

/* A guest that asks and does not take answers is not read any more. */
static void test_slow_guest(void **state)
{
    scene *s = *state;
    mvm__vdagent_event event;
    size_t len = 300000;
    char *text = mvm__alloc(len);

    memset(text, 'y', len);
    guest_comes_up(s);
    assert_int_equal(0, mvm__clipboard_set(s->c, text, len, NULL));
    assert_int_equal(MVM__VDAGENT_GRAB, guest_reads(s, &event));
    s->room = 1000;
    guest_requests(s, 0, MVM__VDAGENT_UTF8);
    assert_false(s->reading);
    guest_requests(s, 0, MVM__VDAGENT_UTF8); /* what was on its way */
    s->room = SIZE_MAX;
    mvm__clipboard_writable(s->c);
    assert_true(s->reading);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(MVM__VDAGENT_CLIPBOARD, guest_reads(s, &event));
        assert_int_equal(len, event.len);
    }
    s->room = 0;
    for (int i = 0; i < 100 && !s->lost; i++)
        guest_requests(s, 0, MVM__VDAGENT_UTF8);
    assert_true(s->lost); /* and what it may have waiting is bounded */
    mvm__free(text);
}

static void test_broken_protocol(void **state)
{
    scene *s = *state;
    mvm__vdagent_event event;
    char big[2000] = "";
    mvm_err err;

    for (int i = 0; i < 4; i++) {
        s->lost = false;
        guest_comes_up(s);
        guest_copies(s);
        guest_sends(s, MVM__VDAGENT_UTF8, "text", 4);
        if (i == 0)
            mvm__clipboard_data(s->c, "GET / HTTP/1.1\r\n\r\n", 18);
        else if (i == 1)
            guest_raw(s, MVM__VDAGENT_GRAB, "", 0);
        else if (i == 2)
            guest_raw(s, MVM__VDAGENT_GRAB, big, sizeof(big));
        else
            guest_raw(s, MVM__VDAGENT_REQUEST, "\0\0\0\0\1", 5);
        assert_true(s->lost);
        assert_int_equal(MVM_EGUEST, s->err.code);
        expect_text(s, NULL);
        guest_grabs(s, 0, MVM__VDAGENT_UTF8); /* it is not heard any more */
        assert_int_equal(0, guest_reads(s, &event));
        assert_int_equal(MVM_EGUEST, mvm__clipboard_set(s->c, "x", 1, &err));
        mvm__clipboard_open(s->c, false);
        mvm__clipboard_open(s->c, true);
        assert_int_equal(0, guest_reads(s, &event)); /* in this run */
        mvm__clipboard_down(s->c);
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_guest_to_host), T(test_host_to_guest), T(test_announcements),   T(test_unable_agent),
        T(test_reopened_port), T(test_quick_changes), T(test_what_is_no_text), T(test_lengths),
        T(test_line_ends),     T(test_slow_guest),    T(test_broken_protocol),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
