/* SPDX-License-Identifier: MIT */
/* A machine and an empty run of it under the QEMU back end, without a QEMU: for tests of what
 * devices tell it. */
#ifndef DEV_SCENE_H
#define DEV_SCENE_H

#include "backend/qemu/dev_internal.h"
#include "support/sim_lab.h"

typedef struct scene {
    mvm_lab *lab;
    mvm_vm *vm;
    mvm__run run;
} scene;

static int setup(void **state)
{
    scene *s = mvm__alloc(sizeof(*s));
    mvm_err err;

    s->lab = mvm_lab_new();
    assert_int_equal(0, mvm_lab_backend(s->lab, "sim", &err));
    s->vm = mvm_vm_new(s->lab, "web", &err);
    set_str(mvm_vm_config(s->vm), "arch", "x86_64");
    s->run.vm = s->vm;
    mvm__list_init(&s->run.devs);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    scene *s = *state;

    mvm__devs_release(&s->run);
    mvm_vm_unref(s->vm);
    assert_int_equal(0, mvm_lab_close(s->lab));
    mvm__free(s);
    return 0;
}

#endif
