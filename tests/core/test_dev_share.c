/* SPDX-License-Identifier: MIT */
/* What QEMU is told of a share, which driver is chosen, and a server that ends. The virtiofsd here
 * is a script that waits. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "backend/qemu/dev_internal.h"
#include "base/buf.h"
#include "support/sim_lab.h"

typedef struct scene {
    mvm_lab *lab;
    mvm_vm *vm;
    mvm__run run;
    mvm_record *share;
    mvm_sub *sub;
    char dir[32], program[64], path[64];
    char *saved_path;
    char heard[1024]; /* the last "error" event */
} scene;

static void on_error(void *ud, mvm_vm *vm, const mvm_event *event)
{
    scene *s = ud;

    (void)vm;
    snprintf(s->heard, sizeof(s->heard), "%s", event->err->message);
}

static void put_program(const scene *s)
{
    FILE *f = fopen(s->program, "we");

    assert_non_null(f);
    fprintf(f, "#!/bin/sh\n[ \"$1\" != --help ] || { echo --shared-dir --readonly; exit 0; }\n"
               "exec sleep 1000\n");
    assert_int_equal(0, fclose(f));
    assert_int_equal(0, chmod(s->program, 0755));
}

static int setup(void **state)
{
    scene *s = mvm__alloc(sizeof(*s));
    mvm_err err;

    snprintf(s->dir, sizeof(s->dir), "/tmp/macvm-test-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->program, sizeof(s->program), "%s/virtiofsd", s->dir);
    snprintf(s->path, sizeof(s->path), "%s/a,b", s->dir);
    assert_int_equal(0, mkdir(s->path, 0700));
    s->saved_path = mvm__strdup(getenv("PATH"));
    MVM_AUTO_FREE char *path = mvm__asprintf("%s:%s", s->dir, s->saved_path);
    setenv("PATH", path, 1);
    put_program(s);
    s->lab = mvm_lab_new();
    assert_int_equal(0, mvm_lab_backend(s->lab, "sim", &err));
    s->vm = mvm_vm_new(s->lab, "web", &err);
    set_str(mvm_vm_config(s->vm), "arch", "x86_64");
    s->sub = mvm_vm_subscribe(s->vm, "error", on_error, s, &err);
    assert_non_null(s->sub);
    s->run.vm = s->vm;
    mvm__list_init(&s->run.devs);
    s->share = mvm_record_new(mvm_schema_find("share"));
    set_str(s->share, "tag", "a,b");
    set_str(s->share, "path", s->path);
    assert_int_equal(0, mvm_vm_attach(s->vm, s->share, &err));
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    scene *s = *state;

    mvm_sub_cancel(s->sub);
    mvm__devs_release(&s->run);
    mvm_record_unref(s->share);
    mvm_vm_unref(s->vm);
    assert_int_equal(0, mvm_lab_close(s->lab));
    setenv("PATH", s->saved_path, 1);
    unlink(s->program);
    rmdir(s->path);
    assert_int_equal(0, rmdir(s->dir));
    mvm__free(s->saved_path);
    mvm__free(s);
    return 0;
}

static mvm__dev *make(scene *s, bool hot)
{
    mvm_err err;
    mvm__dev *dev = mvm__dev_new(&s->run, s->share, hot);

    if (hot)
        memcpy(dev->bus, "hot7", 5);
    assert_int_equal(0, mvm__dev_prepare(dev, &err));
    return dev;
}

/* Every part, one a line; the test's directory as DIR, and the socket's name as SOCKET. */
static void check(const scene *s, const mvm__dev *dev, const char *expected)
{
    mvm__buf out = {0};

    for (size_t i = 0; i < dev->parts.n; i++) {
        char *value, *at;
        const char *option = mvm_qemu_part_option(&dev->parts.items[i], &value);
        mvm__buf_printf(&out, "%s ", option);
        if ((at = strstr(value, s->dir)) != NULL)
            mvm__buf_printf(&out, "%.*sDIR%s\n", (int)(at - value), value, at + strlen(s->dir));
        else if ((at = strstr(value, "path=")) != NULL)
            mvm__buf_printf(&out, "%.*spath=SOCKET\n", (int)(at - value), value);
        else
            mvm__buf_printf(&out, "%s\n", value);
        mvm__free(value);
    }
    assert_string_equal(expected, mvm__buf_str(&out));
    mvm__buf_free(&out);
}

static void test_virtiofs(void **state)
{
    scene *s = *state;
    mvm__dev *dev = make(s, false);

    check(s, dev,
          "-chardev socket,id=share0-socket,path=SOCKET\n"
          "-device vhost-user-fs-pci,id=share0,bus=hot,chardev=share0-socket,tag=a,,b,"
          "queue-size=1024\n");
}

static void test_plugged_in(void **state)
{
    scene *s = *state;

    check(s, make(s, true),
          "-chardev socket,id=share0-socket,path=SOCKET\n"
          "-device vhost-user-fs-pci,id=share0,bus=hot7,chardev=share0-socket,tag=a,,b,"
          "queue-size=1024\n");
}

static void test_9p(void **state)
{
    scene *s = *state;
    mvm_err err;

    set_str(s->share, "driver", "9p");
    set_bool(s->share, "readonly", true);
    check(s, make(s, false),
          "-fsdev local,id=share0-files,path=DIR/a,,b,security_model=none,multidevs=remap,"
          "readonly=on\n"
          "-device "
          "virtio-9p-pci,id=share0,disable-legacy=on,bus=hot,fsdev=share0-files,mount_tag=a,,b\n");
    mvm__devs_release(&s->run);

    mvm__dev *dev = mvm__dev_new(&s->run, s->share, true);
    assert_int_equal(MVM_EUNSUPPORTED, mvm__dev_prepare(dev, &err));
    assert_string_equal("share \"a,b\": QEMU can't be given a 9p share while the machine runs",
                        err.message);
}

/* "auto" takes what there is; "virtiofs" insists. */
static void test_a_virtiofsd_that_is_none(void **state)
{
    scene *s = *state;
    mvm_err err;
    FILE *f = fopen(s->program, "we");

    assert_non_null(f);
    fprintf(f, "#!/bin/sh\n# another\necho no help\n");
    assert_int_equal(0, fclose(f));
    MVM_AUTO_FREE char *other = mvm__asprintf("%s/other", s->dir); /* what is known goes by path */
    assert_int_equal(0, mkdir(other, 0700));
    MVM_AUTO_FREE char *program = mvm__asprintf("%s/virtiofsd", other);
    assert_int_equal(0, rename(s->program, program));
    setenv("PATH", other, 1);
    assert_int_equal(2, make(s, false)->parts.n);
    assert_int_equal(MVM_QEMU_FSDEV, make(s, false)->parts.items[0].kind);
    set_str(s->share, "driver", "virtiofs");
    mvm__dev *dev = mvm__dev_new(&s->run, s->share, false);
    assert_int_equal(MVM_EUNSUPPORTED, mvm__dev_prepare(dev, &err));
    assert_non_null(strstr(err.message, "is not a virtiofsd that macvm knows"));
    unlink(program);
    rmdir(other);
}

static void on_late(void *ud)
{
    *(bool *)ud = true;
}

/* Steps until something was heard, or for so many seconds. */
static void wait_for_event(scene *s, double seconds)
{
    bool late = false;
    mvm_timer *timer = mvm_timer_start(mvm_lab_loop(s->lab), seconds, on_late, &late);

    while (!late && !s->heard[0])
        mvm_loop_step(mvm_lab_loop(s->lab), true);
    if (!late)
        mvm_timer_cancel(timer);
}

static void kill_server(const scene *s)
{
    MVM_AUTO_FREE char *command = mvm__asprintf("pkill -KILL -P %d -x sleep", (int)getpid());

    (void)s;
    assert_int_equal(0, system(command));
}

static void test_server_lost(void **state)
{
    scene *s = *state;

    (void)make(s, false);
    kill_server(s);
    wait_for_event(s, 20);
    assert_non_null(strstr(s->heard, "share a,b: virtiofsd was killed by signal 9"));
}

/* Then its end is QEMU's, who tells of it. */
static void test_server_ends_with_qemu(void **state)
{
    scene *s = *state;

    (void)make(s, false);
    snprintf(s->run.ended, sizeof(s->run.ended), "guest-shutdown");
    kill_server(s);
    wait_for_event(s, 0.6);
    assert_string_equal("", s->heard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_virtiofs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_plugged_in, setup, teardown),
        cmocka_unit_test_setup_teardown(test_9p, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_virtiofsd_that_is_none, setup, teardown),
        cmocka_unit_test_setup_teardown(test_server_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(test_server_ends_with_qemu, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
