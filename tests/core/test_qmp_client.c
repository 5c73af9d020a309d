/* SPDX-License-Identifier: MIT */
/* The QMP client against a peer that the test plays on the other end of a socket pair. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/qemu/qmp.h"
#include "base/base.h"

#define GREETING "{\"QMP\":{\"version\":{\"qemu\":{\"micro\":0,\"minor\":2,\"major\":8}}}}\n"
#define AGREED   "{\"return\":{},\"id\":0}\n"

typedef struct scene {
    mvm_loop *loop;
    mvm__qmp *qmp;
    int peer;
    char trace[512]; /* what the client reported, one word each */
    mvm_err dead;
    bool close_on_event;
} scene;

static void note(scene *s, const char *word, const char *more)
{
    size_t len = strlen(s->trace);

    snprintf(s->trace + len, sizeof(s->trace) - len, "%s%s%s ", word, more[0] ? ":" : "", more);
}

static void on_ready(void *ud, const char *version)
{
    note(ud, "ready", version);
}

static void on_event(void *ud, const char *name, const mvm_qmp_value *data)
{
    scene *s = ud;

    note(s, name, mvm_qmp_str(data, "why"));
    if (s->close_on_event) {
        mvm__qmp_close(s->qmp);
        s->qmp = NULL;
    }
}

static void on_dead(void *ud, const mvm_err *err)
{
    scene *s = ud;

    s->dead = *err;
    note(s, "dead", mvm_code_word(err->code));
}

static const mvm__qmp_ops g_ops = {on_ready, on_event, on_dead};

static int open_scene(void **state, double seconds)
{
    int pair[2];
    scene *s = mvm__alloc(sizeof(*s));

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return -1;
    s->loop = mvm_loop_new();
    mvm_loop_virtual_time(s->loop, true);
    s->peer = pair[1];
    s->qmp = mvm__qmp_open(s->loop, pair[0], seconds, &g_ops, s);
    *state = s;
    return 0;
}

static void say(scene *s, const char *text)
{
    assert_int_equal(strlen(text), write(s->peer, text, strlen(text)));
    for (int i = 0; i < 4; i++)
        mvm_loop_step(s->loop, false);
}

static int setup_silent(void **state)
{
    return open_scene(state, 30);
}

static int setup(void **state)
{
    char command[128] = "";

    if (open_scene(state, 30) != 0)
        return -1;
    scene *s = *state;
    say(s, GREETING);
    assert_true(read(s->peer, command, sizeof(command) - 1) > 0);
    assert_string_equal("{\"execute\":\"qmp_capabilities\",\"id\":0}\n", command);
    say(s, AGREED);
    assert_string_equal("ready:8.2.0 ", s->trace);
    s->trace[0] = '\0';
    return 0;
}

static int teardown(void **state)
{
    scene *s = *state;

    mvm__qmp_close(s->qmp);
    if (s->peer >= 0)
        close(s->peer);
    mvm_loop_step(s->loop, false);
    assert_int_equal(0, mvm_loop_close(s->loop));
    mvm__free(s);
    return 0;
}

typedef struct asked {
    scene *scene;
    char name[8];
} asked;

static void on_reply(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    asked *a = ud;
    char text[64];

    snprintf(text, sizeof(text), "%s:%s", a->name,
             err ? mvm_code_word(err->code) : mvm_qmp_str(value, "v"));
    note(a->scene, text, "");
}

static int ask(scene *s, asked *a, const char *name)
{
    mvm_err err;

    *a = (asked){.scene = s};
    snprintf(a->name, sizeof(a->name), "%s", name);
    return mvm__qmp_call(s->qmp, 10, on_reply, a, &err, name, NULL);
}

