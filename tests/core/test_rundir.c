/* SPDX-License-Identifier: MIT */
/* Private directories: their mode, their removal, and what dead owners left. */
#include <fcntl.h>
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
#include "io/rundir.h"

static char g_base[64];

static int setup(void **state)
{
    (void)state;
    strcpy(g_base, "/tmp/macvm-test-XXXXXX");
    assert_non_null(mkdtemp(g_base));
    return setenv("XDG_RUNTIME_DIR", g_base, 1);
}

static int teardown(void **state)
{
    (void)state;
    char *parent = mvm__asprintf("%s/macvm", g_base);

    rmdir(parent); /* fails, as the assertion below then does, when something was left in it */
    mvm__free(parent);
    assert_int_equal(0, rmdir(g_base));
    return 0;
}

static void touch(const char *dir, const char *name)
{
    char *path = mvm__asprintf("%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    close(fd);
    mvm__free(path);
}

static void test_is_private_and_goes_with_its_owner(void **state)
{
    mvm_err err;
    struct stat st;
    mvm__rundir *dir = mvm__rundir_new(&err);

    (void)state;
    assert_non_null(dir);
    char *path = mvm__strdup(mvm__rundir_path(dir));
    assert_int_equal(0, stat(path, &st));
    assert_int_equal(0700, st.st_mode & 07777);
    touch(path, "file");
    char *sub = mvm__asprintf("%s/sub", path);
    assert_int_equal(0, mkdir(sub, 0700));
    touch(sub, "deep");
    mvm__rundir_free(dir);
    assert_int_equal(-1, stat(path, &st));
    mvm__free(sub);
    mvm__free(path);
}

static void test_two_live_side_by_side(void **state)
{
    mvm_err err;
    mvm__rundir *a = mvm__rundir_new(&err), *b = mvm__rundir_new(&err);
    struct stat st;

    (void)state;
    assert_non_null(a);
    assert_non_null(b);
    assert_string_not_equal(mvm__rundir_path(a), mvm__rundir_path(b));
    assert_int_equal(0, stat(mvm__rundir_path(a), &st)); /* b's making did not sweep it */
    mvm__rundir_free(a);
    mvm__rundir_free(b);
}

static void test_leftovers_of_a_killed_owner_are_swept(void **state)
{
    int fds[2];
    char path[512] = "";
    struct stat st;
    mvm_err err;

    (void)state;
    assert_int_equal(0, pipe(fds));
    pid_t child = fork();
    if (child == 0) {
        mvm__rundir *dir = mvm__rundir_new(NULL);
        touch(mvm__rundir_path(dir), "overlay.qcow2");
        (void)!write(fds[1], mvm__rundir_path(dir), strlen(mvm__rundir_path(dir)));
        kill(getpid(), 9);
    }
    int status;
    waitpid(child, &status, 0);
    close(fds[1]);
    assert_true(read(fds[0], path, sizeof(path) - 1) > 0);
    close(fds[0]);
    assert_int_equal(0, stat(path, &st)); /* it was left */
    mvm__rundir *dir = mvm__rundir_new(&err);
    assert_non_null(dir);
    assert_int_equal(-1, stat(path, &st)); /* and is gone */
    mvm__rundir_free(dir);
}

static void test_a_parent_that_others_can_enter_is_refused(void **state)
{
    char *parent = mvm__asprintf("%s/macvm", g_base);
    mvm_err err = {0};

    (void)state;
    assert_int_equal(0, mkdir(parent, 0700));
    assert_int_equal(0, chmod(parent, 0755));
    assert_null(mvm__rundir_new(&err));
    assert_int_equal(MVM_EIO, err.code);
    assert_non_null(strstr(err.message, "not private"));
    mvm__free(parent);
}

static void test_a_link_in_the_parents_place_is_not_followed(void **state)
{
    char *parent = mvm__asprintf("%s/macvm", g_base);
    mvm_err err = {0};

    (void)state;
    assert_int_equal(0, symlink("/tmp", parent));
    assert_null(mvm__rundir_new(&err));
    assert_int_equal(0, unlink(parent));
    mvm__free(parent);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_is_private_and_goes_with_its_owner),
        TEST(test_two_live_side_by_side),
        TEST(test_leftovers_of_a_killed_owner_are_swept),
        TEST(test_a_parent_that_others_can_enter_is_refused),
        TEST(test_a_link_in_the_parents_place_is_not_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
