/* SPDX-License-Identifier: MIT */
/*
 * The host's side of the agent session: the test plays the guest, well behaved and not, frame by
 * frame (support/fake_vm.h).
 */
#include "support/agent_session.h"

/* ---- the beginning ----------------------------------------------------------------------- */

static void test_session_begins(void **state)
{
    mvm_vm *vm = *state;

    assert_int_equal(vm->ready, 1);
    assert_true(mvm__agent_is_ready(vm->agent));
    assert_string_equal(vm->info.version, "0.1.0");
    assert_string_equal(vm->info.hostname, "guest");
    assert_int_equal(vm->info.init_ns, 100);
    assert_int_equal(mvm__agent_about(vm->agent)->now_ns, 200);
    expect_silence(vm);
}

static void test_noise_before_hello_is_skipped(void **state)
{
    mvm_vm *vm = *state;
    uint8_t noise[300], hello[64] = {0};
    mvm_agent_writer w = {hello + MVM_AGENT_HEADER, 20, 8, false};

    mvm__agent_down(vm->agent, NULL);
    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (uint8_t)("MVxM\0V\1"[i % 7]);
    mvm__agent_data(vm->agent, noise, sizeof(noise));
    mvm_agent_header(hello, MVM_AGENT_HELLO, 0, 0, 20);
    memcpy(hello + MVM_AGENT_HEADER, MVM_AGENT_HELLO_MAGIC, 8);
    mvm_agent_put_u32(&w, MVM_AGENT_VERSION);
    mvm_agent_put_u64(&w, 0);
    for (size_t i = 0; i < MVM_AGENT_HEADER + 20; i++) /* byte by byte */
        mvm__agent_data(vm->agent, hello + i, 1);
    assert_int_equal(vm->ready, 1);
    guest_ready(vm, 0, "esc\x1b[31m");
    assert_int_equal(vm->ready, 2);
    assert_string_equal(vm->info.hostname, "esc?[31m");
    assert_int_equal(vm->lost, 0);
}

static void test_other_version_is_told(void **state)
{
    mvm_vm *vm = *state;

    mvm__agent_down(vm->agent, NULL);
    guest_hello(vm, 7, 0);
    assert_int_equal(vm->lost, 1);
    assert_int_equal(vm->lost_err.code, MVM_EAGENT);
    assert_non_null(strstr(vm->lost_err.message, "version 7"));
    guest_ready(vm, 0, "guest");
    assert_int_equal(vm->ready, 1); /* only the first */
}

static void test_nothing_runs_without_a_session(void **state)
{
    mvm_vm *vm = *state;
    const char *argv[] = {"true", NULL};
    mvm_exec exec = {.argv = argv};
    mvm_err err;

    mvm__agent_down(vm->agent, NULL);
    assert_null(mvm_vm_spawn(vm, &exec, &err));
    assert_int_equal(err.code, MVM_EAGENT);
    assert_int_equal(mvm__agent_power(vm->agent, 0, &err), MVM_EAGENT);
    vm->up = false;
    assert_null(mvm_vm_open(vm, "/x", MVM_FILE_READ, -1, &err));
    assert_int_equal(err.code, MVM_ESTATE);
}

/* ---- commands -------------------------------------------------------------------------------- */

static void test_exec_frame(void **state)
{
    mvm_vm *vm = *state;
    const char *argv[] = {"ls", "-l", NULL}, *env[] = {"A=b", NULL};
    mvm_exec exec = {.argv = argv, .env = env, .cwd = "/tmp", .stdin_null = true};
    mvm_err err;
    size_t len;

    mvm_process *process = mvm_vm_spawn(vm, &exec, &err);
    mvm_agent_frame frame = expect(vm, MVM_AGENT_EXEC, 1);
    mvm_agent_reader r = {frame.payload, frame.len, 0, false};
    assert_int_equal(mvm_agent_get_u32(&r), MVM_AGENT_EXEC_STDIN_NULL);
    assert_int_equal(mvm_agent_get_u16(&r), 2);
    assert_int_equal(mvm_agent_get_u16(&r), 1);
    assert_memory_equal(mvm_agent_get_str(&r, &len), "/tmp", 4);
    assert_memory_equal(mvm_agent_get_str(&r, &len), "ls", 2);
    assert_memory_equal(mvm_agent_get_str(&r, &len), "-l", 2);
    assert_memory_equal(mvm_agent_get_str(&r, &len), "A=b", 3);
    assert_false(r.bad);
    assert_int_equal(r.pos, r.len);
    assert_int_equal(mvm_stream_write(mvm_process_stream(process, 0), "x", 1, &err), MVM_EIO);
    expect_silence(vm);
    mvm_process_unref(process);
    expect(vm, MVM_AGENT_CLOSE, 1);
}

