/* SPDX-License-Identifier: MIT */
/* What QEMU is told of a disk, on its command line and over QMP, and what is made for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "backend/qemu/dev_internal.h"
#include "base/buf.h"
#include "support/sim_lab.h"

typedef struct scene {
    mvm_lab *lab;
    mvm_vm *vm;
    mvm__run run;
    mvm_record *disk;
    char dir[32], path[64];
} scene;

static int setup(void **state)
{
    scene *s = mvm__alloc(sizeof(*s));
    mvm_err err;

    snprintf(s->dir, sizeof(s->dir), "/tmp/macvm-test-XXXXXX");
    if (!mkdtemp(s->dir))
        return -1;
    snprintf(s->path, sizeof(s->path), "%s/a,b.img", s->dir);
    s->lab = mvm_lab_new();
    assert_int_equal(0, mvm_lab_backend(s->lab, "sim", &err));
    s->vm = mvm_vm_new(s->lab, "web", &err);
    set_str(mvm_vm_config(s->vm), "arch", "x86_64");
    s->run.vm = s->vm;
    mvm__list_init(&s->run.devs);
    s->disk = mvm_record_new(mvm_schema_find("disk"));
    set_str(s->disk, "path", s->path);
    set_int(s->disk, "size", 1 << 20);
    set_bool(s->disk, "create", true);
    assert_int_equal(0, mvm_vm_attach(s->vm, s->disk, &err));
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    scene *s = *state;

    mvm__devs_release(&s->run);
    mvm_record_unref(s->disk);
    mvm_vm_unref(s->vm);
    assert_int_equal(0, mvm_lab_close(s->lab));
    unlink(s->path);
    assert_int_equal(0, rmdir(s->dir));
    mvm__free(s);
    return 0;
}

static mvm__dev *make(scene *s, bool hot)
{
    mvm_err err;
    mvm__dev *dev = mvm__dev_new(&s->run, s->disk, hot);

    if (hot)
        memcpy(dev->bus, "hot7", 5);
    assert_int_equal(0, mvm__dev_prepare(dev, &err));
    return dev;
}

/* Every part, one a line; the test's directory as DIR, our own descriptor as FD. */
static void options(scene *s, const mvm__dev *dev, mvm__buf *out)
{
    char *at;

    for (size_t i = 0; i < dev->parts.n; i++) {
        char *value;
        const char *option = mvm_qemu_part_option(&dev->parts.items[i], &value);
        while ((at = strstr(value, s->dir)) != NULL) {
            memcpy(at, "DIR", 3);
            memmove(at + 3, at + strlen(s->dir), strlen(at + strlen(s->dir)) + 1);
        }
        at = strstr(value, "/proc/");
        if (at) {
            char *end = at + strcspn(at, ",");
            memcpy(at, "FD", 2);
            memmove(at + 2, end, strlen(end) + 1);
        }
        mvm__buf_printf(out, "%s %s\n", option, value);
        mvm__free(value);
    }
}

static void expect(scene *s, const char *text)
{
    mvm__buf out = {0};

    options(s, make(s, false), &out);
    assert_string_equal(text, mvm__buf_str(&out));
    mvm__buf_free(&out);
}

static void test_raw(void **state)
{
    struct stat st;
    scene *s = *state;

    expect(
        s,
        "-blockdev driver=raw,node-name=disk0-image,read-only=off,discard=unmap,"
        "file.driver=file,file.locking=auto,file.filename=DIR/a,,b.img,"
        "cache.direct=off,cache.no-flush=off\n"
        "-device virtio-blk-pci,id=disk0,disable-legacy=on,bus=hot,drive=disk0-image,serial=disk1,"
        "werror=report,rerror=report\n");
    assert_int_equal(0, stat(s->path, &st));
    assert_int_equal(1 << 20, st.st_size);
}

static void test_every_mode(void **state)
{
    static const struct {
        const char *cache, *sync, *words;
    } modes[] = {
        {"automatic", "full", "cache.direct=off,cache.no-flush=off"},
        {"cached", "fsync", "cache.direct=off,cache.no-flush=off"},
        {"uncached", "fsync", "cache.direct=on,cache.no-flush=off"},
        {"automatic", "none", "cache.direct=off,cache.no-flush=on"},
        {"uncached", "none", "cache.direct=on,cache.no-flush=on"},
    };
    scene *s = *state;

    for (size_t i = 0; i < MVM_COUNT(modes); i++) {
        mvm__buf out = {0};
        set_str(s->disk, "cache", modes[i].cache);
        set_str(s->disk, "sync", modes[i].sync);
        options(s, make(s, false), &out);
        assert_non_null(strstr(mvm__buf_str(&out), modes[i].words));
        mvm__buf_free(&out);
        mvm__devs_release(&s->run);
    }
}

