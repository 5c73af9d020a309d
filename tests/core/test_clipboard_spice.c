/* SPDX-License-Identifier: MIT */
/*
 * The shared clipboard against Debian's own spice-vdagentd and spice-vdagent under Xvfb on this
 * host: the daemon's virtio port is a unix socket here, and what it says is what it would say from
 * inside of a guest. Text goes both ways, by xclip, as a program of the guest's desktop would.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/buf.h"
#include "io/proc.h"
#include "io/sock.h"
#include "vm/clipboard.h"

#define PATIENCE 20.0

enum { XVFB, DAEMON, AGENT, COMMAND, NPROCS };

typedef struct scene {
    mvm_loop *loop;
    char dir[64], display[32];
    mvm__proc *procs[NPROCS];
    bool ended[NPROCS];
    int status; /* of the command */
    mvm_listener *listener;
    mvm_stream *port; /* NULL: the daemon has not opened it */
    mvm__clipboard *c;
    int changes;
    mvm__buf text; /* of the last change */
    bool lost;
} scene;

static scene *g_scene; /* a process's end comes with its place only */

/* ---- the port: what a virtio port does, done by a socket ------------------------------------- */

static size_t on_write(void *ud, const void *data, size_t len)
{
    scene *s = ud;

    return s->port && mvm_stream_write(s->port, data, len, NULL) == 0 ? len : 0;
}

static void on_read(void *ud, bool on)
{
    (void)ud;
    (void)on;
}

static void on_changed(void *ud, const char *text, size_t len)
{
    scene *s = ud;

    s->changes++;
    mvm__buf_consume(&s->text, mvm__buf_len(&s->text));
    mvm__buf_append(&s->text, text, len);
}

static void on_lost(void *ud, const mvm_err *err)
{
    scene *s = ud;

    s->lost = true;
    print_message("%s\n", err->message);
}

static void await_bytes(scene *s);

static void on_bytes(void *ud, const mvm_err *err)
{
    scene *s = ud;
    size_t len;
    const char *data = mvm_stream_peek(s->port, &len);

    if (err || len == 0) {
        mvm__clipboard_open(s->c, false);
        mvm_stream_unref(s->port);
        s->port = NULL;
        return;
    }
    mvm__clipboard_data(s->c, data, len);
    mvm_stream_consume(s->port, len);
    await_bytes(s);
}

static void await_bytes(scene *s)
{
    mvm_waiter waiter = {.timeout = -1, .fn = on_bytes, .ud = s};

    assert_non_null(mvm_stream_wait_readable(s->port, &waiter, NULL));
}

static void on_accepted(void *ud, mvm_stream *stream)
{
    scene *s = ud;

    assert_null(s->port);
    s->port = stream;
    await_bytes(s);
    mvm__clipboard_open(s->c, true);
}

/* ---- the desktop ---------------------------------------------------------------------------- */

static void on_late(void *ud)
{
    *(bool *)ud = true;
}