static void test_answers_in_any_order(void **state)
{
    scene *s = *state;
    asked a, b, c;
    char sent[256] = "";

    assert_int_equal(0, ask(s, &a, "a"));
    assert_int_equal(0, ask(s, &b, "b"));
    assert_int_equal(0, ask(s, &c, "c"));
    assert_true(read(s->peer, sent, sizeof(sent) - 1) > 0);
    assert_string_equal("{\"execute\":\"a\",\"id\":1}\n{\"execute\":\"b\",\"id\":2}\n"
                        "{\"execute\":\"c\",\"id\":3}\n",
                        sent);
    say(s, "{\"return\":{\"v\":\"3\"},\"id\":3}\n{\"event\":\"STOP\"}\n"
           "{\"return\":{\"v\":\"1\"},\"id\":1}\n");
    assert_string_equal("c:3 STOP a:1 ", s->trace);
    say(s, "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no\"},\"id\":2}\n");
    assert_string_equal("c:3 STOP a:1 b:backend ", s->trace);
}

static void test_answers_that_nobody_asked_for(void **state)
{
    scene *s = *state;
    asked a;

    ask(s, &a, "a");
    say(s, "{\"return\":{},\"id\":99}\n{\"return\":{}}\n{\"error\":{\"class\":\"x\"}}\n"
           "{\"return\":{},\"id\":0}\n" GREETING);
    assert_string_equal("", s->trace);
    say(s, "{\"return\":{\"v\":\"x\"},\"id\":1}\n{\"return\":{\"v\":\"again\"},\"id\":1}\n");
    assert_string_equal("a:x ", s->trace);
}

static void test_answer_in_pieces(void **state)
{
    scene *s = *state;

    say(s, "{\"event\":\"RES");
    assert_string_equal("", s->trace);
    say(s, "ET\",\"data\":{\"why\":\"x\"}}");
    assert_string_equal("", s->trace);
    say(s, "\n");
    assert_string_equal("RESET:x ", s->trace);
}

static void test_death_fails_all(void **state)
{
    scene *s = *state;
    asked a, b;
    mvm_err err;

    ask(s, &a, "a");
    ask(s, &b, "b");
    close(s->peer);
    s->peer = -1;
    for (int i = 0; i < 4; i++)
        mvm_loop_step(s->loop, false);
    assert_string_equal("a:cancelled b:cancelled dead:io ", s->trace);
    assert_int_equal(MVM_EBACKEND, mvm__qmp_call(s->qmp, 1, on_reply, &a, &err, "c", NULL));
}

/* An event and an answer that came before the end are heard before it. */
static void test_last_words(void **state)
{
    scene *s = *state;
    static const char words[] = "{\"event\":\"SHUTDOWN\",\"data\":{\"why\":\"guest\"}}\n";

    assert_int_equal(sizeof(words) - 1, write(s->peer, words, sizeof(words) - 1));
    close(s->peer);
    s->peer = -1;
    mvm__qmp_drain(s->qmp);
    assert_string_equal("SHUTDOWN:guest dead:io ", s->trace);
}

static void test_garbage(void **state)
{
    scene *s = *state;
    asked a;

    ask(s, &a, "a");
    say(s, "what is this?\n{\"event\":\"STOP\"}\n");
    assert_string_equal("a:backend dead:backend ", s->trace);
}