static void test_command_from_start_to_end(void **state)
{
    mvm_vm *vm = *state;
    fake_result end = {0}, out = {0};
    mvm_waiter waiter = {-1, fake_done, &end}, reader = {-1, fake_done, &out};
    int status, signum;
    size_t len;

    mvm_process *process = spawn(vm, "ls");
    assert_int_equal(mvm_process_pid(process), 0);
    mvm_process_wait(process, &waiter, NULL);
    mvm_stream_wait_readable(mvm_process_stream(process, 1), &reader, NULL);
    guest_two(vm, MVM_AGENT_STARTED, 1, 42, -1);
    assert_int_equal(mvm_process_pid(process), 42);
    guest_frame(vm, MVM_AGENT_DATA, 1, 1, "out", 3);
    guest_frame(vm, MVM_AGENT_DATA, 2, 1, "err", 3);
    assert_int_equal(out.calls, 0); /* only from the loop */
    fake_turn(vm);
    assert_int_equal(out.calls, 1);
    assert_int_equal(end.calls, 0);
    finish(vm, 1, 3);
    assert_true(mvm_process_ended(process));
    assert_int_equal(end.calls, 0);
    fake_turn(vm);
    assert_int_equal(end.calls, 1);
    assert_int_equal(end.err.code, 0);
    mvm_process_result(process, &status, &signum);
    assert_int_equal(status, 3);
    assert_int_equal(signum, 0);
    assert_memory_equal(mvm_stream_peek(mvm_process_stream(process, 1), &len), "out", 3);
    assert_memory_equal(mvm_stream_peek(mvm_process_stream(process, 2), &len), "err", 3);
    assert_true(mvm_stream_eof(mvm_process_stream(process, 1)));
    mvm_err err;
    assert_int_equal(mvm_stream_write(mvm_process_stream(process, 0), "x", 1, &err), MVM_EIO);
    assert_non_null(strstr(err.message, "`ls` has ended"));
    assert_int_equal(mvm_process_kill(process, 15, &err), 0);
    fake_result again = {0}; /* a wait after the end is over at once */
    mvm_process_wait(process, &(mvm_waiter){-1, fake_done, &again}, NULL);
    fake_turn(vm);
    assert_int_equal(again.calls, 1);
    expect(vm, MVM_AGENT_EXEC, 1);
    mvm_process_unref(process);
    expect_silence(vm); /* nothing to close any more */
    assert_int_equal(vm->lost, 0);
}

static void test_death_by_signal(void **state)
{
    mvm_vm *vm = *state;
    mvm_process *process = started(vm, 1);
    int status, signum;
    mvm_err err;

    assert_int_equal(mvm_process_kill(process, 0, &err), MVM_ECONFIG);
    assert_int_equal(mvm_process_kill(process, 15, &err), 0);
    mvm_agent_frame frame = expect(vm, MVM_AGENT_SIGNAL, 1);
    assert_int_equal(frame.payload[0], 15);
    guest_frame(vm, MVM_AGENT_EOF, 1, 1, NULL, 0);
    guest_frame(vm, MVM_AGENT_EOF, 2, 1, NULL, 0);
    guest_two(vm, MVM_AGENT_EXIT, 1, 0, 15);
    mvm_process_result(process, &status, &signum);
    assert_int_equal(status, 143);
    assert_int_equal(signum, 15);
    mvm_process_unref(process);
}

static void test_command_that_can_not_start(void **state)
{
    mvm_vm *vm = *state;
    fake_result end = {0}, out = {0};
    mvm_waiter waiter = {-1, fake_done, &end}, reader = {-1, fake_done, &out};
    mvm_process *process = spawn(vm, "nosuch");

    mvm_process_wait(process, &waiter, NULL);
    mvm_stream_wait_readable(mvm_process_stream(process, 1), &reader, NULL);
    guest_error(vm, 1, 2, "nosuch: No such file\x07 or directory");
    fake_turn(vm);
    assert_int_equal(end.err.code, MVM_EGUEST);
    assert_string_equal(end.err.message, "nosuch: No such file? or directory");
    assert_string_equal(end.err.vm, "web");
    assert_int_equal(out.err.code, MVM_EGUEST);
    mvm_process_unref(process);
    assert_int_equal(vm->lost, 0);
}

static void test_bad_commands_are_refused(void **state)
{
    mvm_vm *vm = *state;
    const char *none[] = {NULL}, *empty[] = {"", NULL}, *ok[] = {"true", NULL};
    const char *env[] = {"A=1", "NOVALUE", NULL};
    char *big = mvm__alloc(MVM_AGENT_PAYLOAD_MAX);
    memset(big, 'x', MVM_AGENT_PAYLOAD_MAX - 1);
    const char *huge[] = {"echo", big, NULL};
    const mvm_exec bad[] = {
        {.argv = none}, {.argv = empty}, {.argv = ok, .env = env}, {.argv = huge}};
    mvm_err err;

    for (size_t i = 0; i < MVM_COUNT(bad); i++) {
        err.code = 0;
        assert_null(mvm_vm_spawn(vm, &bad[i], &err));
        assert_int_equal(err.code, MVM_ECONFIG);
    }
    assert_non_null(strstr(err.message, "65536"));
    mvm__free(big);
    expect_silence(vm);
}

