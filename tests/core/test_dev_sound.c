/* SPDX-License-Identifier: MIT */
/* Sound: what QEMU is told of it, what is refused before QEMU could fail silently, and the lengths
 * in the file of a machine that was killed. */
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
#include "support/sim_lab.h"

typedef struct scene {
    mvm_lab *lab;
    mvm_vm *vm;
    mvm__run run;
    mvm_record *sound;
    char dir[32], path[64];
} scene;

static int setup(void **state)
{
    scene *s = mvm__alloc(sizeof(*s));
    mvm_err err;

    snprintf(s->dir, sizeof(s->dir), "/tmp/macvm-test-XXXXXX");
    if (!mkdtemp(s->dir))
        return -1;
    snprintf(s->path, sizeof(s->path), "%s/a,b.wav", s->dir);
    s->lab = mvm_lab_new();
    assert_int_equal(0, mvm_lab_backend(s->lab, "sim", &err));
    s->vm = mvm_vm_new(s->lab, "web", &err);
    set_str(mvm_vm_config(s->vm), "arch", "x86_64");
    s->run.vm = s->vm;
    mvm__list_init(&s->run.devs);
    s->sound = mvm_record_new(mvm_schema_find("sound"));
    set_str(s->sound, "file", s->path);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    scene *s = *state;

    mvm__devs_release(&s->run);
    mvm_record_unref(s->sound);
    mvm_vm_unref(s->vm);
    assert_int_equal(0, mvm_lab_close(s->lab));
    unlink(s->path);
    assert_int_equal(0, rmdir(s->dir));
    mvm__free(s);
    return 0;
}

static void test_parts(void **state)
{
    scene *s = *state;
    mvm__dev *dev = mvm__dev_new(&s->run, s->sound, false);
    char *value;
    mvm_err err;

    assert_int_equal(0, mvm__dev_prepare(dev, &err));
    assert_int_equal(2, dev->parts.n);
    assert_string_equal("-audiodev", mvm_qemu_part_option(&dev->parts.items[0], &value));
    MVM_AUTO_FREE char *expected = mvm__asprintf("wav,id=sound0-audio,path=%s/a,,b.wav", s->dir);
    assert_string_equal(expected, value);
    mvm__free(value);
    assert_string_equal("-device", mvm_qemu_part_option(&dev->parts.items[1], &value));
    assert_string_equal(
        "virtio-sound-pci,id=sound0,disable-legacy=on,audiodev=sound0-audio,streams=1", value);
    mvm__free(value);
}

static void refused(scene *s, int code, const char *field)
{
    mvm_err err = {0};

    assert_int_equal(code, mvm__dev_sound.check(s->vm, s->sound, "devices[1]", &err));
    assert_string_equal(field, err.field);
}

static void test_checks(void **state)
{
    scene *s = *state;
    mvm_err err;

    assert_int_equal(0, mvm__dev_sound.check(s->vm, s->sound, "devices[1]", &err));
    set_bool(s->sound, "input", true);
    refused(s, MVM_ECONFIG, "devices[1].input");
    set_bool(s->sound, "output", false);
    refused(s, MVM_EUNSUPPORTED, "devices[1].output");
    set_bool(s->sound, "input", false);
    refused(s, MVM_ECONFIG, "devices[1].output");
    set_bool(s->sound, "output", true);
    set_str(s->sound, "file", s->dir);
    refused(s, MVM_ECONFIG, "devices[1].file");
    set_str(s->sound, "file", "/nowhere/at/all.wav");
    refused(s, MVM_ECONFIG, "devices[1].file");
}

static void write_file(const scene *s, const char *data, size_t len)
{
    FILE *f = fopen(s->path, "w");

    assert_non_null(f);
    assert_int_equal(len, fwrite(data, 1, len, f));
    assert_int_equal(0, fclose(f));
}

/* The same file after a run that ended. */
static void read_after(scene *s, char *data, size_t len)
{
    mvm__dev *dev = mvm__dev_new(&s->run, s->sound, false);

    mvm__dev_free(dev);
    FILE *f = fopen(s->path, "r");
    assert_non_null(f);
    assert_int_equal(len, fread(data, 1, len, f));
    assert_int_equal(EOF, fgetc(f));
    fclose(f);
}

static void test_lengths_of_an_unfinished_file(void **state)
{
    scene *s = *state;
    char head[44 + 300] = "RIFF\0\0\0\0WAVEfmt ", got[sizeof(head)], wanted[sizeof(head)];

    memcpy(head + 36, "data\0\0\0\0", 8);
    memcpy(wanted, head, sizeof(head));
    memcpy(wanted + 4, "\x50\x01\0\0", 4);  /* 336 */
    memcpy(wanted + 40, "\x2c\x01\0\0", 4); /* 300 */
    write_file(s, head, sizeof(head));
    read_after(s, got, sizeof(got));
    assert_memory_equal(wanted, got, sizeof(got));
    read_after(s, got, sizeof(got)); /* one that has them keeps them */
    assert_memory_equal(wanted, got, sizeof(got));
}

static void test_other_files_are_left_alone(void **state)
{
    scene *s = *state;
    char text[100], got[100];

    for (size_t len = 0; len <= sizeof(text); len += 50) {
        memset(text, 'x', sizeof(text));
        write_file(s, text, len);
        read_after(s, got, len);
        assert_memory_equal(text, got, len);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_parts),
        TEST(test_checks),
        TEST(test_lengths_of_an_unfinished_file),
        TEST(test_other_files_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
