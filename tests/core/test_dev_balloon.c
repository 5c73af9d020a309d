/* SPDX-License-Identifier: MIT */
/* The balloon and the random number device: what QEMU is told, and what its events become. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <jansson.h>

#include "backend/qemu/dev_internal.h"
#include "support/sim_lab.h"

typedef struct scene {
    mvm_lab *lab;
    mvm_vm *vm;
    mvm__run run;
    mvm_sub *sub;
    int64_t seen; /* bytes of the last "balloon" event */
    int events;
} scene;

static void on_balloon(void *ud, mvm_vm *vm, const mvm_event *event)
{
    scene *s = ud;

    (void)vm;
    s->seen = event->args[0].as.integer;
    s->events++;
}

static int setup(void **state)
{
    scene *s = mvm__alloc(sizeof(*s));
    mvm_err err;

    s->lab = sim_lab_new();
    s->vm = mvm_vm_new(s->lab, "web", &err);
    s->sub = mvm_vm_subscribe(s->vm, "balloon", on_balloon, s, &err);
    assert_non_null(s->sub);
    s->run.vm = s->vm;
    mvm__list_init(&s->run.devs);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    scene *s = *state;

    mvm_sub_cancel(s->sub);
    mvm__devs_release(&s->run);
    mvm_vm_unref(s->vm);
    assert_int_equal(0, mvm_lab_close(s->lab));
    mvm__free(s);
    return 0;
}

static mvm__dev *make(scene *s, const char *kind, const char *field, const mvm_value *value)
{
    mvm_record *record = mvm_record_new(mvm_schema_find(kind));

    if (field)
        assert_int_equal(0, mvm_record_set(record, field, value, NULL));
    mvm__dev *dev = mvm__dev_new(&s->run, record, false);
    mvm_record_unref(record);
    assert_int_equal(0, mvm__dev_prepare(dev, NULL));
    return dev;
}

static void check_last(const mvm__dev *dev, const char *value)
{
    char *text = NULL;

    assert_string_equal("-device",
                        mvm_qemu_part_option(&dev->parts.items[dev->parts.n - 1], &text));
    assert_string_equal(value, text);
    mvm__free(text);
}

static void test_parts(void **state)
{
    const mvm_value no = {.type = MVM_T_BOOL, .as.boolean = false};
    const mvm_value rate = {.type = MVM_T_INT, .as.integer = 4096};

    check_last(make(*state, "balloon", NULL, NULL),
               "virtio-balloon-pci,id=balloon0,disable-legacy=on,bus=hot,deflate-on-oom=on,"
               "free-page-reporting=on,guest-stats-polling-interval=2");
    check_last(make(*state, "balloon", "reporting", &no),
               "virtio-balloon-pci,id=balloon1,disable-legacy=on,bus=hot,deflate-on-oom=on,"
               "free-page-reporting=off,guest-stats-polling-interval=2");
    check_last(make(*state, "entropy", NULL, NULL),
               "virtio-rng-pci,id=entropy2,disable-legacy=on,bus=hot,rng=entropy2-source");
    check_last(
        make(*state, "entropy", "rate", &rate),
        "virtio-rng-pci,id=entropy3,disable-legacy=on,bus=hot,rng=entropy3-source,max-bytes=4096,"
        "period=1000");
}

static void tell(scene *s, const char *name, const char *json)
{
    json_t *data = json_loads(json, 0, NULL);

    mvm__devs_event(&s->run, name, data);
    json_decref(data);
    mvm_loop_step(mvm_lab_loop(s->lab), false);
}

static void test_events(void **state)
{
    scene *s = *state;

    make(s, "balloon", NULL, NULL);
    tell(s, "BALLOON_CHANGE", "{\"actual\": 134217728}");
    assert_int_equal(134217728, s->seen);
    tell(s, "BALLOON_CHANGE", "{\"actual\": 134217728}");
    assert_int_equal(1, s->events);
    tell(s, "BALLOON_CHANGE", "{\"actual\": -5}");
    tell(s, "BALLOON_CHANGE", "{\"actual\": \"much\"}");
    tell(s, "BALLOON_CHANGE", "{}");
    tell(s, "OTHER", "{\"actual\": 1}");
    assert_int_equal(1, s->events);
    tell(s, "BALLOON_CHANGE", "{\"actual\": 4096}");
    assert_int_equal(4096, s->seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_events, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
