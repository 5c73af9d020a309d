/* SPDX-License-Identifier: MIT */
/*
 * What a guest may do wrong: every breach of the agent protocol ends the session, tells everybody
 * who waits, and leaves the host whole.
 */
#include "support/agent_session.h"

/* Each is done to a session where stream 1 is a command that was started, stream 2 one that was
 * not, stream 3 a file being written, stream 4 one being read. */
static void b_garbage(mvm_vm *vm)
{
    mvm__agent_data(vm->agent, "garbage", 7);
}

static void b_unknown_stream(mvm_vm *vm)
{
    guest_frame(vm, MVM_AGENT_DATA, 1, 99, "x", 1);
}

static void b_stream_zero(mvm_vm *vm)
{
    guest_frame(vm, MVM_AGENT_DATA, 1, 0, "x", 1);
}

static void b_second_ready(mvm_vm *vm)
{
    guest_ready(vm, 0, "guest");
}

static void b_hello_with_nonce(mvm_vm *vm)
{
    guest_hello(vm, MVM_AGENT_VERSION, 5);
}

static void b_second_started(mvm_vm *vm)
{
    guest_two(vm, MVM_AGENT_STARTED, 1, 42, -1);
}

static void b_started_without_pid(mvm_vm *vm)
{
    guest_two(vm, MVM_AGENT_STARTED, 2, 0, -1);
}

static void b_started_file_with_pid(mvm_vm *vm)
{
    guest_two(vm, MVM_AGENT_STARTED, 3, 7, 0644);
}

static void b_started_mode_too_big(mvm_vm *vm)
{
    guest_two(vm, MVM_AGENT_STARTED, 4, 0, 0100644);
}

static void b_started_cut(mvm_vm *vm)
{
    guest_frame(vm, MVM_AGENT_STARTED, 0, 2, "\1\0\0\0", 4);
}

static void b_data_on_stdin(mvm_vm *vm)
{
    guest_frame(vm, MVM_AGENT_DATA, 0, 1, "x", 1);
}

static void b_data_before_started(mvm_vm *vm)
{
    guest_frame(vm, MVM_AGENT_DATA, 1, 2, "x", 1);
}

static void b_data_on_written_file(mvm_vm *vm)
{
    guest_two(vm, MVM_AGENT_STARTED, 3, 0, -1);
    guest_frame(vm, MVM_AGENT_DATA, 1, 3, "x", 1);
}

static void b_data_after_eof(mvm_vm *vm)
{
    guest_frame(vm, MVM_AGENT_EOF, 1, 1, NULL, 0);
    guest_frame(vm, MVM_AGENT_DATA, 1, 1, "x", 1);
}

static void b_data_too_long(mvm_vm *vm)
{
    static const char block[MVM_AGENT_DATA_MAX + 1];
    guest_frame(vm, MVM_AGENT_DATA, 1, 1, block, sizeof(block));
}

static void b_data_beyond_credit(mvm_vm *vm)
{
    fill_window(vm, 1);
    guest_frame(vm, MVM_AGENT_DATA, 1, 1, "x", 1);
}

static void b_second_eof(mvm_vm *vm)
{
    guest_frame(vm, MVM_AGENT_EOF, 2, 1, NULL, 0);
    guest_frame(vm, MVM_AGENT_EOF, 2, 1, NULL, 0);
}

static void b_eof_with_payload(mvm_vm *vm)
{
    guest_frame(vm, MVM_AGENT_EOF, 2, 1, "x", 1);
}

static void b_credit_for_output(mvm_vm *vm)
{
    guest_credit(vm, 1, 1, 1);
}

static void b_credit_for_read_file(mvm_vm *vm)
{
    guest_credit(vm, 0, 4, 1);
}

static void b_credit_beyond_window(mvm_vm *vm)
{
    guest_credit(vm, 0, 1, 1);
}

static void b_credit_that_wraps(mvm_vm *vm)
{
    guest_credit(vm, 0, 1, UINT32_MAX);
}

static void b_second_exit(mvm_vm *vm)
{
    guest_two(vm, MVM_AGENT_EXIT, 1, 0, 0);
    guest_two(vm, MVM_AGENT_EXIT, 1, 0, 0);
}

static void b_data_after_exit_and_eof(mvm_vm *vm)
{
    guest_two(vm, MVM_AGENT_EXIT, 1, 0, 0);
    guest_frame(vm, MVM_AGENT_EOF, 1, 1, NULL, 0);
    guest_frame(vm, MVM_AGENT_DATA, 1, 1, "x", 1);
}

static void b_data_after_exit_beyond_credit(mvm_vm *vm)
{
    guest_two(vm, MVM_AGENT_EXIT, 1, 0, 0);
    fill_window(vm, 1);
    guest_frame(vm, MVM_AGENT_DATA, 1, 1, "x", 1);
}

static void b_exit_before_started(mvm_vm *vm)
{
    guest_two(vm, MVM_AGENT_EXIT, 2, 0, 0);
}

static void b_exit_of_half_read_file(mvm_vm *vm)
{
    guest_two(vm, MVM_AGENT_STARTED, 4, 0, 0644);
    guest_two(vm, MVM_AGENT_EXIT, 4, 0, 0);
}

static void b_refusal_of_nothing(mvm_vm *vm)
{
    guest_error(vm, 0, 1, "no");
}

static void b_exit_with_silly_status(mvm_vm *vm)
{
    finish(vm, 1, 256);
}

static void b_exit_of_unfinished_file(mvm_vm *vm)
{
    guest_two(vm, MVM_AGENT_STARTED, 3, 0, -1);
    guest_two(vm, MVM_AGENT_EXIT, 3, 0, 0);
}

