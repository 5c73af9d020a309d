/* SPDX-License-Identifier: MIT */
/* Child processes: real ones, how they end, what they hold, and that they die with their parent. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "io/proc.h"

#define PATIENCE_MS 20000

static int setup(void **state)
{
    *state = mvm_loop_new();
    return 0;
}

static int teardown(void **state)
{
    assert_int_equal(0, mvm_loop_close(*state));
    return 0;
}

typedef struct end {
    int calls, status, signum;
    mvm_loop *loop; /* of who starts another child */
} end;

static void on_exit_(void *ud, int status, int signum)
{
    end *e = ud;

    e->calls++;
    e->status = status;
    e->signum = signum;
}

static void on_late(void *ud)
{
    (void)ud;
    fail_msg("the child did not end");
}

static void run_until_end(mvm_loop *loop, const end *e)
{
    mvm_timer *late = mvm_timer_start(loop, PATIENCE_MS / 1000.0, on_late, NULL);

    while (e->calls == 0)
        mvm_loop_step(loop, true);
    mvm_timer_cancel(late);
    assert_int_equal(1, e->calls);
}

static mvm__proc *spawn(mvm_loop *loop, end *e, const char *const *argv)
{
    mvm_err err = {0};
    mvm__proc *p =
        mvm__proc_spawn(loop, &(mvm__proc_spec){.argv = argv, .on_exit = on_exit_, .ud = e}, &err);

    if (!p)
        fail_msg("%s", err.message);
    return p;
}

#define SH(text) ((const char *const[]){"sh", "-c", text, NULL})

static void test_status(void **state)
{
    static const struct {
        const char *text;
        int status, signum;
    } cases[] = {{"true", 0, 0}, {"exit 3", 3, 0}, {"kill -TERM $$", -1, SIGTERM}};

    for (size_t i = 0; i < MVM_COUNT(cases); i++) {
        end e = {0};
        mvm__proc *p = spawn(*state, &e, SH(cases[i].text));
        assert_true(mvm__proc_pid(p) > 0);
        assert_int_equal(0, e.calls); /* never from inside the call */
        run_until_end(*state, &e);
        assert_int_equal(cases[i].status, e.status);
        assert_int_equal(cases[i].signum, e.signum);
        assert_int_equal(0, mvm__proc_pid(p));
        mvm__proc_free(p);
    }
}

static void test_kill(void **state)
{
    end e = {0};
    mvm__proc *p = spawn(*state, &e, (const char *const[]){"sleep", "1000", NULL});

    mvm__proc_kill(p, SIGKILL);
    run_until_end(*state, &e);
    assert_int_equal(SIGKILL, e.signum);
    mvm__proc_kill(p, SIGKILL); /* it has ended: no-op */
    mvm__proc_free(p);
}

static void test_many_at_once(void **state)
{
    enum { N = 20 };
    end ends[N] = {{0}};
    mvm__proc *procs[N];

    for (int i = 0; i < N; i++)
        procs[i] = spawn(*state, &ends[i], SH(i % 2 ? "exit 1" : "exit 0"));
    for (int i = 0; i < N; i++) {
        run_until_end(*state, &ends[i]);
        assert_int_equal(i % 2, ends[i].status);
        mvm__proc_free(procs[i]);
    }
}

static void test_missing_programs(void **state)
{
    static const struct {
        const char *name;
        int code;
        const char *text;
    } cases[] = {
        {"no-such-program-here", MVM_EUNSUPPORTED, "no-such-program-here was not found in PATH"},
        {"/no/such/program", MVM_EUNSUPPORTED, "/no/such/program was not found"},
        {"/etc/passwd", MVM_EUNSUPPORTED, "/etc/passwd was not found"},
        {"/", MVM_EUNSUPPORTED, "/ was not found"},
    };

    for (size_t i = 0; i < MVM_COUNT(cases); i++) {
        const char *const argv[] = {cases[i].name, NULL};
        end e = {0};
        mvm_err err = {0};
        assert_null(mvm__proc_spawn(
            *state, &(mvm__proc_spec){.argv = argv, .on_exit = on_exit_, .ud = &e}, &err));
        assert_int_equal(cases[i].code, err.code);
        assert_non_null(strstr(err.message, cases[i].text));
        mvm_loop_step(*state, false);
        assert_int_equal(0, e.calls);
    }
}

static void test_what_the_child_could_not_do(void **state)
{
    char script[] = "/tmp/macvm-test-XXXXXX";
    int fd = mkstemp(script);
    mvm_err err = {0};
    const char *const broken[] = {script, NULL};

    assert_true(fd >= 0);
    assert_true(write(fd, "#!/no/interpreter\n", 18) == 18);
    fchmod(fd, 0700);
    close(fd);
    assert_null(
        mvm__proc_spawn(*state, &(mvm__proc_spec){.argv = broken, .on_exit = on_exit_}, &err));
    unlink(script);
    assert_int_equal(MVM_EIO, err.code);
    assert_non_null(strstr(err.message, strerror(ENOENT)));

    assert_null(mvm__proc_spawn(
        *state, &(mvm__proc_spec){.argv = SH("true"), .cwd = "/no/such/dir", .on_exit = on_exit_},
        &err));
    assert_int_equal(MVM_EIO, err.code);
    assert_non_null(strstr(err.message, "/no/such/dir"));
}

