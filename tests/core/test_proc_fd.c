/* SPDX-License-Identifier: MIT */
/* Asking a program for a descriptor. The program is this one, called with a word. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "io/pipe.h"
#include "io/proc.h"

static const char *const g_self = "/proc/self/exe";

static int ask(const char *word, double seconds, char words[64], mvm_err *err)
{
    char path[512];
    ssize_t n = readlink(g_self, path, sizeof(path) - 1);

    assert_true(n > 0);
    path[n] = '\0';
    return mvm__proc_ask_fd((const char *const[]){path, word, NULL}, seconds, words, 64, err);
}

static void check_reaped(void)
{
    assert_int_equal(-1, waitpid(-1, NULL, WNOHANG));
    assert_int_equal(ECHILD, errno);
}

static void test_given(void **state)
{
    char words[64], text[8] = "";
    mvm_err err;
    int fd = ask("give", 20, words, &err);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(FD_CLOEXEC, fcntl(fd, F_GETFD));
    assert_int_equal(2, pread(fd, text, 2, 0));
    assert_string_equal("\177E", text); /* it gave its own program */
    close(fd);
    check_reaped();
}

static void test_refused(void **state)
{
    char words[64];
    mvm_err err;

    (void)state;
    assert_int_equal(MVM_EIO, ask("refuse", 20, words, &err));
    assert_string_equal("access denied by acl file", words);
    assert_int_equal(MVM_EIO, ask("bytes", 20, words, &err)); /* something, but no descriptor */
    assert_int_equal(MVM_EIO, ask("hang", 0.2, words, &err));
    check_reaped();
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)context;
    kill(info->si_pid, number); /* it goes on when it has interrupted us */
}

/* Other children end meanwhile, and each sends a signal. */
static void test_given_after_a_signal(void **state)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct sigaction old;
    char words[64];
    mvm_err err;

    (void)state;
    assert_int_equal(0, sigaction(SIGUSR1, &action, &old));
    int fd = ask("signal", 20, words, &err);
    assert_int_equal(0, sigaction(SIGUSR1, &old, NULL));
    assert_true(fd >= 0);
    close(fd);
    check_reaped();
}

static void test_not_there(void **state)
{
    const char *const argv[] = {"/nonexistent/helper", NULL};
    char words[64];
    mvm_err err;

    (void)state;
    assert_int_equal(MVM_EUNSUPPORTED, mvm__proc_ask_fd(argv, 1, words, sizeof(words), &err));
    assert_string_equal("", words);
}

static void nothing(void *ud, const void *data, size_t len)
{
    (void)ud;
    (void)data;
    (void)len;
}

static void ended(void *ud, int error)
{
    (void)ud;
    (void)error;
}

static void disturb_parent(void)
{
    sigset_t set;
    int number;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    kill(getppid(), SIGUSR1);
    sigwait(&set, &number);
}

/* The program's side: mvm__pipe_write_fd is what we send descriptors with. */
static int be_helper(const char *word)
{
    static const mvm__pipe_ops ops = {.data = nothing, .ended = ended};
    int fd = open(g_self, O_RDONLY);

    if (strcmp(word, "refuse") == 0) {
        fputs("access denied\nby acl file\n", stderr);
        return 1;
    }
    if (strcmp(word, "bytes") == 0)
        return write(3, "x", 1) == 1 ? 0 : 1;
    if (strcmp(word, "hang") == 0)
        pause();
    if (strcmp(word, "signal") == 0)
        disturb_parent();
    mvm_loop *loop = mvm_loop_new();
    mvm__pipe *pipe = mvm__pipe_open(loop, 3, &ops, NULL);
    if (mvm__pipe_write_fd(pipe, "x", 1, fd) != 1)
        return 1;
    mvm__pipe_close(pipe);
    return mvm_loop_close(loop);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_given),
        cmocka_unit_test(test_given_after_a_signal),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_not_there),
    };

    if (argc > 1)
        return be_helper(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