static void test_deadline_names_the_command(void **state)
{
    mvm_vm *vm = *state;
    const char *argv[] = {"sh", "-c", "sleep 100", NULL};
    mvm_exec exec = {.argv = argv};
    fake_result end = {0};
    mvm_process *process = mvm_vm_spawn(vm, &exec, NULL);

    mvm_process_wait(process, &(mvm_waiter){5, fake_done, &end}, NULL);
    fake_elapse(vm);
    assert_int_equal(end.err.code, MVM_ETIMEOUT);
    assert_non_null(strstr(end.err.message, "5 s"));
    assert_non_null(strstr(end.err.message, "`sleep 100`"));
    mvm_process_unref(process);
}

/* ---- the end of a command and those of its outputs ---------------------------------------- */

static void test_wait_ends_at_exit(void **state)
{
    mvm_vm *vm = *state;
    mvm_process *process = started(vm, 1);
    mvm_stream *out = mvm_process_stream(process, 1), *in = mvm_process_stream(process, 0);
    fake_result end = {0}, more = {0}, again = {0};
    int status, signum;

    mvm_process_wait(process, &(mvm_waiter){-1, fake_done, &end}, NULL);
    fill_window(vm, 1); /* nobody reads */
    guest_two(vm, MVM_AGENT_EXIT, 1, 7, 0);
    assert_true(mvm_process_ended(process));
    fake_turn(vm);
    assert_int_equal(end.calls, 1);
    assert_int_equal(end.err.code, 0);
    mvm_process_result(process, &status, &signum);
    assert_int_equal(status, 7);
    mvm_process_wait(process, &(mvm_waiter){-1, fake_done, &again}, NULL);
    fake_turn(vm);
    assert_int_equal(again.calls, 1);
    /* The outputs go on, with credit; a background child may even read. */
    assert_false(mvm_stream_eof(out));
    expect_silence(vm);
    mvm_stream_consume(out, MVM_AGENT_WINDOW);
    expect(vm, MVM_AGENT_CREDIT, 1);
    mvm_stream_wait_readable(out, &(mvm_waiter){-1, fake_done, &more}, NULL);
    guest_frame(vm, MVM_AGENT_DATA, 1, 1, "rest", 4);
    fake_turn(vm);
    assert_int_equal(more.calls, 1);
    assert_int_equal(peeked(process, 1), 4);
    assert_int_equal(mvm_stream_write(in, "x", 1, NULL), 0);
    expect(vm, MVM_AGENT_DATA, 1);
    assert_int_equal(mvm_process_kill(process, 15, NULL), 0); /* what lives on of its group */
    expect(vm, MVM_AGENT_SIGNAL, 1);
    guest_frame(vm, MVM_AGENT_EOF, 2, 1, NULL, 0);
    guest_frame(vm, MVM_AGENT_EOF, 1, 1, NULL, 0);
    assert_true(mvm_stream_eof(out));
    assert_int_equal(mvm_process_kill(process, 15, NULL), 0);
    assert_int_equal(mvm_stream_write(in, "x", 1, NULL), MVM_EIO);
    mvm_process_unref(process);
    expect_silence(vm); /* nothing to signal, nothing to close */
    assert_int_equal(vm->lost, 0);
}

static void test_exit_between_the_ends_of_the_outputs(void **state)
{
    mvm_vm *vm = *state;
    mvm_process *process = started(vm, 1);
    int status, signum;

    guest_frame(vm, MVM_AGENT_EOF, 2, 1, NULL, 0);
    guest_two(vm, MVM_AGENT_EXIT, 1, 0, 9);
    guest_frame(vm, MVM_AGENT_DATA, 1, 1, "out", 3);
    guest_frame(vm, MVM_AGENT_EOF, 1, 1, NULL, 0);
    mvm_process_result(process, &status, &signum);
    assert_int_equal(status, 137);
    assert_int_equal(signum, 9);
    assert_int_equal(peeked(process, 1), 3);
    mvm_process_unref(process);
    expect_silence(vm);
    assert_int_equal(vm->lost, 0);
}

static void test_letting_go_after_exit_kills_what_is_left(void **state)
{
    mvm_vm *vm = *state;
    mvm_process *process = started(vm, 1);
    mvm_stream *out = mvm_stream_ref(mvm_process_stream(process, 1));
    fake_result read = {0};

    guest_two(vm, MVM_AGENT_EXIT, 1, 0, 0);
    mvm_stream_wait_readable(out, &(mvm_waiter){-1, fake_done, &read}, NULL);
    mvm_process_unref(process);
    expect(vm, MVM_AGENT_CLOSE, 1);
    fake_turn(vm);
    assert_int_equal(read.err.code, MVM_ECANCELLED);
    assert_non_null(strstr(read.err.message, "before the end of its output"));
    mvm_stream_unref(out);
    guest_frame(vm, MVM_AGENT_EOF, 1, 1, NULL, 0); /* was on its way */
    assert_int_equal(vm->lost, 0);
}

