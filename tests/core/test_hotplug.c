/* SPDX-License-Identifier: MIT */
/* Plugging in and out over QMP, with a QEMU that answers late, in another order, or lies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/qemu/dev_internal.h"
#include "support/sim_lab.h"
#include "vm/job.h"

#define GREETING "{\"QMP\":{\"version\":{\"qemu\":{\"major\":8,\"minor\":2,\"micro\":0}}}}\n"
#define AGREED   "{\"return\":{},\"id\":0}\n"
#define DELETED  "{\"event\":\"DEVICE_DELETED\",\"data\":{\"device\":\"%s\"}}\n"

typedef struct scene {
    mvm_lab *lab;
    mvm_vm *vm;
    mvm__run run;
    int peer;
    ending end;
    mvm_sub *sub;
    int errors; /* "error" events */
} scene;

static void on_error(void *ud, mvm_vm *vm, const mvm_event *event)
{
    scene *s = ud;

    (void)vm;
    assert_int_equal(MVM_EGUEST, event->err->code);
    s->errors++;
}

static void on_ready(void *ud, const char *version)
{
    (void)ud;
    (void)version;
}

static void on_event(void *ud, const char *name, const mvm_qmp_value *data)
{
    scene *s = ud;

    mvm__hotplug_event(&s->run, name, data);
}

static void on_dead(void *ud, const mvm_err *err)
{
    (void)ud;
    assert_int_equal(MVM_EIO, err->code);
}

static const mvm__qmp_ops g_ops = {on_ready, on_event, on_dead};

static void turn(scene *s)
{
    for (int i = 0; i < 6; i++)
        mvm_loop_step(mvm_lab_loop(s->lab), false);
}

static void say(scene *s, const char *text)
{
    assert_int_equal(strlen(text), write(s->peer, text, strlen(text)));
    turn(s);
}

static void say_deleted(scene *s, const char *id)
{
    char text[128];

    snprintf(text, sizeof(text), DELETED, id);
    say(s, text);
}

