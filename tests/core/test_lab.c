/* SPDX-License-Identifier: MIT */
/* A lab as a whole: what its check refuses before anything is opened, and its end with a real
 * hypervisor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/sim_lab.h"

typedef struct scene {
    mvm_lab *lab;
    char dir[32], path[64];
} scene;

static int setup(void **state)
{
    scene *s = mvm__alloc(sizeof(*s));

    snprintf(s->dir, sizeof(s->dir), "/tmp/macvm-test-XXXXXX");
    if (!mkdtemp(s->dir))
        return -1;
    snprintf(s->path, sizeof(s->path), "%s/file", s->dir);
    s->lab = mvm_lab_new();
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    scene *s = *state;

    unlink(s->path);
    assert_int_equal(0, rmdir(s->dir));
    mvm__free(s);
    return 0;
}

static mvm_vm *with_disk(scene *s, const char *path)
{
    mvm_err err;
    mvm_vm *vm = mvm_vm_new(s->lab, "web", &err);
    mvm_record *disk = mvm_record_new(mvm_schema_find("disk"));

    set_str(disk, "path", path);
    set_int(disk, "size", 1 << 20);
    set_bool(disk, "create", true);
    assert_int_equal(0, mvm_vm_attach(vm, disk, &err));
    mvm_record_unref(disk);
    return vm;
}

/* Opening a pipe that nobody writes to would hold up the whole lab. */
static void test_pipe_is_no_image(void **state)
{
    scene *s = *state;
    mvm_err err;

    assert_int_equal(0, mvm_lab_backend(s->lab, "sim", &err));
    assert_int_equal(0, mkfifo(s->path, 0600));
    mvm_vm *vm = with_disk(s, s->path);
    assert_int_equal(MVM_ECONFIG, mvm_vm_check(vm, &err));
    assert_string_equal("devices[1].path", err.field);
    assert_non_null(strstr(err.message, "not a regular file"));
    mvm_vm_unref(vm);
    vm = mvm_vm_new(s->lab, "web", &err);
    set_str(sub_of(vm, "boot"), "kernel", s->path);
    assert_int_equal(MVM_ECONFIG, mvm_vm_check(vm, &err));
    assert_string_equal("boot.kernel", err.field);
    mvm_vm_unref(vm);
    assert_int_equal(0, mvm_lab_close(s->lab));
}

/* A process takes real time to end, whatever clock the lab has. */
static void test_close_in_virtual_time(void **state)
{
    scene *s = *state;
    ending end;
    mvm_err err;
    mvm_vm *vm = with_disk(s, s->path);

    set_str(mvm_vm_config(vm), "guest", "efi"); /* no guest image is needed */
    assert_int_equal(0, mvm_lab_backend(s->lab, "qemu", &err));
    bool missing = mvm_vm_check(vm, &err) == MVM_EUNSUPPORTED;
    if (!missing)
        assert_non_null(mvm_vm_start(vm, waiter_for(&end, -1), &err));
    mvm_loop_virtual_time(mvm_lab_loop(s->lab), true);
    mvm_vm_unref(vm);
    assert_int_equal(0, mvm_lab_close(s->lab));
    if (missing)
        skip();
    assert_int_equal(1, end.calls);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_pipe_is_no_image),
        TEST(test_close_in_virtual_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