static void test_endless_line(void **state)
{
    scene *s = *state;
    static char block[65536];
    asked a;
    size_t sent = 0;

    ask(s, &a, "a");
    memset(block, 'x', sizeof(block));
    while (sent <= MVM_QMP_LINE_MAX + sizeof(block) && !s->dead.code) {
        ssize_t n = send(s->peer, block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        mvm_loop_step(s->loop, false);
    }
    assert_string_equal("a:backend dead:backend ", s->trace);
    assert_non_null(strstr(s->dead.message, "longer than"));
}

static void test_deadline_of_a_command(void **state)
{
    scene *s = *state;
    asked a;

    ask(s, &a, "a");
    double begin = mvm_loop_now(s->loop);
    while (s->trace[0] == '\0')
        mvm_loop_step(s->loop, true);
    assert_string_equal("a:timeout ", s->trace);
    assert_true(mvm_loop_now(s->loop) - begin >= 10);
    say(s, "{\"return\":{},\"id\":1}\n"); /* too late, and harmless */
    assert_string_equal("a:timeout ", s->trace);
}

static void test_close_ends_what_waits(void **state)
{
    scene *s = *state;
    asked a;

    ask(s, &a, "a");
    mvm__qmp_close(s->qmp);
    s->qmp = NULL;
    assert_string_equal("a:cancelled ", s->trace);
}

static void test_close_from_a_handler(void **state)
{
    scene *s = *state;
    asked a;

    ask(s, &a, "a");
    s->close_on_event = true;
    say(s, "{\"event\":\"ONE\"}\n{\"event\":\"TWO\"}\n{\"return\":{},\"id\":1}\n");
    assert_string_equal("ONE a:cancelled ", s->trace);
}

static void on_reply_close(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    asked *a = ud;
    scene *s = a->scene;

    on_reply(ud, value, err);
    mvm__qmp_close(s->qmp);
    s->qmp = NULL;
    note(s, "closed", "");
}

/* Also then no command outlives the call of close. */
static void test_close_while_commands_fail(void **state)
{
    scene *s = *state;
    asked a = {.scene = s, .name = "a"}, b;
    mvm_err err;

    assert_int_equal(0, mvm__qmp_call(s->qmp, 10, on_reply_close, &a, &err, "a", NULL));
    assert_int_equal(0, ask(s, &b, "b"));
    close(s->peer);
    s->peer = -1;
    while (s->trace[0] == '\0')
        mvm_loop_step(s->loop, false);
    assert_string_equal("a:cancelled b:cancelled closed ", s->trace);
}

static void test_no_greeting(void **state)
{
    scene *s = *state;
    asked a;

    assert_int_equal(MVM_ESTATE, ask(s, &a, "a"));
    while (s->trace[0] == '\0')
        mvm_loop_step(s->loop, true);
    assert_string_equal("dead:timeout ", s->trace);
}

static void test_refused_capabilities(void **state)
{
    scene *s = *state;

    say(s, GREETING "{\"error\":{\"class\":\"x\",\"desc\":\"not today\"},\"id\":0}\n");
    assert_string_equal("dead:backend ", s->trace);
    assert_non_null(strstr(s->dead.message, "not today"));
}

/* A peer that reads nothing: commands are kept and sent when it does. */
static void test_slow_peer(void **state)
{
    enum { N = 20000 };
    scene *s = *state;
    asked *all = mvm__alloc(N * sizeof(*all));
    size_t got = 0, lines = 0;
    static char chunk[65536];

    for (int i = 0; i < N; i++)
        assert_int_equal(0, ask(s, &all[i], "a"));
    while (lines < N) {
        ssize_t n = recv(s->peer, chunk, sizeof(chunk), MSG_DONTWAIT);
        for (ssize_t i = 0; i < n; i++)
            lines += chunk[i] == '\n';
        got += n > 0 ? (size_t)n : 0;
        mvm_loop_step(s->loop, false);
    }
    assert_true(got > (size_t)N * 20);
    mvm__qmp_close(s->qmp);
    s->qmp = NULL;
    mvm__free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_answers_in_any_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answers_that_nobody_asked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answer_in_pieces, setup, teardown),
        cmocka_unit_test_setup_teardown(test_death_fails_all, setup, teardown),
        cmocka_unit_test_setup_teardown(test_last_words, setup, teardown),
        cmocka_unit_test_setup_teardown(test_garbage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_endless_line, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deadline_of_a_command, setup, teardown),
        cmocka_unit_test_setup_teardown(test_close_ends_what_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_close_from_a_handler, setup, teardown),
        cmocka_unit_test_setup_teardown(test_close_while_commands_fail, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_greeting, setup_silent, teardown),
        cmocka_unit_test_setup_teardown(test_refused_capabilities, setup_silent, teardown),
        cmocka_unit_test_setup_teardown(test_slow_peer, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