static int setup(void **state)
{
    scene *s = mvm__alloc(sizeof(*s));
    int pair[2];
    mvm_err err;

    s->lab = sim_lab_new();
    s->vm = mvm_vm_new(s->lab, "web", &err);
    s->sub = mvm_vm_subscribe(s->vm, "error", on_error, s, &err);
    assert_non_null(s->sub);
    s->run.vm = s->vm;
    mvm__list_init(&s->run.devs);
    mvm__vm_set_data(s->vm, &s->run);
    assert_int_equal(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    s->peer = pair[1];
    s->run.qmp = mvm__qmp_open(mvm_lab_loop(s->lab), pair[0], 30, &g_ops, s);
    say(s, GREETING);
    say(s, AGREED);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    scene *s = *state;

    mvm_sub_cancel(s->sub);
    mvm__qmp_close(s->run.qmp);
    mvm__devs_release(&s->run);
    if (s->peer >= 0)
        close(s->peer);
    mvm__vm_set_data(s->vm, NULL);
    mvm_vm_unref(s->vm);
    assert_int_equal(0, mvm_lab_close(s->lab));
    mvm__free(s);
    return 0;
}

/* A device that is there from the start, where it can go. */
static mvm__dev *have(scene *s, const char *kind)
{
    mvm_record *record = mvm_record_new(mvm_schema_find(kind));

    assert_int_equal(0, mvm_record_append(mvm_vm_config(s->vm), "devices", record, NULL));
    mvm__dev *dev = mvm__dev_new(&s->run, record, false);
    mvm_record_unref(record);
    assert_int_equal(0, mvm__dev_prepare(dev, NULL));
    snprintf(dev->bus, sizeof(dev->bus), "hot");
    return dev;
}

static mvm__job *job_for(scene *s, const mvm__dev *dev)
{
    return mvm__job_new(s->vm, dev->record, waiter_for(&s->end, 10), "it");
}

static void unplug(scene *s, const mvm__dev *dev)
{
    assert_int_equal(0, mvm__hotplug_unplug(s->vm, dev->record, job_for(s, dev), NULL));
}

static void check_end(const scene *s, int code)
{
    assert_int_equal(1, s->end.calls);
    assert_int_equal(code, s->end.err.code);
}

/* It has one part, so nothing is left to do when the guest has let go of it. */
static void test_event_before_the_answer(void **state)
{
    scene *s = *state;

    unplug(s, have(s, "balloon"));
    say_deleted(s, "balloon0");
    assert_int_equal(0, s->end.calls);
    say(s, "{\"return\":{},\"id\":1}\n");
    check_end(s, 0);
    assert_true(mvm__list_empty(&s->run.devs));
    say_deleted(s, "balloon0");
    assert_int_equal(1, s->end.calls);
}

static void test_event_before_a_refusal(void **state)
{
    scene *s = *state;

    unplug(s, have(s, "balloon"));
    say_deleted(s, "balloon0");
    say(s, "{\"error\":{\"class\":\"DeviceNotFound\",\"desc\":\"gone\"},\"id\":1}\n");
    check_end(s, 0);
    assert_true(mvm__list_empty(&s->run.devs));
}

static void test_event_before_the_end(void **state)
{
    scene *s = *state;

    unplug(s, have(s, "balloon"));
    say_deleted(s, "balloon0");
    close(s->peer);
    s->peer = -1;
    turn(s);
    check_end(s, 0);
}

static void test_the_end_before_the_answer(void **state)
{
    scene *s = *state;

    unplug(s, have(s, "balloon"));
    close(s->peer);
    s->peer = -1;
    turn(s);
    check_end(s, MVM_ESTATE);
    assert_string_equal("the machine went down first", s->end.err.message);
}

/* Who gave up is not told of it again, who asks anew is. */
static void test_asked_anew(void **state)
{
    static const char busy[] =
        "{\"error\":{\"class\":\"GenericError\",\"desc\":"
        "\"Device balloon0 is already in the process of unplug\"},\"id\":2}\n";
    scene *s = *state;
    const mvm__dev *dev = have(s, "balloon");
    ending first;

    mvm__job *job = mvm__job_new(s->vm, dev->record, waiter_for(&first, 10), "it");
    mvm_wait *wait = job->wait;
    assert_int_equal(0, mvm__hotplug_unplug(s->vm, dev->record, job, NULL));
    say(s, "{\"return\":{},\"id\":1}\n");
    mvm__job *other = job_for(s, dev);
    assert_int_equal(MVM_ESTATE, mvm__hotplug_unplug(s->vm, dev->record, other, NULL));
    mvm__job_abandon(other);
    mvm_wait_cancel(wait);
    turn(s);
    assert_int_equal(MVM_ECANCELLED, first.err.code);
    unplug(s, dev);
    say(s, busy);
    assert_int_equal(0, s->end.calls);
    say_deleted(s, "balloon0");
    check_end(s, 0);
    assert_int_equal(1, first.calls);
}

static void test_unasked(void **state)
{
    scene *s = *state;

    have(s, "net");
    const mvm__dev *second = have(s, "net");
    assert_string_equal("net2", second->name);
    say_deleted(s, "net0");
    assert_int_equal(0, s->errors);
    say(s, "{\"return\":{},\"id\":1}\n"); /* of netdev_del */
    assert_int_equal(1, s->errors);
    assert_ptr_equal(second->record, mvm_record_item(mvm_vm_config(s->vm), "devices", 0));
    assert_null(mvm_record_item(mvm_vm_config(s->vm), "devices", 1));
    assert_string_equal("net1", second->name);
}

/* The serial console is not a device of QEMU's that could go. */
static void test_what_never_was_there(void **state)
{
    scene *s = *state;

    have(s, "console");
    say_deleted(s, "console0");
    assert_int_equal(0, s->errors);
    assert_false(mvm__list_empty(&s->run.devs));
}

static void test_deleted_while_it_comes(void **state)
{
    scene *s = *state;
    mvm_record *record = mvm_record_new(mvm_schema_find("balloon"));

    mvm__job *job = mvm__job_new(s->vm, record, waiter_for(&s->end, 10), "it");
    assert_int_equal(0, mvm__hotplug_plug(s->vm, record, job, NULL));
    say_deleted(s, "balloon0");
    assert_int_equal(0, s->end.calls);
    say(s, "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no\"},\"id\":1}\n");
    check_end(s, MVM_EBACKEND);
    assert_true(mvm__list_empty(&s->run.devs));
    mvm_record_unref(record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_event_before_the_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_event_before_a_refusal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_event_before_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_end_before_the_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_asked_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unasked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_never_was_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deleted_while_it_comes, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