static void test_readonly_with_id(void **state)
{
    scene *s = *state;

    set_bool(s->disk, "readonly", true);
    set_bool(s->disk, "ephemeral", true); /* there is nothing to throw away */
    set_str(s->disk, "id", "a-serial-number-of20");
    set_str(s->disk, "format", "qcow2");
    expect(s, "-blockdev driver=qcow2,node-name=disk0-image,read-only=on,discard=unmap,"
              "file.driver=file,file.locking=auto,file.filename=DIR/a,,b.img,"
              "cache.direct=off,cache.no-flush=off\n"
              "-device virtio-blk-pci,id=disk0,disable-legacy=on,bus=hot,drive=disk0-image,"
              "serial=a-serial-number-of20,werror=report,rerror=report\n");
}

static void test_ephemeral(void **state)
{
    scene *s = *state;
    struct stat st;

    set_bool(s->disk, "ephemeral", true);
    set_str(s->disk, "cache", "uncached");
    expect(
        s,
        "-blockdev driver=raw,node-name=disk0-base,read-only=on,discard=unmap,"
        "file.driver=file,file.locking=auto,file.filename=DIR/a,,b.img,"
        "cache.direct=on,cache.no-flush=off\n"
        "-blockdev driver=qcow2,node-name=disk0-image,read-only=off,discard=unmap,"
        "file.driver=file,file.locking=auto,file.filename=FD,cache.no-flush=on,"
        "backing=disk0-base\n"
        "-device virtio-blk-pci,id=disk0,disable-legacy=on,bus=hot,drive=disk0-image,serial=disk1,"
        "werror=report,rerror=report\n");
    /* A larger `size` is the overlay's alone. */
    mvm__devs_release(&s->run);
    set_int(s->disk, "size", 2 << 20);
    (void)make(s, false);
    assert_int_equal(0, stat(s->path, &st));
    assert_int_equal(1 << 20, st.st_size);
}

static void test_plugged_in(void **state)
{
    scene *s = *state;
    mvm__dev *dev = make(s, true);
    const char *command, *argument;

    assert_int_equal(2, dev->parts.n);
    json_t *node = mvm_qemu_part_json(&dev->parts.items[0], &command);
    assert_string_equal("blockdev-add", command);
    json_t *file = json_object_get(node, "file");
    assert_string_equal(s->path, json_string_value(json_object_get(file, "filename")));
    assert_true(json_is_false(json_object_get(json_object_get(node, "cache"), "no-flush")));
    json_decref(node);
    json_t *device = mvm_qemu_part_json(&dev->parts.items[1], &command);
    assert_string_equal("device_add", command);
    assert_string_equal("hot7", json_string_value(json_object_get(device, "bus")));
    json_decref(device);
    assert_string_equal("blockdev-del", mvm_qemu_part_undo(&dev->parts.items[0], &argument));
    assert_string_equal("node-name", argument);
}

static void test_grown_at_start(void **state)
{
    scene *s = *state;
    struct stat st;

    (void)make(s, false);
    mvm__devs_release(&s->run);
    set_int(s->disk, "size", 3 << 20);
    (void)make(s, false);
    assert_int_equal(0, stat(s->path, &st));
    assert_int_equal(3 << 20, st.st_size);
}

static void test_no_image_to_be_had(void **state)
{
    scene *s = *state;
    mvm_err err;

    set_str(s->disk, "path", "/no/such/dir/a.img");
    mvm__dev *dev = mvm__dev_new(&s->run, s->disk, false);
    assert_int_equal(MVM_EIO, mvm__dev_prepare(dev, &err));
    assert_string_equal("devices[1].path", err.field);
    assert_non_null(strstr(err.message, "/no/such/dir/a.img"));
}

/* Words of QEMU that are not about this disk's lock are left alone. */
static void test_words_of_a_lock(void **state)
{
    scene *s = *state;
    mvm__dev *dev = make(s, false);
    char words[256];
    mvm_err err;

    assert_false(mvm__disk_locked(dev, "Failed to get shared \"write\" lock", &err));
    assert_false(mvm__disk_locked(dev, "no space left on device", &err));
    snprintf(words, sizeof(words),
             "Failed to get \"write\" lock; Is another process using the image [%s]?", s->path);
    assert_true(mvm__disk_locked(dev, words, &err));
    assert_int_equal(MVM_ECONFIG, err.code);
    assert_string_equal("devices[1].path", err.field);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_raw, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_mode, setup, teardown),
        cmocka_unit_test_setup_teardown(test_readonly_with_id, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ephemeral, setup, teardown),
        cmocka_unit_test_setup_teardown(test_plugged_in, setup, teardown),
        cmocka_unit_test_setup_teardown(test_grown_at_start, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_image_to_be_had, setup, teardown),
        cmocka_unit_test_setup_teardown(test_words_of_a_lock, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
