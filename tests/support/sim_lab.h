/* SPDX-License-Identifier: MIT */
/*
 * For cmocka tests: a lab of simulated machines in virtual time, and waits that remember how they
 * ended. Functions are `inline` only so that a test may leave some unused. Include after cmocka.h.
 */
#ifndef MVM_TESTS_SIM_LAB_H
#define MVM_TESTS_SIM_LAB_H

#include <string.h>

#include "base/base.h"
#include "base/buf.h"
#include "mvm/lab.h"
#include "mvm/process.h"
#include "mvm/sim.h"

/* How a wait ended. */
typedef struct ending {
    int calls;
    mvm_err err; /* code 0: well */
} ending;

static inline void on_ending(void *ud, const mvm_err *err)
{
    ending *end = ud;

    end->calls++;
    end->err = err ? *err : (mvm_err){0};
}

static inline const mvm_waiter *waiter_for(ending *end, double timeout)
{
    static mvm_waiter waiter;

    *end = (ending){0};
    waiter = (mvm_waiter){.timeout = timeout, .fn = on_ending, .ud = end};
    return &waiter;
}

static inline mvm_lab *sim_lab_new(void)
{
    mvm_lab *lab = mvm_lab_new();

    mvm_loop_virtual_time(mvm_lab_loop(lab), true);
    assert_int_equal(0, mvm_lab_backend(lab, "sim", NULL));
    return lab;
}

/* Turns the loop until the wait has ended and returns its code; in virtual time that takes none. */
static inline int await(mvm_lab *lab, ending *end)
{
    for (int turns = 0; end->calls == 0; turns++) {
        assert_true(turns < 1000000);
        mvm_loop_step(mvm_lab_loop(lab), true);
    }
    assert_int_equal(1, end->calls);
    return end->err.code;
}

static inline void on_passed(void *ud)
{
    *(bool *)ud = true;
}

/* Lets seconds of virtual time pass. */
static inline void pass(mvm_lab *lab, double seconds)
{
    bool passed = false;

    mvm_timer_start(mvm_lab_loop(lab), seconds, on_passed, &passed);
    while (!passed)
        mvm_loop_step(mvm_lab_loop(lab), true);
}

static inline void set_str(mvm_record *record, const char *field, const char *text)
{
    mvm_value value = {.type = MVM_T_STRING, .as.string = {text, strlen(text)}};

    assert_int_equal(0, mvm_record_set(record, field, &value, NULL));
}

static inline void set_num(mvm_record *record, const char *field, double number)
{
    mvm_value value = {.type = MVM_T_NUMBER, .as.number = number};

    assert_int_equal(0, mvm_record_set(record, field, &value, NULL));
}

static inline void set_int(mvm_record *record, const char *field, int64_t n)
{
    mvm_value value = {.type = MVM_T_INT, .as.integer = n};

    assert_int_equal(0, mvm_record_set(record, field, &value, NULL));
}

static inline void set_bool(mvm_record *record, const char *field, bool yes)
{
    mvm_value value = {.type = MVM_T_BOOL, .as.boolean = yes};

    assert_int_equal(0, mvm_record_set(record, field, &value, NULL));
}

/* The machine's sub-record of that name. */
static inline mvm_record *sub_of(mvm_vm *vm, const char *field)
{
    mvm_record *sub = mvm_record_sub(mvm_vm_config(vm), field, NULL);

    assert_non_null(sub);
    return sub;
}

static inline mvm_vm *vm_up(mvm_lab *lab, mvm_vm *vm)
{
    ending end;
    mvm_err err;

    assert_non_null(mvm_vm_start(vm, waiter_for(&end, 60), &err));
    assert_int_equal(0, await(lab, &end));
    assert_non_null(mvm_vm_wait_ready(vm, waiter_for(&end, 60), &err));
    assert_int_equal(0, await(lab, &end));
    return vm;
}

#endif