static void test_last_lines_of_stderr(void **state)
{
    char text[8192];
    end e = {0};
    mvm__proc *p = spawn(*state, &e, SH("echo one >&2; echo; printf 'two\\n\\nthree' >&2"));

    run_until_end(*state, &e);
    assert_string_equal("one; two; three", mvm__proc_errors(p, text, sizeof(text)));
    assert_string_equal("one; tw", mvm__proc_errors(p, text, 8));
    mvm__proc_free(p);

    e = (end){0};
    p = spawn(*state, &e, SH("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done >&2"));
    run_until_end(*state, &e);
    mvm__proc_errors(p, text, sizeof(text));
    assert_memory_equal("line ", text, 5); /* cut at a line */
    assert_string_equal("line 2999", text + strlen(text) - 9);
    assert_true(strlen(text) > MVM__PROC_ERRORS_MAX / 2);
    assert_true(strlen(text) < 2 * MVM__PROC_ERRORS_MAX);
    mvm__proc_free(p);
}

/* A child that leaves a child of its own with its standard error does not hold up its end. */
static void test_stderr_held_by_another(void **state)
{
    end e = {0};
    char text[64];
    mvm__proc *p = spawn(*state, &e, SH("sleep 1000 & echo $! >&2"));

    run_until_end(*state, &e);
    kill(atoi(mvm__proc_errors(p, text, sizeof(text))), SIGKILL);
    mvm__proc_free(p);
}

static void test_surroundings(void **state)
{
    int fds[2],
        extra = open("/dev/null", O_RDONLY); /* not close-on-exec, as a shell may leave it */
    char got[512] = "";
    end e = {0};
    mvm_err err;
    struct sigaction ignore = {.sa_handler = SIG_IGN}, old;

    assert_int_equal(0, pipe(fds));
    sigaction(SIGUSR1, &ignore, &old);
    /* Prints: the directory, a variable, the open descriptors, its session, the signals ignored. */
    const char *const argv[] = {"sh", "-c",
                                "{ pwd; echo $MACVM_TEST; ls -m /proc/self/fd; "
                                "cut -d' ' -f6 /proc/$$/stat; echo $$; "
                                "sed -n 's/^SigIgn:.*\\(.\\{16\\}\\)$/\\1/p; "
                                "s/^SigBlk:.*\\(.\\{16\\}\\)$/\\1/p' /proc/self/status; } >&4",
                                NULL};
    const char *const env[] = {"MACVM_TEST=yes", NULL};
    const int given[] = {fds[0], fds[1]};
    mvm__proc *p = mvm__proc_spawn(*state,
                                   &(mvm__proc_spec){.argv = argv,
                                                     .env = env,
                                                     .cwd = "/usr",
                                                     .fds = given,
                                                     .nfds = 2,
                                                     .on_exit = on_exit_,
                                                     .ud = &e},
                                   &err);
    assert_non_null(p);
    run_until_end(*state, &e);
    sigaction(SIGUSR1, &old, NULL);
    close(fds[1]);
    assert_true(read(fds[0], got, sizeof(got) - 1) > 0);
    close(fds[0]);
    close(extra);
    mvm__proc_free(p);

    char dir[64], var[64], open_fds[128], session[32], pid[32], ignored[32], blocked[32];
    assert_int_equal(7, sscanf(got, "%63s %63s %127[^\n]\n%31s %31s %31s %31s", dir, var, open_fds,
                               session, pid, blocked, ignored));
    assert_string_equal("/usr", dir);
    assert_string_equal("yes", var);
    assert_string_equal("0, 1, 2, 3, 4, 5", open_fds); /* 5 is the directory that ls reads */
    assert_string_equal(pid, session);
    assert_string_equal("0000000000000000", blocked);
    /* 32 and 33 are libc's own: no program can reset what it inherited of them. */
    assert_int_equal(0, strtoull(ignored, NULL, 16) & ~UINT64_C(0x180000000));
}

static void test_freed_while_it_runs(void **state)
{
    end e = {0}, other = {0};
    mvm__proc *p = spawn(*state, &e, (const char *const[]){"sleep", "1000", NULL});
    int pid = mvm__proc_pid(p);

    mvm__proc_free(p);
    while (kill(pid, 0) == 0) { /* a child that ends wakes the loop, and is reaped then */
        mvm__proc *q = spawn(*state, &other, SH("true"));
        other.calls = 0;
        run_until_end(*state, &other);
        mvm__proc_free(q);
    }
    assert_int_equal(0, e.calls);
}

static void test_loop_closed_with_a_child(void **state)
{
    end e = {0};
    mvm_loop *loop = mvm_loop_new();
    mvm__proc *p = spawn(loop, &e, (const char *const[]){"sleep", "1000", NULL});
    int pid = mvm__proc_pid(p);

    (void)state;
    mvm_loop_close(loop);
    assert_int_equal(-1, kill(pid, 0));
    assert_int_equal(0, e.calls);
    mvm__proc_free(p);
}

