/* SPDX-License-Identifier: MIT */
/* Consoles and the clipboard: what QEMU is told of them, and how many there may be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/dev_scene.h"

/* A further device of the machine; the machine keeps it. */
static mvm_record *attach(scene *s, const char *kind, const char *type)
{
    mvm_record *record = mvm_record_new(mvm_schema_find(kind));

    if (type)
        set_str(record, "type", type);
    assert_int_equal(0, mvm_vm_attach(s->vm, record, NULL));
    mvm_record_unref(record);
    return record;
}

/* Two parts: the socket, which is there, and the device. */
static void expect_parts(scene *s, mvm_record *record, const char *device)
{
    mvm__dev *dev = mvm__dev_new(&s->run, record, false);
    char *value, path[64];
    mvm_err err;

    assert_int_equal(0, mvm__dev_prepare(dev, &err));
    assert_int_equal(2, dev->parts.n);
    assert_string_equal("-chardev", mvm_qemu_part_option(&dev->parts.items[0], &value));
    MVM_AUTO_FREE char *socket = value;
    const char *at = strstr(socket, "path=");
    assert_non_null(at);
    assert_int_equal(1, sscanf(at, "path=%63[^,]", path));
    MVM_AUTO_FREE char *whole = mvm__asprintf("%s/%s", mvm_lab_dir(s->lab, &err), path);
    assert_int_equal(0, access(whole, F_OK));
    assert_string_equal("-device", mvm_qemu_part_option(&dev->parts.items[1], &value));
    MVM_AUTO_FREE char *option = value;
    assert_string_equal(device, option);
    mvm__dev_free(dev);
    assert_int_equal(-1, access(whole, F_OK));
}

static void test_parts(void **state)
{
    scene *s = *state;
    mvm_record *hvc = attach(s, "console", "hvc");
    mvm_record *first = attach(s, "console", "serial"), *second = attach(s, "console", "serial");
    mvm__dev *dev = mvm__dev_new(&s->run, first, false);
    mvm_err err;

    assert_int_equal(0, mvm__dev_prepare(dev, &err));
    assert_int_equal(0, dev->parts.n); /* every machine has it */
    mvm__dev_free(dev);
    expect_parts(s, hvc, "virtconsole,id=console1,chardev=console1-socket,bus=ports.0");
    expect_parts(s, second, "isa-serial,id=console2,chardev=console2-socket,index=1");
    expect_parts(s, attach(s, "clipboard", NULL),
                 "virtserialport,id=clipboard3,chardev=clipboard3-socket,bus=ports.0,"
                 "name=com.redhat.spice.0");
}

static void test_how_many(void **state)
{
    static const struct {
        const char *type;
        int most;
    } cases[] = {{"hvc", 6}, {"serial", 4}};
    scene *s = *state;
    mvm_err err;

    for (size_t i = 0; i < MVM_COUNT(cases); i++) {
        for (int n = 1; n <= cases[i].most + 1; n++) {
            const mvm_record *record = attach(s, "console", cases[i].type);
            int rc = mvm__dev_console.check(s->vm, record, "devices[1]", &err);
            assert_int_equal(n > cases[i].most ? MVM_ECONFIG : 0, rc);
        }
        assert_string_equal("devices[1].type", err.field);
    }
}

static void test_other_architecture(void **state)
{
    scene *s = *state;
    mvm_err err;

    set_str(mvm_vm_config(s->vm), "arch", "aarch64");
    const mvm_record *first = attach(s, "console", "serial");
    const mvm_record *second = attach(s, "console", "serial");
    assert_int_equal(0, mvm__dev_console.check(s->vm, first, "devices[1]", &err));
    assert_int_equal(MVM_EUNSUPPORTED, mvm__dev_console.check(s->vm, second, "devices[2]", &err));
    assert_non_null(strstr(err.hint, "hvc"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {T(test_parts), T(test_how_many), T(test_other_architecture)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
