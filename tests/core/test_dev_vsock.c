/* SPDX-License-Identifier: MIT */
/* Socket devices: what QEMU is told of ours and of the kernel's, and which CIDs are claimed. The
 * kernel is played here: mvm__vhost_vsock_claim below stands for vhost_vsock.c. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/qemu/dev_internal.h"
#include "backend/qemu/vhost_vsock.h"
#include "mvm/vsock.h"
#include "support/sim_lab.h"

static int g_taken; /* so many claims find the CID in use */
static int g_error; /* then: this, or a descriptor */
static uint32_t g_asked[128];
static size_t g_nasked;

int mvm__vhost_vsock_claim(uint32_t cid)
{
    g_asked[g_nasked++] = cid;
    if (g_taken > 0) {
        g_taken--;
        return -EADDRINUSE;
    }
    return g_error ? -g_error : open("/dev/null", O_RDWR | O_CLOEXEC);
}

typedef struct scene {
    mvm_lab *lab;
    mvm_vm *vm;
    mvm__run run;
    mvm_record *vsock;
} scene;

static int setup(void **state)
{
    scene *s = mvm__alloc(sizeof(*s));
    mvm_err err;

    g_taken = g_error = 0;
    g_nasked = 0;
    s->lab = mvm_lab_new();
    assert_int_equal(0, mvm_lab_backend(s->lab, "sim", &err));
    s->vm = mvm_vm_new(s->lab, "web", &err);
    s->run.vm = s->vm;
    mvm__list_init(&s->run.devs);
    s->vsock = mvm_record_new(mvm_schema_find("vsock"));
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    scene *s = *state;

    while (s->run.nfds > 0)
        close(s->run.fds[--s->run.nfds]);
    mvm__devs_release(&s->run);
    mvm_record_unref(s->vsock);
    mvm_vm_unref(s->vm);
    assert_int_equal(0, mvm_lab_close(s->lab));
    mvm__free(s);
    return 0;
}

static void check_option(const mvm__dev *dev, size_t i, const char *option, const char *value)
{
    char *text = NULL;

    assert_string_equal(option, mvm_qemu_part_option(&dev->parts.items[i], &text));
    assert_string_equal(value, text);
    mvm__free(text);
}

static void test_own(void **state)
{
    scene *s = *state;
    mvm__dev *dev = mvm__dev_new(&s->run, s->vsock, false);
    mvm_err err;

    assert_int_equal(0, mvm__dev_prepare(dev, &err));
    assert_int_equal(3, mvm_vsock_cid(s->vm));
    assert_int_equal(2, dev->parts.n);
    char *value;
    assert_string_equal("-chardev", mvm_qemu_part_option(&dev->parts.items[0], &value));
    assert_ptr_equal(value, strstr(value, "socket,id=vsock0-socket,path="));
    mvm__free(value);
    check_option(dev, 1, "-device",
                 "vhost-user-vsock-pci,id=vsock0,disable-legacy=on,bus=hot,chardev=vsock0-socket");
    assert_int_equal(0, g_nasked);
}

static void test_kernel(void **state)
{
    scene *s = *state;
    mvm_err err;

    set_bool(s->vsock, "kernel", true);
    set_int(s->vsock, "cid", 77);
    mvm__dev *dev = mvm__dev_new(&s->run, s->vsock, false);
    assert_int_equal(0, mvm__dev_prepare(dev, &err));
    assert_int_equal(1, dev->parts.n);
    check_option(dev, 0, "-device",
                 "vhost-vsock-pci,id=vsock0,disable-legacy=on,bus=hot,guest-cid=77,vhostfd=6");
    assert_int_equal(1, s->run.nfds);
    assert_int_equal(77, mvm_vsock_cid(s->vm));
    mvm__dev_free(dev);
    assert_int_equal(0, mvm_vsock_cid(s->vm));
}