/* Turns the loop until the condition holds; fails the test when it does not in time. */
#define await(s, condition)                                                                        \
    do {                                                                                           \
        bool late = false;                                                                         \
        mvm_timer *timer = mvm_timer_start((s)->loop, PATIENCE, on_late, &late);                   \
        while (!(condition) && !late)                                                              \
            mvm_loop_step((s)->loop, true);                                                        \
        if (late)                                                                                  \
            fail_msg("not within %g s: %s", PATIENCE, #condition);                                 \
        mvm_timer_cancel(timer);                                                                   \
    } while (0)

static void on_exit_of(void *ud, int status, int signum)
{
    size_t which = (size_t)(uintptr_t)ud;
    char errors[512];

    (void)signum;
    g_scene->ended[which] = true;
    g_scene->status = status;
    if (which != COMMAND) /* for who looks for the cause of a failure */
        print_message("program %zu: %d: %s\n", which, status,
                      mvm__proc_errors(g_scene->procs[which], errors, sizeof(errors)));
}

static void start(scene *s, int which, const char *const *argv, const int *fds, size_t nfds)
{
    const char *env[] = {s->display, "NO_AT_BRIDGE=1", NULL};
    mvm__proc_spec spec = {.argv = argv,
                           .env = s->display[0] ? env : NULL,
                           .cwd = s->dir,
                           .fds = fds,
                           .nfds = nfds,
                           .on_exit = on_exit_of,
                           .ud = (void *)(uintptr_t)which};
    mvm_err err;

    s->ended[which] = false;
    s->procs[which] = mvm__proc_spawn(s->loop, &spec, &err);
    if (!s->procs[which])
        fail_msg("%s", err.message);
}

/* Runs a shell command of the desktop's user to its end. */
static int command(scene *s, const char *text)
{
    start(s, COMMAND, (const char *const[]){"sh", "-c", text, NULL}, NULL, 0);
    await(s, s->ended[COMMAND]);
    mvm__proc_free(s->procs[COMMAND]);
    s->procs[COMMAND] = NULL;
    return s->status;
}

static void on_readable(void *ud)
{
    *(bool *)ud = true;
}

static void start_display(scene *s)
{
    int ends[2];
    char number[16] = "";
    bool ready = false;

    assert_int_equal(0, pipe(ends));
    start(s, XVFB,
          (const char *const[]){"Xvfb", "-displayfd", "3", "-screen", "0", "320x240x24",
                                "-nolisten", "tcp", NULL},
          &ends[1], 1);
    close(ends[1]);
    mvm_watch *watch = mvm_watch_fd(s->loop, ends[0], on_readable, &ready);
    await(s, ready);
    mvm_watch_close(watch);
    assert_int_equal(0, fcntl(ends[0], F_SETFL, 0)); /* the loop has made it non-blocking */
    for (size_t at = 0; !strchr(number, '\n'); at++) /* it comes in pieces */
        assert_int_equal(1, read(ends[0], number + at, at < sizeof(number) - 1));
    close(ends[0]);
    snprintf(s->display, sizeof(s->display), "DISPLAY=:%d", atoi(number));
}

static void start_agent(scene *s)
{
    static const char daemon[] = "/usr/sbin/spice-vdagentd";
    mvm_err err;

    s->listener = mvm__listener_new(s->loop, mvm__sock_listen(s->dir, "port", &err),
                                    &(mvm__listener_opts){.what = "the port"}, on_accepted, s);
    start(s, DAEMON,
          (const char *const[]){daemon, "-x", "-X", "-f", "-u", "/dev/null", "-s", "port", "-S",
                                "agent", NULL},
          NULL, 0);
    start(s, AGENT, (const char *const[]){"spice-vdagent", "-x", "-s", "port", "-S", "agent", NULL},
          NULL, 0);
}

static void stop(scene *s, int which)
{
    if (!s->procs[which])
        return;
    mvm__proc_kill(s->procs[which], SIGTERM);
    await(s, s->ended[which]);
    mvm__proc_free(s->procs[which]);
}

static bool is_there(const char *program)
{
    char path[512];

    return mvm__proc_which(program, path, sizeof(path));
}

static int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");
    scene *s = mvm__alloc(sizeof(*s));

    static const mvm__clipboard_ops ops = {on_write, on_read, on_changed, on_lost};
    snprintf(s->dir, sizeof(s->dir), "%s/clip.XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    if (!mkdtemp(s->dir))
        return -1;
    s->loop = mvm_loop_new();
    s->c = mvm__clipboard_new(&ops, s);
    g_scene = s;
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    scene *s = *state;
    MVM_AUTO_FREE char *rm = mvm__asprintf("rm -rf %s", s->dir);

    stop(s, AGENT);
    stop(s, DAEMON);
    stop(s, XVFB);
    mvm_listener_close(s->listener);
    if (s->port)
        mvm_stream_close(s->port);
    mvm_loop_step(s->loop, false);
    mvm_stream_unref(s->port);
    mvm__clipboard_free(s->c);
    mvm__buf_free(&s->text);
    assert_int_equal(0, mvm_loop_close(s->loop));
    assert_int_equal(0, system(rm));
    mvm__free(s);
    return 0;
}

/* ---- the test ------------------------------------------------------------------------------- */

static void expect_change(scene *s, const char *shell, const char *text)
{
    int before = s->changes;

    assert_int_equal(0, command(s, shell));
    await(s, s->changes > before);
    assert_int_equal(strlen(text), mvm__buf_len(&s->text));
    assert_memory_equal(text, mvm__buf_ptr(&s->text), strlen(text));
}

/* What xclip pastes is the text that is set here. xclip fails while nobody offers text, and the
 * agent takes a moment to offer ours. */
static void expect_paste(scene *s, const char *text, size_t len)
{
    MVM_AUTO_FREE char *path = mvm__asprintf("%s/want", s->dir);
    FILE *want = fopen(path, "w");

    assert_non_null(want);
    assert_int_equal(len, fwrite(text, 1, len, want));
    assert_int_equal(0, fclose(want));
    assert_int_equal(0, mvm__clipboard_set(s->c, text, len, NULL));
    assert_int_equal(0, command(s, "for i in $(seq 100); do xclip -selection clipboard -o >got && "
                                   "cmp -s got want && exit 0; sleep 0.1; done; exit 1"));
}

static void test_both_ways(void **state)
{
    scene *s = *state;
    size_t len = 200000;

    if (!is_there("Xvfb") || !is_there("xclip") || !is_there("/usr/sbin/spice-vdagentd"))
        skip();
    start_display(s);
    start_agent(s);
    await(s, s->port != NULL);
    expect_change(s, "printf 'from the guest' | xclip -selection clipboard -i", "from the guest");
    expect_paste(s, "from the host: gr\xc3\xbc\xc3\x9f\n", 22);
    expect_change(s, "printf 'and \\303\\274 again' | xclip -selection clipboard -i",
                  "and \xc3\xbc again");
    char *big = mvm__alloc(len);
    for (size_t i = 0; i < len; i++)
        big[i] = (char)('a' + i % 26);
    expect_paste(s, big, len);
    mvm__free(big);
    assert_false(s->lost);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_both_ways, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