/* The wait was decided; what the streams still had to come will not. */
static void end_after_exit(mvm_vm *vm, void (*act)(mvm_vm *vm), int code)
{
    mvm_process *process = started(vm, 1);
    fake_result end = {0}, again = {0}, read = {0};

    mvm_process_wait(process, &(mvm_waiter){-1, fake_done, &end}, NULL);
    guest_two(vm, MVM_AGENT_EXIT, 1, 3, 0);
    act(vm);
    mvm_process_wait(process, &(mvm_waiter){-1, fake_done, &again}, NULL);
    mvm_stream_wait_readable(mvm_process_stream(process, 1), &(mvm_waiter){-1, fake_done, &read},
                             NULL);
    fake_turn(vm);
    assert_int_equal(end.calls, 1);
    assert_int_equal(end.err.code, 0);
    assert_int_equal(again.calls, 1);
    assert_int_equal(again.err.code, 0);
    assert_int_equal(read.calls, 1);
    assert_int_equal(read.err.code, code);
    assert_int_equal(mvm_process_kill(process, 9, NULL), 0);
    mvm_process_unref(process);
}

static void act_port_closed(mvm_vm *vm)
{
    mvm__agent_port(vm->agent, false);
}

static void act_error(mvm_vm *vm)
{
    guest_error(vm, 1, 5, "Input/output error");
}

static void test_session_lost_after_exit(void **state)
{
    end_after_exit(*state, act_port_closed, MVM_EAGENT);
}

static void test_error_after_exit(void **state)
{
    end_after_exit(*state, act_error, MVM_EGUEST);
    assert_int_equal(((mvm_vm *)*state)->lost, 0);
}

static void test_letting_go_kills(void **state)
{
    mvm_vm *vm = *state;
    fake_result out = {0}, end = {0};
    mvm_process *process = started(vm, 1);
    mvm_stream *stdout_ = mvm_stream_ref(mvm_process_stream(process, 1));

    guest_frame(vm, MVM_AGENT_DATA, 1, 1, "rest", 4);
    mvm_process_wait(process, &(mvm_waiter){-1, fake_done, &end}, NULL);
    mvm_process_unref(mvm_process_ref(process)); /* not the last one */
    expect_silence(vm);
    mvm_process_unref(process);
    expect(vm, MVM_AGENT_CLOSE, 1);
    fake_turn(vm);
    assert_int_equal(end.err.code, MVM_ECANCELLED);
    /* The stream outlives its process: first what had come, then the error. */
    guest_frame(vm, MVM_AGENT_DATA, 1, 1, "late", 4); /* was on its way */
    size_t len;
    assert_memory_equal(mvm_stream_peek(stdout_, &len), "rest", 4);
    assert_int_equal(len, 4);
    mvm_stream_consume(stdout_, 4);
    mvm_stream_wait_readable(stdout_, &(mvm_waiter){-1, fake_done, &out}, NULL);
    fake_turn(vm);
    assert_int_equal(out.err.code, MVM_ECANCELLED);
    mvm_stream_unref(stdout_);
    expect_silence(vm);
    assert_int_equal(vm->lost, 0);
}

/* ---- flow control
 * -------------------------------------------------------------------------------- */

static void test_credit_is_granted_as_it_is_read(void **state)
{
    mvm_vm *vm = *state;
    mvm_process *process = started(vm, 1);
    mvm_stream *s = mvm_process_stream(process, 1);

    fill_window(vm, 1);
    assert_int_equal(peeked(process, 1), MVM_AGENT_WINDOW);
    mvm_stream_consume(s, 65535);
    expect_silence(vm);
    mvm_stream_consume(s, 1);
    mvm_agent_frame frame = expect(vm, MVM_AGENT_CREDIT, 1);
    assert_int_equal(frame.channel, 1);
    mvm_agent_reader r = {frame.payload, frame.len, 0, false};
    assert_int_equal(mvm_agent_get_u32(&r), 65536);
    guest_frame(vm, MVM_AGENT_DATA, 1, 1, g_block, sizeof(g_block));
    guest_frame(vm, MVM_AGENT_DATA, 1, 1, g_block, sizeof(g_block));
    assert_int_equal(vm->lost, 0);
    guest_frame(vm, MVM_AGENT_DATA, 1, 1, "x", 1);
    assert_int_equal(vm->lost, 1);
    assert_int_equal(peeked(process, 1), MVM_AGENT_WINDOW);
    mvm_process_unref(process);
}

static void test_closed_output_is_drained(void **state)
{
    mvm_vm *vm = *state;
    mvm_process *process = started(vm, 1);

    guest_frame(vm, MVM_AGENT_DATA, 1, 1, g_block, sizeof(g_block));
    mvm_stream_close(mvm_process_stream(process, 1));
    guest_frame(vm, MVM_AGENT_DATA, 1, 1, g_block, sizeof(g_block));
    expect(vm, MVM_AGENT_CREDIT, 1);
    for (int i = 0; i < 100; i++)
        guest_frame(vm, MVM_AGENT_DATA, 1, 1, g_block, sizeof(g_block));
    assert_int_equal(vm->lost, 0);
    assert_int_equal(peeked(process, 1), 0);
    finish(vm, 1, 0);
    mvm_process_unref(process);
}

