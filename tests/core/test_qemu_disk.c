/* SPDX-License-Identifier: MIT */
/* Disk images that macvm makes: their content, and that nothing that exists is touched. */
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

#include "backend/qemu/disk.h"
#include "base/base.h"
#include "io/proc.h"

typedef struct place {
    char dir[32], path[64];
} place;

static int setup(void **state)
{
    place *p = mvm__alloc(sizeof(*p));

    snprintf(p->dir, sizeof(p->dir), "/tmp/macvm-test-XXXXXX");
    *state = p;
    if (!mkdtemp(p->dir))
        return -1;
    snprintf(p->path, sizeof(p->path), "%s/disk", p->dir);
    return 0;
}

static int teardown(void **state)
{
    place *p = *state;

    unlink(p->path);
    int rc = rmdir(p->dir); /* fails when something else was left in it */
    mvm__free(p);
    return rc;
}

static void test_raw_is_a_hole(void **state)
{
    place *p = *state;
    struct stat st;
    mvm_err err;

    assert_int_equal(0, mvm__disk_create(p->path, "raw", INT64_C(4) << 30, &err));
    assert_int_equal(0, stat(p->path, &st));
    assert_int_equal(INT64_C(4) << 30, st.st_size);
    assert_true(st.st_blocks * 512 < 1 << 20);
}

static void test_what_exists_is_not_touched(void **state)
{
    place *p = *state;
    char text[16] = "";
    mvm_err err;
    FILE *f = fopen(p->path, "w");

    fputs("precious", f);
    fclose(f);
    assert_int_equal(0, mvm__disk_create(p->path, "raw", 1 << 20, &err));
    assert_int_equal(0, mvm__disk_create(p->path, "qcow2", 1 << 20, &err));
    f = fopen(p->path, "r");
    assert_int_equal(8, fread(text, 1, sizeof(text), f));
    fclose(f);
    assert_string_equal("precious", text);
}

static void test_no_such_directory(void **state)
{
    mvm_err err;

    (void)state;
    assert_int_equal(MVM_EIO, mvm__disk_create("/no/such/dir/disk", "qcow2", 1 << 20, &err));
    assert_non_null(strstr(err.message, "/no/such/dir/disk"));
}

/* qemu-img is the judge of what is a sound image. */
static void test_qcow2(void **state)
{
    static const int64_t sizes[] = {512,
                                    1 << 20,
                                    INT64_C(1) << 29,
                                    (INT64_C(1) << 29) + 512,
                                    INT64_C(5) << 40,
                                    INT64_C(64) << 40};
    place *p = *state;
    char out[1024], tool[256], expected[64];
    mvm_err err;

    if (!mvm__proc_which("qemu-img", tool, sizeof(tool)))
        skip();
    for (size_t i = 0; i < MVM_COUNT(sizes); i++) {
        int status = -1;
        unlink(p->path);
        assert_int_equal(0, mvm__disk_create(p->path, "qcow2", sizes[i], &err));
        const char *const check[] = {tool, "check", "-f", "qcow2", p->path, NULL};
        assert_int_equal(0, mvm__proc_output(check, 20, out, sizeof(out), &status, &err));
        assert_int_equal(0, status);
        const char *const info[] = {tool, "info", "--output=json", "-f", "qcow2", p->path, NULL};
        assert_int_equal(0, mvm__proc_output(info, 20, out, sizeof(out), &status, &err));
        snprintf(expected, sizeof(expected), "\"virtual-size\": %lld,", (long long)sizes[i]);
        assert_non_null(strstr(out, expected));
    }
}

/* It can be opened by its path, has no name anywhere, and goes with its descriptor. */
static void test_overlay_is_nameless(void **state)
{
    place *p = *state;
    mvm__overlay overlay;
    struct stat st;
    mvm_err err;

    assert_int_equal(0, setenv("TMPDIR", p->dir, 1));
    assert_int_equal(0, mvm__overlay_make("/no/such/dir", 1 << 20, &overlay, &err));
    assert_int_equal(0, fstat(overlay.fd, &st));
    assert_int_equal(0, st.st_nlink);
    FILE *f = fopen(overlay.path, "r+");
    assert_non_null(f);
    assert_int_equal('Q', fgetc(f));
    fclose(f);
    char path[64];
    snprintf(path, sizeof(path), "%s", overlay.path);
    mvm__overlay_free(&overlay);
    assert_int_equal(-1, access(path, F_OK));
    assert_int_equal(0, setenv("TMPDIR", "/no/such/dir", 1));
    assert_int_equal(0, mvm__overlay_make(p->dir, 1 << 20, &overlay, &err));
    mvm__overlay_free(&overlay);
    assert_int_equal(0, unsetenv("TMPDIR"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_raw_is_a_hole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_exists_is_not_touched, setup, teardown),
        cmocka_unit_test(test_no_such_directory),
        cmocka_unit_test_setup_teardown(test_qcow2, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overlay_is_nameless, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