static bool closes_in_time(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    char byte;

    return poll(&pfd, 1, PATIENCE_MS) == 1 && read(fd, &byte, 1) == 0;
}

/* A process that starts a child through us, and is then killed as by `kill -9`: the end of the
 * child is the end of the pipe that only it holds. */
static void test_dies_with_its_parent(void **state)
{
    int life[2], told[2];
    char byte;

    (void)state;
    assert_int_equal(0, pipe(life));
    assert_int_equal(0, pipe(told));
    pid_t parent = fork();
    if (parent == 0) {
        mvm_loop *loop = mvm_loop_new();
        end e = {0};
        const char *const argv[] = {"sleep", "1000", NULL};
        bool ok = mvm__proc_spawn(
                      loop,
                      &(mvm__proc_spec){
                          .argv = argv, .fds = &life[1], .nfds = 1, .on_exit = on_exit_, .ud = &e},
                      NULL) != NULL;
        close(life[1]);
        (void)!write(told[1], ok ? "y" : "n", 1);
        for (;;)
            pause();
    }
    close(life[1]);
    close(told[1]);
    assert_int_equal(1, read(told[0], &byte, 1));
    assert_int_equal('y', byte);
    struct pollfd pfd = {.fd = life[0], .events = POLLIN};
    assert_int_equal(0, poll(&pfd, 1, 0)); /* it runs */
    kill(parent, SIGKILL);
    assert_int_equal(parent, waitpid(parent, NULL, 0));
    assert_true(closes_in_time(life[0]));
    close(life[0]);
    close(told[0]);
}

static void spawn_in_vain(void *ud, int status, int signum)
{
    const char *const argv[] = {"no-such-program-here", NULL};
    mvm_err err;

    on_exit_(ud, status, signum);
    mvm__proc_spec spec = {.argv = argv, .on_exit = on_exit_, .ud = ud};
    assert_null(mvm__proc_spawn(((end *)ud)->loop, &spec, &err));
}

/* The callback of the last child may start another, also when that fails. */
static void test_spawn_fails_in_callback(void **state)
{
    end e = {.loop = *state};
    mvm_err err;
    mvm__proc_spec spec = {.argv = SH("true"), .on_exit = spawn_in_vain, .ud = &e};
    mvm__proc *p = mvm__proc_spawn(*state, &spec, &err);

    assert_non_null(p);
    run_until_end(*state, &e);
    mvm__proc_free(p);
    e = (end){0};
    p = spawn(*state, &e, SH("exit 2"));
    run_until_end(*state, &e);
    assert_int_equal(2, e.status);
    mvm__proc_free(p);
}

/* A program around us that waits for any child takes ours too: its end is told all the same. */
static void test_reaped_by_another(void **state)
{
    end e = {0};
    mvm__proc *p = spawn(*state, &e, SH("exit 0"));

    assert_int_equal(mvm__proc_pid(p), waitpid(mvm__proc_pid(p), NULL, 0));
    run_until_end(*state, &e);
    assert_int_equal(255, e.status);
    assert_int_equal(0, mvm__proc_pid(p));
    mvm__proc_free(p);
}

static void test_output(void **state)
{
    char text[8];
    int status = -1;
    mvm_err err;

    (void)state;
    assert_int_equal(
        0, mvm__proc_output(SH("echo hi; exit 4"), 20, text, sizeof(text), &status, &err));
    assert_string_equal("hi\n", text);
    assert_int_equal(4, status);
    assert_int_equal(
        0, mvm__proc_output(SH("echo 0123456789"), 20, text, sizeof(text), &status, &err));
    assert_string_equal("0123456", text);
    assert_int_equal(0, mvm__proc_output(SH("kill -9 $$"), 20, text, sizeof(text), &status, &err));
    assert_int_equal(128 + 9, status);
    assert_int_equal(MVM_ETIMEOUT, mvm__proc_output(SH("exec sleep 1000"), 0.05, text, sizeof(text),
                                                    &status, &err));
    /* One that closes its output and goes on is waited for, and no longer than that. */
    assert_int_equal(MVM_ETIMEOUT, mvm__proc_output(SH("exec >&-; exec sleep 1000"), 0.05, text,
                                                    sizeof(text), &status, &err));
    assert_int_equal(MVM_EUNSUPPORTED,
                     mvm__proc_output((const char *const[]){"no-such-program-here", NULL}, 1, text,
                                      sizeof(text), &status, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_status, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_missing_programs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_the_child_could_not_do, setup, teardown),
        cmocka_unit_test_setup_teardown(test_last_lines_of_stderr, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stderr_held_by_another, setup, teardown),
        cmocka_unit_test_setup_teardown(test_surroundings, setup, teardown),
        cmocka_unit_test_setup_teardown(test_freed_while_it_runs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_spawn_fails_in_callback, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reaped_by_another, setup, teardown),
        cmocka_unit_test(test_loop_closed_with_a_child),
        cmocka_unit_test(test_dies_with_its_parent),
        cmocka_unit_test(test_output),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