/* Counts the bytes of DATA among the frames in the port, up to the first other frame. */
static size_t take_data(mvm_vm *vm, uint32_t id)
{
    mvm_agent_frame frame;
    size_t total = 0;

    while (host_frame(vm, &frame)) {
        assert_int_equal(frame.type, MVM_AGENT_DATA);
        assert_int_equal(frame.stream, id);
        assert_true(frame.len > 0 && frame.len <= MVM_AGENT_DATA_MAX);
        total += frame.len;
    }
    return total;
}

static void test_input_stays_within_its_credit(void **state)
{
    mvm_vm *vm = *state;
    mvm_process *process = started(vm, 1);
    mvm_stream *in = mvm_process_stream(process, 0);
    char *mib = mvm__alloc(1 << 20);
    fake_result room = {0};

    assert_int_equal(mvm_stream_write(in, mib, 1 << 20, NULL), 0);
    mvm__free(mib);
    mvm_stream_shutdown(in);
    assert_int_equal(take_data(vm, 1), MVM_AGENT_WINDOW);
    mvm_stream_wait_writable(in, &(mvm_waiter){-1, fake_done, &room}, NULL);
    for (int i = 0; i < 2; i++) {
        guest_credit(vm, 0, 1, MVM_AGENT_WINDOW);
        assert_int_equal(take_data(vm, 1), MVM_AGENT_WINDOW);
    }
    fake_turn(vm);
    assert_int_equal(room.calls, 0);
    guest_credit(vm, 0, 1, MVM_AGENT_WINDOW - 1);
    assert_int_equal(take_data(vm, 1), MVM_AGENT_WINDOW - 1);
    fake_turn(vm);
    assert_int_equal(room.calls, 0); /* after a shutdown all has to be gone */
    guest_credit(vm, 0, 1, 10);
    mvm_agent_frame frame = expect(vm, MVM_AGENT_DATA, 1);
    assert_int_equal(frame.len, 1);
    expect(vm, MVM_AGENT_EOF, 1);
    fake_turn(vm);
    assert_int_equal(room.calls, 1);
    expect_silence(vm);
    finish(vm, 1, 0);
    mvm_process_unref(process);
}

static void test_closing_input_sends_what_is_queued(void **state)
{
    mvm_vm *vm = *state;
    mvm_process *process = started(vm, 1);

    vm->room = 0;
    mvm_stream_write(mvm_process_stream(process, 0), "text", 4, NULL);
    mvm_stream_close(mvm_process_stream(process, 0));
    vm->room = SIZE_MAX;
    mvm__agent_writable(vm->agent);
    mvm_agent_frame frame = expect(vm, MVM_AGENT_DATA, 1);
    assert_memory_equal(frame.payload, "text", 4);
    expect(vm, MVM_AGENT_EOF, 1);
    finish(vm, 1, 0);
    mvm_process_unref(process);
}

static void test_streams_take_turns(void **state)
{
    mvm_vm *vm = *state;
    mvm_process *a = started(vm, 1), *b = started(vm, 2);
    char *bulk = mvm__alloc(200000);
    mvm_agent_frame frame;
    uint32_t before = 0;
    int alternations = 0;

    vm->room = 0; /* the port is full: everything queues */
    mvm_stream_write(mvm_process_stream(a, 0), bulk, 200000, NULL);
    mvm_stream_write(mvm_process_stream(b, 0), bulk, 200000, NULL);
    mvm__free(bulk);
    assert_int_equal(mvm_process_kill(b, 9, NULL), 0);
    vm->room = SIZE_MAX;
    mvm__agent_writable(vm->agent);
    size_t ahead = 0, data = 0;
    bool signalled = false;
    while (host_frame(vm, &frame)) {
        if (frame.type == MVM_AGENT_SIGNAL) {
            signalled = true;
            continue;
        }
        data += frame.len;
        if (!signalled)
            ahead += frame.len + MVM_AGENT_HEADER;
        alternations += before != 0 && before != frame.stream;
        before = frame.stream;
    }
    assert_true(signalled);
    assert_true(ahead <= 128 * 1024 + MVM_AGENT_DATA_MAX);
    assert_int_equal(data, 400000);
    assert_int_equal(alternations, 5); /* once the first has no longer all of it */
    finish(vm, 1, 0);
    finish(vm, 2, 0);
    mvm_process_unref(a);
    mvm_process_unref(b);
}