/* One that is plugged in gets its descriptor over QMP, under the device's name. */
static void test_kernel_plugged(void **state)
{
    scene *s = *state;
    mvm_err err;

    set_bool(s->vsock, "kernel", true);
    set_int(s->vsock, "cid", 78);
    mvm__dev *dev = mvm__dev_new(&s->run, s->vsock, true);
    snprintf(dev->bus, sizeof(dev->bus), "hot");
    assert_int_equal(0, mvm__dev_prepare(dev, &err));
    assert_true(dev->fd >= 0);
    check_option(dev, 0, "-device",
                 "vhost-vsock-pci,id=vsock0,disable-legacy=on,bus=hot,guest-cid=78,vhostfd=vsock0");
}

static void test_cids(void **state)
{
    scene *s = *state;
    mvm_err err;

    /* One of many, until one is free; never one that people write. */
    set_bool(s->vsock, "kernel", true);
    g_taken = 3;
    mvm__dev *dev = mvm__dev_new(&s->run, s->vsock, false);
    assert_int_equal(0, mvm__dev_prepare(dev, &err));
    assert_int_equal(4, g_nasked);
    assert_int_equal(g_asked[3], mvm_vsock_cid(s->vm));
    for (size_t i = 0; i < g_nasked; i++)
        assert_true(g_asked[i] >= 0x10000000u && g_asked[i] < 0x50000000u);
    assert_true(g_asked[0] != g_asked[1] || g_asked[1] != g_asked[2]);
    mvm__dev_free(dev);

    /* Not for ever; and the one that is asked for, or none. */
    g_taken = 1000;
    g_nasked = 0;
    dev = mvm__dev_new(&s->run, s->vsock, false);
    assert_int_equal(MVM_ECONFIG, mvm__dev_prepare(dev, &err));
    assert_int_equal(100, g_nasked);
    mvm__dev_free(dev);
    set_int(s->vsock, "cid", 79);
    dev = mvm__dev_new(&s->run, s->vsock, false);
    assert_int_equal(MVM_ECONFIG, mvm__dev_prepare(dev, &err));
    assert_string_equal("the CID 79 is in use on this host", err.message);
    assert_int_equal(101, g_nasked);
    mvm__dev_free(dev);

    g_taken = 0;
    g_error = EACCES;
    dev = mvm__dev_new(&s->run, s->vsock, false);
    assert_int_equal(MVM_EIO, mvm__dev_prepare(dev, &err));
    assert_string_equal("/dev/vhost-vsock: Permission denied", err.message);
    assert_int_equal(0, mvm_vsock_cid(s->vm));
}

static bool can_all(void)
{
    return access("/dev/vhost-vsock", R_OK | W_OK) == 0;
}

static void test_check(void **state)
{
    scene *s = *state;
    mvm_err err = {0};

    set_str(mvm_vm_config(s->vm), "backend", "qemu");
    assert_int_equal(0, mvm__dev_vsock.check(s->vm, s->vsock, "devices[1]", &err));
    set_bool(s->vsock, "kernel", true);
    set_int(s->vsock, "cid", 80);
    g_taken = 1;
    int rc = mvm__dev_vsock.check(s->vm, s->vsock, "devices[1]", &err);
    if (can_all()) {
        assert_int_equal(MVM_ECONFIG, rc);
        assert_string_equal("devices[1].cid", err.field);
        assert_int_equal(0, mvm__dev_vsock.check(s->vm, s->vsock, "devices[1]", &err));
    } else {
        assert_int_equal(MVM_EUNSUPPORTED, rc);
        assert_string_equal("devices[1].kernel", err.field);
        assert_non_null(strstr(err.message, "/dev/vhost-vsock"));
        assert_non_null(strstr(err.message, "modprobe vhost_vsock"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_own, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kernel, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kernel_plugged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cids, setup, teardown),
        cmocka_unit_test_setup_teardown(test_check, setup, teardown),
    };

    return cmocka_run_group_tests_name("dev_vsock", tests, NULL, NULL);
}
