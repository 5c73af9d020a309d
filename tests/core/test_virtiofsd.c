/* SPDX-License-Identifier: MIT */
/* virtiofsd: its two command lines, the jail that it enters, and a process that dies with us. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
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

#include "backend/qemu/virtiofsd.h"
#include "base/base.h"

/* A private directory with a file in it. */
static int setup(void **state)
{
    char *dir = mvm__strdup("/tmp/macvm-test-XXXXXX");

    assert_non_null(mkdtemp(dir));
    MVM_AUTO_FREE char *file = mvm__asprintf("%s/file", dir);
    int fd = open(file, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    *state = dir;
    return 0;
}

static int teardown(void **state)
{
    MVM_AUTO_FREE char *file = mvm__asprintf("%s/file", (char *)*state);

    unlink(file);
    rmdir(*state);
    mvm__free(*state);
    return 0;
}

/* ---- command lines ----------------------------------------------------------------------- */

static void check(const mvm__virtiofsd *plan, const char *const *expected)
{
    char **argv = mvm__virtiofsd_argv(plan);
    size_t i = 0;

    for (; expected[i]; i++) {
        assert_non_null(argv[i]);
        assert_string_equal(expected[i], argv[i]);
    }
    assert_null(argv[i]);
    mvm__virtiofsd_argv_free(argv);
}

static void test_old(void **state)
{
    mvm__virtiofsd plan = {.program = "/usr/lib/qemu/virtiofsd", .sandbox = "namespace"};

    (void)state;
    snprintf(plan.path, sizeof(plan.path), "/a,b\\c d");
    check(&plan, (const char *const[]){
                     "/usr/lib/qemu/virtiofsd", "--fd=3", "-o", "source=/a\\,b\\\\c d", "-o",
                     "sandbox=namespace,cache=auto,announce_submounts,log_level=warn", NULL});
}

static void test_rust(void **state)
{
    mvm__virtiofsd plan = {.program = "/x/virtiofsd", .rust = true, .sandbox = "chroot"};

    (void)state;
    snprintf(plan.path, sizeof(plan.path), "/a,b");
    check(&plan,
          (const char *const[]){"/x/virtiofsd", "--fd=3", "--shared-dir=/a,b", "--sandbox=chroot",
                                "--cache=auto", "--log-level=error", NULL});
    plan.tell_readonly = true;
    plan.sandbox = "none";
    check(&plan,
          (const char *const[]){"/x/virtiofsd", "--fd=3", "--shared-dir=/a,b", "--sandbox=none",
                                "--cache=auto", "--log-level=error", "--readonly", NULL});
}

/* ---- the jail ------------------------------------------------------------------------------ */

/* In a child that has entered: the errno of changing something in there, 0 when it was done. */
static int write_from_jail(const mvm__jail *jail)
{
    MVM_AUTO_FREE char *file = mvm__asprintf("%s/file", jail->path);
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        if (mvm__jail_enter(jail) != 0)
            _exit(255);
        _exit(chmod(file, 0640) == 0 ? 0 : errno);
    }
    assert_int_equal(pid, waitpid(pid, &status, 0));
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_readonly_for_whoever_is_inside_only(void **state)
{
    MVM_AUTO_FREE char *file = mvm__asprintf("%s/file", (char *)*state);
    mvm__jail jail;

    mvm__jail_init(&jail, *state, true);
    if (mvm__jail_probe(&jail) == MVM__JAIL_NOTHING)
        skip();
    assert_int_equal(EROFS, write_from_jail(&jail));
    assert_int_equal(0, chmod(file, 0600)); /* nothing of it is seen out here */
    jail.readonly = false;
    assert_int_equal(0, write_from_jail(&jail));
}

static void test_user_namespace(void **state)
{
    mvm__jail jail;

    mvm__jail_init(&jail, *state, true);
    jail.own_user = true; /* as for an ordinary user */
    if (mvm__jail_probe(&jail) == MVM__JAIL_NOTHING)
        skip();
    assert_int_equal(EROFS, write_from_jail(&jail));
    jail.readonly = false;
    assert_int_equal(0, write_from_jail(&jail));
}

static void test_what_can_not_be_entered(void **state)
{
    mvm__jail jail;

    (void)state;
    mvm__jail_init(&jail, "/nonexistent", true);
    assert_int_equal(MVM__JAIL_NOTHING, mvm__jail_probe(&jail));
}

/* ---- finding and running -------------------------------------------------------------------- */

/* A program called virtiofsd in a directory of its own at the front of PATH. */
static char *put_in_path(const char *dir, const char *script)
{
    char *program = mvm__asprintf("%s/virtiofsd", dir);
    MVM_AUTO_FREE char *path = mvm__asprintf("%s:%s", dir, getenv("PATH"));
    FILE *f = fopen(program, "we");

    assert_non_null(f);
    fprintf(f, "#!/bin/sh\n%s\n", script);
    assert_int_equal(0, fclose(f));
    assert_int_equal(0, chmod(program, 0755));
    setenv("PATH", path, 1);
    return program;
}

static void test_which_one(void **state)
{
    MVM_AUTO_FREE char *saved = mvm__strdup(getenv("PATH"));
    MVM_AUTO_FREE char *bin = mvm__asprintf("%s/bin", (char *)*state);
    MVM_AUTO_FREE mvm__virtiofsd *plan = mvm__alloc(sizeof(*plan));
    mvm_err err;

    assert_int_equal(0, mkdir(bin, 0700));
    MVM_AUTO_FREE char *program = put_in_path(bin, "echo '--shared-dir <DIR> --readonly'");
    assert_int_equal(0, mvm__virtiofsd_plan(plan, *state, true, &err));
    assert_string_equal(program, plan->program);
    assert_true(plan->rust);
    assert_true(plan->has_readonly);
    assert_string_equal(*state, plan->path);
    /* The kernel does it, unless the host has no namespaces for us. */
    assert_true(plan->tell_readonly != plan->jail.readonly);

    assert_int_equal(0, unlink(program));
    setenv("PATH", saved, 1);
    MVM_AUTO_FREE char *other = mvm__asprintf("%s/other", (char *)*state);
    assert_int_equal(0, mkdir(other, 0700));
    MVM_AUTO_FREE char *stranger = put_in_path(other, "echo usage: something else");
    assert_int_equal(MVM_EUNSUPPORTED, mvm__virtiofsd_plan(plan, *state, false, &err));
    assert_non_null(strstr(err.message, "is not a virtiofsd that macvm knows"));
    unlink(stranger);
    rmdir(other);
    rmdir(bin);
    setenv("PATH", saved, 1);
}

typedef struct end {
    int calls, status, signum;
} end;

static void on_exit_(void *ud, int status, int signum)
{
    end *e = ud;

    e->calls++;
    e->status = status;
    e->signum = signum;
}

/* What it is given: the listening socket as descriptor 3, blocking, and the share as it may see it.
 */
static void test_started_in_its_jail(void **state)
{
    MVM_AUTO_FREE mvm__virtiofsd *plan = mvm__alloc(sizeof(*plan));
    mvm_loop *loop = mvm_loop_new();
    int fds[2];
    mvm_err err;
    end e = {0};
    char words[256];

    snprintf(plan->path, sizeof(plan->path), "%s", (char *)*state);
    mvm__jail_init(&plan->jail, plan->path, true);
    if (mvm__jail_probe(&plan->jail) == MVM__JAIL_NOTHING)
        skip();
    MVM_AUTO_FREE char *script = mvm__asprintf(
        "test -e /proc/self/fd/3 && echo \"$*\" >&2; chmod 600 '%s/file' 2>/dev/null && exit 9; "
        "exit 7",
        plan->path);
    MVM_AUTO_FREE char *saved = mvm__strdup(getenv("PATH"));
    MVM_AUTO_FREE char *program = put_in_path(*state, script);
    snprintf(plan->program, sizeof(plan->program), "%s", program);
    plan->rust = plan->jailed = true;
    plan->sandbox = "none";
    assert_int_equal(0, pipe(fds));
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    mvm__proc *proc = mvm__virtiofsd_start(plan, loop, fds[0], on_exit_, &e, &err);
    assert_non_null(proc);
    while (e.calls == 0)
        mvm_loop_step(loop, true);
    assert_int_equal(7, e.status);
    assert_int_equal(0, fcntl(fds[0], F_GETFL) & O_NONBLOCK);
    mvm__proc_errors(proc, words, sizeof(words));
    assert_non_null(strstr(words, "--fd=3 --shared-dir="));
    mvm__proc_free(proc);
    close(fds[0]);
    close(fds[1]);
    unlink(program);
    setenv("PATH", saved, 1);
    assert_int_equal(0, mvm_loop_close(loop));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_old),
        cmocka_unit_test(test_rust),
        cmocka_unit_test_setup_teardown(test_readonly_for_whoever_is_inside_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_user_namespace, setup, teardown),
        cmocka_unit_test(test_what_can_not_be_entered),
        cmocka_unit_test_setup_teardown(test_which_one, setup, teardown),
        cmocka_unit_test_setup_teardown(test_started_in_its_jail, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