static void test_a_guest_that_reads_nothing_is_noticed(void **state)
{
    mvm_vm *vm = *state;
    mvm_process *process = started(vm, 1);
    char *big = mvm__alloc(60001);
    memset(big, 'x', 60000);
    const char *argv[] = {"echo", big, NULL};
    mvm_exec exec = {.argv = argv};
    mvm_process *more[200] = {0};
    mvm_err err;
    size_t n = 0;

    vm->room = 0;
    while (n < MVM_COUNT(more) && (more[n] = mvm_vm_spawn(vm, &exec, &err)) != NULL)
        n++;
    assert_in_range(n, 100, 150); /* 8 MiB */
    assert_int_equal(err.code, MVM_EAGENT);
    for (size_t i = 0; i < n; i++)
        mvm_process_unref(more[i]);
    mvm__free(big);
    vm->room = SIZE_MAX;
    mvm__agent_writable(vm->agent);
    mvm_process_unref(process);
}

/* ---- loss and a new beginning
 * ----------------------------------------------------------------------------- */

static void test_agent_death_is_told_at_once(void **state)
{
    mvm_vm *vm = *state;
    fake_result end = {0}, out = {0}, err_out = {0};
    mvm_process *process = started(vm, 1);
    mvm_err err;

    mvm_process_wait(process, &(mvm_waiter){60, fake_done, &end}, NULL);
    mvm_stream_wait_readable(mvm_process_stream(process, 2), &(mvm_waiter){60, fake_done, &err_out},
                             NULL);
    guest_frame(vm, MVM_AGENT_DATA, 1, 1, "half", 4);
    mvm__agent_port(vm->agent, false);
    assert_int_equal(vm->lost, 1);
    fake_turn(vm);
    assert_int_equal(end.err.code, MVM_EAGENT);
    assert_int_equal(err_out.err.code, MVM_EAGENT);
    mvm_stream_wait_readable(mvm_process_stream(process, 1), &(mvm_waiter){60, fake_done, &out},
                             NULL);
    fake_turn(vm);
    assert_int_equal(out.calls, 1);
    assert_int_equal(out.err.code, 0); /* first what had come */
    assert_int_equal(peeked(process, 1), 4);
    assert_int_equal(mvm_process_kill(process, 9, &err), MVM_EAGENT);
    mvm_process_unref(process);
    mvm__agent_port(vm->agent, false);
    assert_int_equal(vm->lost, 1);
}

static void test_machine_death_ends_waits_with_its_reason(void **state)
{
    mvm_vm *vm = *state;
    fake_result end = {0};
    mvm_process *process = started(vm, 1);
    mvm_err why;

    mvm_process_wait(process, &(mvm_waiter){-1, fake_done, &end}, NULL);
    mvm_fail(&why, MVM_EAGENT, "the guest powered off");
    mvm__agent_down(vm->agent, &why);
    fake_turn(vm);
    assert_string_equal(end.err.message, "the guest powered off");
    assert_int_equal(vm->lost, 0);
    mvm_process_unref(process);
}

/* Reads the sync bytes and the HELLO of a join; returns its nonce. */
static uint64_t take_join(mvm_vm *vm)
{
    mvm_agent_frame frame;
    const uint8_t *bytes = (const uint8_t *)mvm__buf_ptr(&vm->port);

    assert_true(mvm__buf_len(&vm->port) >= MVM_AGENT_SYNC);
    for (size_t i = 0; i < MVM_AGENT_SYNC; i++)
        assert_int_equal(bytes[i], 0);
    mvm__buf_consume(&vm->port, MVM_AGENT_SYNC);
    assert_true(host_frame(vm, &frame));
    assert_int_equal(frame.type, MVM_AGENT_HELLO);
    assert_int_equal(frame.len, 20);
    mvm_agent_reader r = {frame.payload, frame.len, 12, false};
    return mvm_agent_get_u64(&r);
}

static void test_restarted_agent_is_joined(void **state)
{
    mvm_vm *vm = *state;
    fake_result end = {0};
    mvm_process *process = started(vm, 1);

    mvm_process_wait(process, &(mvm_waiter){-1, fake_done, &end}, NULL);
    guest_start(vm); /* a new agent on the port, before the report that the old one closed it */
    assert_int_equal(vm->lost, 1);
    fake_turn(vm);
    assert_int_equal(end.err.code, MVM_EAGENT);
    uint64_t nonce = take_join(vm);
    assert_true(nonce != 0);
    assert_int_equal(vm->ready, 1); /* its own READY counts for nothing */
    mvm__agent_port(vm->agent, false);
    mvm__agent_port(vm->agent, true);
    guest_hello(vm, MVM_AGENT_VERSION, nonce + 1); /* an answer to somebody else */
    guest_hello(vm, MVM_AGENT_VERSION, nonce);
    guest_ready(vm, nonce, "again");
    assert_int_equal(vm->ready, 2);
    assert_int_equal(vm->lost, 1);
    mvm_process_unref(process);
    mvm_process *next = spawn(vm, "true");
    expect(vm, MVM_AGENT_EXEC, 1); /* numbers begin anew */
    mvm_process_unref(next);
}