static void b_error_cut(mvm_vm *vm)
{
    guest_frame(vm, MVM_AGENT_ERROR, 0, 1,
                "\2\0\0\0\xff\xff"
                "ab",
                8);
}

static void b_host_frame(mvm_vm *vm)
{
    guest_frame(vm, MVM_AGENT_EXEC, 0, 1, NULL, 0);
}

static void b_power(mvm_vm *vm)
{
    guest_frame(vm, MVM_AGENT_POWER, 0, 0, "", 1);
}

static const struct {
    const char *name;
    void (*act)(mvm_vm *vm);
    bool exited; /* stream 1 ended well before the breach */
} g_breaches[] = {
#define B(name)                                                                                    \
    {                                                                                              \
#name, name, false                                                                         \
    }
    B(b_garbage),
    B(b_unknown_stream),
    B(b_stream_zero),
    B(b_second_ready),
    B(b_hello_with_nonce),
    B(b_second_started),
    B(b_started_without_pid),
    B(b_started_file_with_pid),
    B(b_started_mode_too_big),
    B(b_started_cut),
    B(b_data_on_stdin),
    B(b_data_before_started),
    B(b_data_on_written_file),
    B(b_data_after_eof),
    B(b_data_too_long),
    B(b_data_beyond_credit),
    B(b_second_eof),
    B(b_eof_with_payload),
    B(b_credit_for_output),
    B(b_credit_for_read_file),
    B(b_credit_beyond_window),
    B(b_credit_that_wraps),
    {"b_second_exit", b_second_exit, true},
    {"b_data_after_exit_and_eof", b_data_after_exit_and_eof, true},
    {"b_data_after_exit_beyond_credit", b_data_after_exit_beyond_credit, true},
    B(b_exit_before_started),
    B(b_exit_of_half_read_file),
    B(b_refusal_of_nothing),
    B(b_exit_with_silly_status),
    B(b_exit_of_unfinished_file),
    B(b_error_cut),
    B(b_host_frame),
    B(b_power),
};

static void one_breach(size_t i)
{
    void *state;
    fake_result ends[4] = {0};
    mvm_waiter waiter[4];
    setup(&state);
    mvm_vm *vm = state;
    mvm_process *a = started(vm, 1), *b = spawn(vm, "slow");
    mvm_file *w = mvm_vm_open(vm, "/w", MVM_FILE_WRITE, -1, NULL);
    mvm_file *r = mvm_vm_open(vm, "/r", MVM_FILE_READ, -1, NULL);

    for (int k = 0; k < 4; k++)
        waiter[k] = (mvm_waiter){-1, fake_done, &ends[k]};
    mvm_process_wait(a, &waiter[0], NULL);
    mvm_process_wait(b, &waiter[1], NULL);
    mvm_file_wait(w, &waiter[2], NULL);
    mvm_file_wait(r, &waiter[3], NULL);
    g_breaches[i].act(vm);
    if (vm->lost != 1)
        fail_msg("%s: lost %d times", g_breaches[i].name, vm->lost);
    assert_int_equal(vm->lost_err.code, MVM_EAGENT);
    assert_non_null(strstr(vm->lost_err.message, "the agent broke the protocol: "));
    assert_false(mvm__agent_is_ready(vm->agent));
    fake_turn(vm);
    for (int k = 0; k < 4; k++) {
        assert_int_equal(ends[k].calls, 1);
        assert_int_equal(ends[k].err.code, k == 0 && g_breaches[i].exited ? 0 : MVM_EAGENT);
    }
    guest_frame(vm, MVM_AGENT_DATA, 1, 77, "ignored", 7); /* until the next HELLO */
    assert_int_equal(vm->lost, 1);
    mvm_process_unref(a);
    mvm_process_unref(b);
    mvm_file_unref(w);
    mvm_file_unref(r);
    teardown(&state);
}

static void test_breaches_end_the_session(void **state)
{
    (void)state;
    for (size_t i = 0; i < MVM_COUNT(g_breaches); i++)
        one_breach(i);
}

static void test_breaches_of_ready(void **state)
{
    mvm_vm *vm = *state;
    char long_name[80];

    memset(long_name, 'h', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    mvm__agent_down(vm->agent, NULL);
    guest_hello(vm, MVM_AGENT_VERSION, 0);
    guest_ready(vm, 0, long_name);
    assert_int_equal(vm->lost, 1);
    guest_hello(vm, MVM_AGENT_VERSION, 0);
    guest_ready(vm, 1, "other-session");
    assert_int_equal(vm->lost, 2);
    guest_hello(vm, MVM_AGENT_VERSION, 0);
    guest_frame(vm, MVM_AGENT_DATA, 1, 1, "early", 5);
    assert_int_equal(vm->lost, 3);
    assert_int_equal(vm->ready, 1);
    guest_start(vm); /* nothing was sent to the one before: it can begin as it is */
    assert_int_equal(vm->ready, 2);
}

static void test_frames_of_ended_streams_are_ignored(void **state)
{
    mvm_vm *vm = *state;
    mvm_process *process = started(vm, 1);

    finish(vm, 1, 0);
    guest_frame(vm, MVM_AGENT_DATA, 0, 1, "x", 1);
    guest_credit(vm, 0, 1, 5);
    assert_int_equal(vm->lost, 0);
    mvm_process_unref(process);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_breaches_end_the_session),
        T(test_breaches_of_ready),
        T(test_frames_of_ended_streams_are_ignored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
