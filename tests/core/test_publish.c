/* SPDX-License-Identifier: MIT */
/* A finished file takes its place whole, and never the place of what is no file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "io/publish.h"

static char g_dir[32];

static int setup(void **state)
{
    (void)state;
    strcpy(g_dir, "/tmp/macvm-test-XXXXXX");
    return mkdtemp(g_dir) && chdir(g_dir) == 0 ? 0 : -1;
}

/* Fails when anything else was left. */
static int teardown(void **state)
{
    (void)state;
    unlink("from");
    return chdir("/") == 0 && rmdir(g_dir) == 0 ? 0 : -1;
}

static void fill(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void holds(const char *path, const char *text)
{
    char got[32] = "";
    FILE *f = fopen(path, "re");

    assert_non_null(f);
    assert_non_null(fgets(got, sizeof(got), f));
    assert_int_equal(fclose(f), 0);
    assert_string_equal(got, text);
}

static void a_file_is_made_or_replaced(void **state)
{
    (void)state;
    mvm_err err;

    fill("from", "new");
    assert_int_equal(mvm__publish("from", "to", &err), 0);
    holds("to", "new");
    fill("from", "newer");
    assert_int_equal(mvm__publish("from", "to", &err), 0);
    holds("to", "newer");
    assert_int_equal(unlink("to"), 0);
}

static void what_is_no_file_stays(void **state)
{
    (void)state;
    struct stat st;
    mvm_err err;

    fill("from", "new");
    assert_int_equal(mkfifo("fifo", 0600), 0);
    assert_int_equal(symlink("fifo", "link"), 0);
    assert_int_equal(mkdir("dir", 0700), 0);
    assert_int_equal(mvm__publish("from", "fifo", &err), MVM_EIO);
    assert_string_equal(err.message, "can't write fifo: it is not a regular file");
    assert_int_equal(mvm__publish("from", "link", &err), MVM_EIO);
    assert_int_equal(mvm__publish("from", "dir", &err), MVM_EIO);
    assert_string_equal(err.message, "can't write dir: it is a directory");
    assert_int_equal(lstat("fifo", &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
    assert_int_equal(lstat("link", &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(unlink("link"), 0);
    assert_int_equal(unlink("fifo"), 0);
    assert_int_equal(rmdir("dir"), 0);
}

static void what_can_not_be_read_or_written_is_said(void **state)
{
    (void)state;
    mvm_err err;

    assert_int_equal(mvm__publish("none", "to", &err), MVM_EIO);
    assert_non_null(strstr(err.message, "can't read none: "));
    fill("from", "new");
    assert_int_equal(mvm__publish("from", "none/to", &err), MVM_EIO);
    assert_non_null(strstr(err.message, "can't write none/to: "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_is_made_or_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_file_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(what_can_not_be_read_or_written_is_said, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