static void test_agent_that_closed_and_came_back(void **state)
{
    mvm_vm *vm = *state;
    mvm_process *process = started(vm, 1);

    mvm__agent_port(vm->agent, false);
    mvm__agent_port(vm->agent, true);
    guest_start(vm);
    uint64_t nonce = take_join(vm);
    guest_hello(vm, MVM_AGENT_VERSION, nonce);
    guest_ready(vm, nonce, "back");
    assert_int_equal(vm->ready, 2);
    mvm__agent_port(vm->agent, false); /* this one is meant */
    assert_int_equal(vm->lost, 2);
    mvm_process_unref(process);
}

static void test_reset_guest_is_joined(void **state)
{
    mvm_vm *vm = *state;
    mvm_process *process = started(vm, 1);

    mvm__agent_reset(vm->agent, NULL);
    guest_start(vm);
    uint64_t nonce = take_join(vm); /* the port may still hold what the one before did not read */
    guest_hello(vm, MVM_AGENT_VERSION, nonce);
    guest_ready(vm, nonce, "rebooted");
    assert_int_equal(vm->ready, 2);
    mvm__agent_down(vm->agent, NULL);
    guest_start(vm);
    expect_silence(vm); /* a new run has a new port */
    assert_int_equal(vm->ready, 3);
    assert_int_equal(vm->lost, 0);
    mvm_process_unref(process);
}

static void test_power(void **state)
{
    mvm_vm *vm = *state;

    assert_int_equal(mvm__agent_power(vm->agent, 1, NULL), 0);
    mvm_agent_frame frame = expect(vm, MVM_AGENT_POWER, 0);
    assert_int_equal(frame.len, 1);
    assert_int_equal(frame.payload[0], 1);
}

static void test_power_that_is_refused(void **state)
{
    mvm_vm *vm = *state;

    for (int how = 0; how < 2; how++)
        assert_int_equal(mvm__agent_power(vm->agent, how, NULL), 0);
    guest_error(vm, 0, 1, "this agent has\x07 no machine");
    assert_int_equal(vm->refused, 1);
    assert_int_equal(vm->refused_err.code, MVM_EGUEST);
    assert_string_equal(vm->refused_err.message, "this agent has? no machine");
    assert_string_equal(vm->refused_err.vm, "web");
    guest_error(vm, 0, 1, "");
    assert_int_equal(vm->refused, 2);
    assert_non_null(strstr(vm->refused_err.message, "errno 1"));
    assert_int_equal(vm->lost, 0);
    mvm_process *process = spawn(vm, "true"); /* the session goes on */
    mvm_process_unref(process);
    guest_error(vm, 0, 1, "a third"); /* of two */
    assert_int_equal(vm->refused, 2);
    assert_int_equal(vm->lost, 1);
    guest_start(vm);
    mvm__agent_reset(vm->agent, NULL);
}

/* ---- files
 * -------------------------------------------------------------------------------------------------
 */

static void test_file_is_written(void **state)
{
    mvm_vm *vm = *state;
    fake_result end = {0};
    size_t len;
    mvm_file *file = mvm_vm_open(vm, "/etc/motd", MVM_FILE_WRITE, 0600, NULL);
    mvm_agent_frame frame = expect(vm, MVM_AGENT_OPEN, 1);
    mvm_agent_reader r = {frame.payload, frame.len, 0, false};

    assert_int_equal(mvm_agent_get_u8(&r), 1);
    assert_int_equal(mvm_agent_get_u32(&r), 0600);
    assert_memory_equal(mvm_agent_get_str(&r, &len), "/etc/motd", 9);
    mvm_stream_write(mvm_file_stream(file), "hi", 2, NULL);
    mvm_stream_shutdown(mvm_file_stream(file));
    expect(vm, MVM_AGENT_DATA, 1);
    expect(vm, MVM_AGENT_EOF, 1);
    mvm_file_wait(file, &(mvm_waiter){-1, fake_done, &end}, NULL);
    guest_two(vm, MVM_AGENT_STARTED, 1, 0, -1);
    fake_turn(vm);
    assert_int_equal(end.calls, 0);
    guest_two(vm, MVM_AGENT_EXIT, 1, 0, 0);
    fake_turn(vm);
    assert_int_equal(end.calls, 1);
    assert_int_equal(end.err.code, 0);
    assert_int_equal(mvm_file_perm(file), -1);
    mvm_file_unref(file);
    expect_silence(vm);
}

static void test_file_is_read(void **state)
{
    mvm_vm *vm = *state;
    fake_result end = {0};
    size_t len;
    mvm_file *file = mvm_vm_open(vm, "/etc/motd", MVM_FILE_READ, -1, NULL);

    assert_int_equal(mvm_file_perm(file), -1);
    guest_two(vm, MVM_AGENT_STARTED, 1, 0, 0640);
    assert_int_equal(mvm_file_perm(file), 0640);
    guest_frame(vm, MVM_AGENT_DATA, 1, 1, "hello", 5);
    guest_frame(vm, MVM_AGENT_EOF, 1, 1, NULL, 0);
    guest_two(vm, MVM_AGENT_EXIT, 1, 0, 0);
    mvm_file_wait(file, &(mvm_waiter){-1, fake_done, &end}, NULL);
    fake_turn(vm);
    assert_int_equal(end.err.code, 0);
    assert_memory_equal(mvm_stream_peek(mvm_file_stream(file), &len), "hello", 5);
    mvm_file_unref(file);
}

static void test_file_is_dropped_unless_it_is_whole(void **state)
{
    mvm_vm *vm = *state;
    mvm_file *half = mvm_vm_open(vm, "/half", MVM_FILE_WRITE, -1, NULL);

    expect(vm, MVM_AGENT_OPEN, 1);
    mvm_stream_write(mvm_file_stream(half), "x", 1, NULL);
    expect(vm, MVM_AGENT_DATA, 1);
    mvm_file_unref(half);
    expect(vm, MVM_AGENT_CLOSE, 1);

    mvm_file *closed = mvm_vm_open(vm, "/closed", MVM_FILE_WRITE, -1, NULL);
    expect(vm, MVM_AGENT_OPEN, 2);
    mvm_stream_close(mvm_file_stream(closed));
    expect(vm, MVM_AGENT_CLOSE, 2);
    mvm_file_unref(closed);

    mvm_file *whole = mvm_vm_open(vm, "/whole", MVM_FILE_WRITE, -1, NULL);
    expect(vm, MVM_AGENT_OPEN, 3);
    vm->room = 0;
    mvm_stream_write(mvm_file_stream(whole), "x", 1, NULL);
    mvm_stream_shutdown(mvm_file_stream(whole));
    mvm_file_unref(whole); /* nobody waits, but all was said */
    vm->room = SIZE_MAX;
    mvm__agent_writable(vm->agent);
    expect(vm, MVM_AGENT_DATA, 3);
    expect(vm, MVM_AGENT_EOF, 3);
    guest_two(vm, MVM_AGENT_STARTED, 3, 0, -1);
    guest_two(vm, MVM_AGENT_EXIT, 3, 0, 0);
    expect_silence(vm);
    assert_int_equal(vm->lost, 0);
}

static void test_bad_paths_are_refused(void **state)
{
    mvm_vm *vm = *state;
    char path[5000];
    mvm_err err;

    memset(path, 'p', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_null(mvm_vm_open(vm, "", MVM_FILE_READ, -1, &err));
    assert_int_equal(err.code, MVM_ECONFIG);
    assert_null(mvm_vm_open(vm, path, MVM_FILE_READ, -1, &err));
    assert_int_equal(err.code, MVM_ECONFIG);
    assert_null(mvm_vm_open(vm, "/x", MVM_FILE_WRITE, 010000, &err));
    assert_int_equal(err.code, MVM_ECONFIG);
    expect_silence(vm);
}

static void test_objects_outlive_the_machine(void **state)
{
    void *own;
    fake_result end = {0};
    (void)state;
    setup(&own);
    mvm_vm *vm = own;
    mvm_process *process = started(vm, 1);
    mvm_stream *out = mvm_stream_ref(mvm_process_stream(process, 1));

    mvm_process_wait(process, &(mvm_waiter){-1, fake_done, &end}, NULL);
    mvm__agent_free(vm->agent);
    vm->agent = NULL;
    fake_turn(vm);
    assert_int_equal(end.err.code, MVM_EAGENT);
    mvm_process_unref(process);
    mvm_stream_unref(out);
    assert_int_equal(fake_free(vm), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_session_begins),
        T(test_noise_before_hello_is_skipped),
        T(test_other_version_is_told),
        T(test_nothing_runs_without_a_session),
        T(test_exec_frame),
        T(test_command_from_start_to_end),
        T(test_death_by_signal),
        T(test_command_that_can_not_start),
        T(test_bad_commands_are_refused),
        T(test_deadline_names_the_command),
        T(test_letting_go_kills),
        T(test_wait_ends_at_exit),
        T(test_exit_between_the_ends_of_the_outputs),
        T(test_letting_go_after_exit_kills_what_is_left),
        T(test_session_lost_after_exit),
        T(test_error_after_exit),
        T(test_credit_is_granted_as_it_is_read),
        T(test_closed_output_is_drained),
        T(test_input_stays_within_its_credit),
        T(test_closing_input_sends_what_is_queued),
        T(test_streams_take_turns),
        T(test_a_guest_that_reads_nothing_is_noticed),
        T(test_agent_death_is_told_at_once),
        T(test_machine_death_ends_waits_with_its_reason),
        T(test_restarted_agent_is_joined),
        T(test_agent_that_closed_and_came_back),
        T(test_reset_guest_is_joined),
        T(test_power),
        T(test_power_that_is_refused),
        T(test_file_is_written),
        T(test_file_is_read),
        T(test_file_is_dropped_unless_it_is_whole),
        T(test_bad_paths_are_refused),
        cmocka_unit_test(test_objects_outlive_the_machine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
