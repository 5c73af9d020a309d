/* SPDX-License-Identifier: MIT */
/*
 * The sim back end: its guest's commands, files and console, scripted answers and failures, flow
 * control, determinism, and what a machine costs. In virtual time, through the public API.
 */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "mvm/console.h"
#include "mvm/file.h"
#include "support/sim_lab.h"
#include "wire/agent_wire.h"

static int setup(void **state)
{
    *state = sim_lab_new();
    return 0;
}

static int teardown(void **state)
{
    assert_int_equal(0, mvm_lab_close(*state));
    return 0;
}

static mvm_vm *vm_new(mvm_lab *lab, const char *name)
{
    mvm_vm *vm = mvm_vm_new(lab, name, NULL);

    assert_non_null(vm);
    return vm;
}

static void finish(mvm_lab *lab, mvm_vm *vm)
{
    ending end;

    assert_non_null(mvm_vm_kill(vm, waiter_for(&end, 60), NULL));
    assert_int_equal(0, await(lab, &end));
    mvm_vm_unref(vm);
}

/* ---- running commands -------------------------------------------------------------------- */

typedef struct outcome {
    int code, status, signal; /* code: of the wait */
    char message[256];
    mvm__buf out, err;
} outcome;

static void outcome_free(outcome *o)
{
    mvm__buf_free(&o->out);
    mvm__buf_free(&o->err);
}

/* Moves what has arrived to `to`. */
static void drain(mvm_stream *stream, mvm__buf *to)
{
    size_t len;
    const char *data = mvm_stream_peek(stream, &len);

    mvm__buf_append(to, data, len);
    mvm_stream_consume(stream, len);
}

static mvm_process *spawn(mvm_vm *vm, const char *command, bool stdin_null)
{
    const char *argv[] = {"sh", "-c", command, NULL};
    mvm_process *p = mvm_vm_spawn(vm, &(mvm_exec){.argv = argv, .stdin_null = stdin_null}, NULL);

    assert_non_null(p);
    return p;
}

/* Reads both outputs until the process has ended and they are at their end. */
static void collect(mvm_lab *lab, mvm_process *p, outcome *o)
{
    ending end;

    memset(o, 0, sizeof(*o));
    assert_non_null(mvm_process_wait(p, waiter_for(&end, 600), NULL));
    mvm_stream *out = mvm_process_stream(p, 1), *err = mvm_process_stream(p, 2);
    while (!end.calls || (end.err.code == 0 && (!mvm_stream_eof(out) || !mvm_stream_eof(err)))) {
        drain(out, &o->out);
        drain(err, &o->err);
        mvm_loop_step(mvm_lab_loop(lab), true);
    }
    drain(out, &o->out);
    drain(err, &o->err);
    o->code = end.err.code;
    snprintf(o->message, sizeof(o->message), "%.250s", end.err.message);
    if (o->code == 0)
        mvm_process_result(p, &o->status, &o->signal);
}

static outcome run(mvm_lab *lab, mvm_vm *vm, const char *command)
{
    mvm_process *p = spawn(vm, command, true);
    outcome o;

    collect(lab, p, &o);
    mvm_process_unref(p);
    return o;
}

static void expect(mvm_lab *lab, mvm_vm *vm, const char *command, int status, const char *out,
                   const char *err)
{
    outcome o = run(lab, vm, command);

    if (o.code != 0 || o.status != status || strcmp(mvm__buf_str(&o.out), out) != 0 ||
        strcmp(mvm__buf_str(&o.err), err) != 0)
        fail_msg("`%s`: %d %s, status %d, out \"%s\", err \"%s\"", command, o.code, o.message,
                 o.status, mvm__buf_str(&o.out), mvm__buf_str(&o.err));
    outcome_free(&o);
}

static void test_commands(void **state)
{
    static const struct {
        const char *command;
        int status;
        const char *out, *err;
    } cases[] = {
        {"true", 0, "", ""},
        {"false", 1, "", ""},
        {"exit 7", 7, "", ""},
        {"", 0, "", ""},
        {"echo one two", 0, "one two\n", ""},
        {"echo -n x; echo y", 0, "xy\n", ""},
        {"echo bad >&2", 0, "", "bad\n"},
        {"nosuch a b", 127, "", "sh: nosuch: not found\n"},
        {"nosuch 2>&1", 127, "sh: nosuch: not found\n", ""},
        {"true && echo yes || echo no", 0, "yes\n", ""},
        {"false && echo yes || echo no", 0, "no\n", ""},
        {"false || exit 3; echo never", 3, "", ""},
        {"false; echo $?", 0, "1\n", ""},
        {"A='x  y'; echo \"$A\" $A ${A}", 0, "x  y x y x y\n", ""},
        {"echo 'a;b' \"c d\" e\\ f # comment", 0, "a;b c d e f\n", ""},
        {"sh -c 'exit 4'; echo $?", 0, "4\n", ""},
        {"cd /tmp && pwd", 0, "/tmp\n", ""},
        {"cd /nowhere", 2, "", "sh: cd: can't cd to /nowhere: No such file or directory\n"},
        {"hostname", 0, "box\n", ""},
        {"printf 'a\\tb\\n%s' c", 0, "a\tb\nc", ""},
        {"printf '\\001\\x02'", 0, "\001\002", ""},
        {"echo data > /tmp/f; cat /tmp/f", 0, "data\n", ""},
        {"echo 1 > /tmp/g; echo 2 >> /tmp/g; cat < /tmp/g; wc -l /tmp/g", 0, "1\n2\n2 /tmp/g\n",
         ""},
        {"cat /tmp/none", 1, "", "cat: can't open '/tmp/none': No such file or directory\n"},
        {"cat /tmp", 1, "", "cat: read error: Is a directory\n"},
        {"echo x > /nodir/f", 1, "", "sh: can't create /nodir/f: nonexistent directory\n"},
        {"head -c 5 /dev/zero > /tmp/z; wc -c < /tmp/z", 0, "5\n", ""},
        {"seq 3; seq 2 20 > /tmp/s; head -n 2 /tmp/s", 0, "1\n2\n3\n2\n3\n", ""},
        {"mkdir -p /tmp/a/b && touch /tmp/a/b/c && ls /tmp/a/b; rm -r /tmp/a; ls /tmp/a", 1, "c\n",
         "ls: /tmp/a: No such file or directory\n"},
        {"touch /tmp/m; chmod 750 /tmp/m; stat -c %a /tmp/m", 0, "750\n", ""},
        {"test -f /tmp/m && [ ! -d /tmp/m ] && [ a = a ]", 0, "", ""},
        {"test -e /tmp/none", 1, "", ""},
        {"echo x > /dev/full", 1, "", "echo: write error: No space left on device\n"},
        {"read A; echo got $A", 0, "got\n", ""},
        {"ls | cat", 2, "", "sh: syntax error: `|' is not in the simulated shell\n"},
        {"echo $(date)", 2, "", "sh: syntax error: `$(' is not in the simulated shell\n"},
        {"while true; do echo; done", 2, "",
         "sh: syntax error: `while' is not in the simulated shell\n"},
    };
    mvm_vm *vm = vm_up(*state, vm_new(*state, "box"));

    for (size_t i = 0; i < MVM_COUNT(cases); i++)
        expect(*state, vm, cases[i].command, cases[i].status, cases[i].out, cases[i].err);
    finish(*state, vm);
}

static void test_environment_and_directory(void **state)
{
    mvm_vm *vm = vm_up(*state, vm_new(*state, "box"));
    const char *argv[] = {"sh", "-c", "pwd; echo $GREETING", NULL};
    const char *env[] = {"GREETING=hello world", NULL};
    mvm_exec exec = {.argv = argv, .env = env, .cwd = "/tmp", .stdin_null = true};
    outcome o;

    mvm_process *p = mvm_vm_spawn(vm, &exec, NULL);
    collect(*state, p, &o);
    assert_string_equal("/tmp\nhello world\n", mvm__buf_str(&o.out));
    outcome_free(&o);
    mvm_process_unref(p);
    exec.cwd = "/nowhere";
    p = mvm_vm_spawn(vm, &exec, NULL);
    collect(*state, p, &o);
    assert_int_equal(MVM_EGUEST, o.code);
    outcome_free(&o);
    mvm_process_unref(p);
    finish(*state, vm);
}

static void test_a_list_that_is_no_command(void **state)
{
    mvm_vm *vm = vm_up(*state, vm_new(*state, "box"));
    const char *argv[] = {"nosuch", NULL};
    mvm_process *p = mvm_vm_spawn(vm, &(mvm_exec){.argv = argv}, NULL);
    outcome o;

    collect(*state, p, &o);
    assert_int_equal(MVM_EGUEST, o.code);
    assert_non_null(strstr(o.message, "No such file or directory"));
    outcome_free(&o);
    mvm_process_unref(p);
    finish(*state, vm);
}

static void test_signals(void **state)
{
    mvm_vm *vm = vm_up(*state, vm_new(*state, "box"));
    outcome o = run(*state, vm, "echo first; kill -9 $$; echo never");

    assert_int_equal(9, o.signal);
    assert_int_equal(137, o.status);
    assert_string_equal("first\n", mvm__buf_str(&o.out));
    outcome_free(&o);

    mvm_process *p = spawn(vm, "sleep 1000", true);
    pass(*state, 1);
    assert_int_equal(0, mvm_process_kill(p, 15, NULL));
    collect(*state, p, &o);
    assert_int_equal(15, o.signal);
    assert_true(mvm_loop_now(mvm_lab_loop(*state)) < 10);
    outcome_free(&o);
    mvm_process_unref(p);

    p = spawn(vm, "sleep 1; echo done", true);
    pass(*state, 0.5);
    assert_int_equal(0, mvm_process_kill(p, 19, NULL)); /* STOP, CONT */
    pass(*state, 50);
    assert_false(mvm_process_ended(p));
    assert_int_equal(0, mvm_process_kill(p, 18, NULL));
    collect(*state, p, &o);
    assert_string_equal("done\n", mvm__buf_str(&o.out));
    outcome_free(&o);
    mvm_process_unref(p);
    finish(*state, vm);
}

/* ---- flow control ---------------------------------------------------------------------------- */

static void test_stdin_is_held_back(void **state)
{
    mvm_vm *vm = vm_up(*state, vm_new(*state, "box"));
    mvm_process *p = spawn(vm, "cat", false);
    mvm_stream *in = mvm_process_stream(p, 0);
    size_t size = 4u << 20;
    char *bytes = mvm__alloc(size);
    outcome o;

    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)(i * 7 + (i >> 9));
    assert_int_equal(0, mvm_stream_write(in, bytes, size, NULL));
    mvm_stream_shutdown(in);
    pass(*state, 100);
    assert_true(mvm_stream_queued(in) > size / 2); /* nobody reads: what fits in the windows went */
    assert_false(mvm_process_ended(p));
    collect(*state, p, &o);
    assert_int_equal(0, o.status);
    assert_int_equal(size, mvm__buf_len(&o.out));
    assert_memory_equal(bytes, mvm__buf_ptr(&o.out), size);
    outcome_free(&o);
    mvm__free(bytes);
    mvm_process_unref(p);
    finish(*state, vm);
}

static void test_endless_output_is_bounded_and_starves_nobody(void **state)
{
    mvm_vm *vm = vm_up(*state, vm_new(*state, "box"));
    mvm_process *yes = spawn(vm, "yes", true);
    mvm_process *others[63];
    outcome o;
    size_t len;

    pass(*state, 5);
    mvm_stream_peek(mvm_process_stream(yes, 1), &len);
    assert_int_equal(MVM_AGENT_WINDOW, len);
    for (size_t i = 0; i < MVM_COUNT(others); i++)
        others[i] = spawn(vm, "echo here", true);
    for (size_t i = 0; i < MVM_COUNT(others); i++) {
        collect(*state, others[i], &o);
        assert_string_equal("here\n", mvm__buf_str(&o.out));
        outcome_free(&o);
        mvm_process_unref(others[i]);
    }
    assert_int_equal(0, mvm_process_kill(yes, 9, NULL));
    collect(*state, yes, &o);
    assert_int_equal(9, o.signal);
    assert_memory_equal("y\ny\ny\n", mvm__buf_ptr(&o.out), 6);
    outcome_free(&o);
    mvm_process_unref(yes);
    finish(*state, vm);
}

static void test_end_does_not_wait_for_a_reader(void **state)
{
    mvm_vm *vm = vm_up(*state, vm_new(*state, "box"));
    mvm_process *p = spawn(vm, "head -c 290000 /dev/zero; exit 3", true);
    ending end;
    outcome o;
    size_t len;

    assert_non_null(mvm_process_wait(p, waiter_for(&end, 60), NULL));
    assert_int_equal(0, await(*state, &end));
    mvm_stream_peek(mvm_process_stream(p, 1), &len);
    assert_int_equal(MVM_AGENT_WINDOW, len);
    assert_false(mvm_stream_eof(mvm_process_stream(p, 1)));
    collect(*state, p, &o); /* all of it can be read after the end */
    assert_int_equal(3, o.status);
    assert_int_equal(290000, mvm__buf_len(&o.out));
    outcome_free(&o);
    mvm_process_unref(p);

    p = spawn(vm, "yes", false);
    pass(*state, 1);
    assert_int_equal(0, mvm_process_kill(p, 9, NULL));
    assert_non_null(mvm_process_wait(p, waiter_for(&end, 60), NULL));
    assert_int_equal(0, await(*state, &end));
    assert_false(mvm_stream_eof(mvm_process_stream(p, 1)));
    /* What is still written to it is dropped, and holds nobody up. */
    MVM_AUTO_FREE char *bytes = mvm__alloc(1u << 20);
    assert_int_equal(0, mvm_stream_write(mvm_process_stream(p, 0), bytes, 1u << 20, NULL));
    pass(*state, 1);
    assert_int_equal(0, mvm_stream_queued(mvm_process_stream(p, 0)));
    collect(*state, p, &o);
    assert_int_equal(9, o.signal);
    assert_true(mvm__buf_len(&o.out) > MVM_AGENT_WINDOW);
    outcome_free(&o);
    mvm_process_unref(p);
    finish(*state, vm);
}

/* ---- scripting
 * ----------------------------------------------------------------------------------- */

static bool answer(void *ud, mvm_vm *vm, const char *const *argv, mvm_sim_reply *reply)
{
    ++*(int *)ud;
    (void)vm;
    if (strcmp(argv[0], "probe") != 0)
        return false;
    *reply = (mvm_sim_reply){
        .status = 3, .delay = 5, .out = "a\0b", .out_len = 3, .err = "e", .err_len = 1};
    return true;
}

static void test_script_answers(void **state)
{
    mvm_vm *vm = vm_new(*state, "box");
    const char *argv[] = {"probe", "x", NULL};
    mvm_err err;
    int asked = 0;
    outcome o;

    assert_int_equal(0, mvm_sim_script(vm, answer, &asked, NULL));
    vm_up(*state, vm);
    assert_int_equal(MVM_ESTATE, mvm_sim_script(vm, NULL, NULL, &err));
    double before = mvm_loop_now(mvm_lab_loop(*state));
    mvm_process *p = mvm_vm_spawn(vm, &(mvm_exec){.argv = argv}, NULL);
    collect(*state, p, &o);
    assert_int_equal(3, o.status);
    assert_int_equal(3, mvm__buf_len(&o.out));
    assert_memory_equal("a\0b", mvm__buf_ptr(&o.out), 3);
    assert_string_equal("e", mvm__buf_str(&o.err));
    assert_float_equal(5, mvm_loop_now(mvm_lab_loop(*state)) - before, 0.001);
    outcome_free(&o);
    mvm_process_unref(p);
    expect(*state, vm, "echo built-in", 0, "built-in\n", "");
    assert_int_equal(2, asked);
    finish(*state, vm);
}

static void test_failing_commands_and_files(void **state)
{
    mvm_vm *vm = vm_up(*state, vm_new(*state, "box"));
    ending end;

    assert_int_equal(0, mvm_sim_fail(vm, "exec", 2, "out of processes", NULL));
    for (int i = 0; i < 2; i++) {
        outcome o = run(*state, vm, "true");
        assert_int_equal(MVM_EGUEST, o.code);
        assert_non_null(strstr(o.message, "out of processes"));
        outcome_free(&o);
    }
    expect(*state, vm, "true", 0, "", "");
    assert_int_equal(0, mvm_sim_fail(vm, "open", -1, "disk on fire", NULL));
    for (int i = 0; i < 3; i++) {
        mvm_file *file = mvm_vm_open(vm, "/etc/hostname", MVM_FILE_READ, -1, NULL);
        assert_non_null(mvm_file_wait(file, waiter_for(&end, 60), NULL));
        assert_int_equal(MVM_EGUEST, await(*state, &end));
        assert_non_null(strstr(end.err.message, "disk on fire"));
        mvm_file_unref(file);
    }
    finish(*state, vm);
}

static void test_agent_that_does_not_come(void **state)
{
    mvm_vm *vm = vm_new(*state, "box");
    ending end;

    assert_int_equal(0, mvm_sim_fail(vm, "agent", 1, "no such port", NULL));
    assert_non_null(mvm_vm_start(vm, waiter_for(&end, 60), NULL));
    assert_int_equal(0, await(*state, &end));
    assert_non_null(mvm_vm_wait_ready(vm, waiter_for(&end, 60), NULL));
    assert_int_equal(MVM_ETIMEOUT, await(*state, &end));
    finish(*state, vm);
}

static void test_stop_that_fails(void **state)
{
    mvm_vm *vm = vm_up(*state, vm_new(*state, "box"));
    ending end;

    assert_int_equal(0, mvm_sim_fail(vm, "stop", 1, "busy", NULL));
    double before = mvm_loop_now(mvm_lab_loop(*state));
    assert_non_null(mvm_vm_stop(vm, waiter_for(&end, 5), NULL));
    assert_int_equal(MVM_EGUEST, await(*state, &end)); /* the agent says no, at once */
    assert_string_equal("busy", end.err.message);
    assert_float_equal(0, mvm_loop_now(mvm_lab_loop(*state)) - before, 0.001);
    assert_int_equal(MVM_RUNNING, mvm_vm_state(vm));
    assert_non_null(mvm_vm_stop(vm, waiter_for(&end, 5), NULL));
    assert_int_equal(0, await(*state, &end));
    mvm_vm_unref(vm);
}

static void test_latency(void **state)
{
    mvm_vm *vm = vm_new(*state, "box");

    set_num(sub_of(vm, "sim"), "latency", 2);
    vm_up(*state, vm);
    double before = mvm_loop_now(mvm_lab_loop(*state));
    expect(*state, vm, "echo late", 0, "late\n", "");
    assert_float_equal(2, mvm_loop_now(mvm_lab_loop(*state)) - before, 0.001);
    finish(*state, vm);
}

/* ---- files
 * ------------------------------------------------------------------------------------------ */

static int read_file(mvm_lab *lab, mvm_vm *vm, const char *path, mvm__buf *out, int *perm)
{
    mvm_file *file = mvm_vm_open(vm, path, MVM_FILE_READ, -1, NULL);
    ending end;

    assert_non_null(mvm_file_wait(file, waiter_for(&end, 600), NULL));
    while (!end.calls || (end.err.code == 0 && !mvm_stream_eof(mvm_file_stream(file)))) {
        drain(mvm_file_stream(file), out);
        mvm_loop_step(mvm_lab_loop(lab), true);
    }
    drain(mvm_file_stream(file), out);
    *perm = mvm_file_perm(file);
    mvm_file_unref(file);
    return end.err.code;
}

static int write_file(mvm_lab *lab, mvm_vm *vm, const char *path, const char *data, size_t len,
                      int perm, mvm_err *err)
{
    mvm_file *file = mvm_vm_open(vm, path, MVM_FILE_WRITE, perm, NULL);
    ending end;

    assert_int_equal(0, mvm_stream_write(mvm_file_stream(file), data, len, NULL));
    mvm_stream_shutdown(mvm_file_stream(file));
    assert_non_null(mvm_file_wait(file, waiter_for(&end, 600), NULL));
    await(lab, &end);
    *err = end.err;
    mvm_file_unref(file);
    return end.err.code;
}

static void test_files(void **state)
{
    mvm_vm *vm = vm_new(*state, "box");
    mvm__buf got = {0};
    mvm_err err;
    int perm;

    assert_int_equal(0, mvm_sim_file(vm, "/srv/data/one", "image", 5, NULL));
    assert_int_equal(MVM_ECONFIG, mvm_sim_file(vm, "relative", "x", 1, &err));
    vm_up(*state, vm);
    assert_int_equal(0, read_file(*state, vm, "/srv/data/one", &got, &perm));
    assert_string_equal("image", mvm__buf_str(&got));
    mvm__buf_free(&got);
    assert_int_equal(0, write_file(*state, vm, "/srv/data/one", "changed", 7, 0600, &err));
    assert_int_equal(0, read_file(*state, vm, "/srv/data/../data/./one", &got, &perm));
    assert_string_equal("changed", mvm__buf_str(&got));
    assert_int_equal(0600, perm);
    mvm__buf_free(&got);

    assert_int_equal(MVM_EGUEST, read_file(*state, vm, "/srv/none", &got, &perm));
    assert_int_equal(MVM_EGUEST, read_file(*state, vm, "/srv/data", &got, &perm));
    assert_int_equal(MVM_EGUEST, write_file(*state, vm, "/no/dir", "x", 1, -1, &err));
    assert_non_null(strstr(err.message, "No such file or directory"));
    assert_int_equal(MVM_EGUEST, write_file(*state, vm, "/srv/data", "x", 1, -1, &err));
    assert_non_null(strstr(err.message, "Is a directory"));
    finish(*state, (mvm_vm_ref(vm), vm));

    vm_up(*state, vm); /* the image is as it was */
    assert_int_equal(0, read_file(*state, vm, "/srv/data/one", &got, &perm));
    assert_string_equal("image", mvm__buf_str(&got));
    assert_int_equal(0644, perm);
    mvm__buf_free(&got);
    finish(*state, vm);
}

static void test_no_space_left(void **state)
{
    mvm_vm *vm = vm_up(*state, vm_new(*state, "box"));
    static char big[200000];
    mvm_err err;

    expect(*state, vm, "mkdir /tmp/s; mount -t tmpfs -o size=100k none /tmp/s", 0, "", "");
    assert_int_equal(MVM_EGUEST, write_file(*state, vm, "/tmp/s/f", big, sizeof(big), -1, &err));
    assert_non_null(strstr(err.message, "No space left"));
    expect(*state, vm, "ls /tmp/s", 0, "", ""); /* nothing half-written stays */
    assert_int_equal(0, write_file(*state, vm, "/tmp/s/f", big, 50000, -1, &err));
    finish(*state, vm);
}

/* ---- the console
 * ---------------------------------------------------------------------------------------- */

static const char *console_text(mvm_vm *vm, mvm__buf *copy)
{
    uint64_t pos = 0;
    size_t len;
    const char *text = mvm_console_text(mvm_vm_console(vm), &pos, &len);

    mvm__buf_append(copy, text, len);
    return mvm__buf_str(copy);
}

static void type(mvm_lab *lab, mvm_vm *vm, const char *text)
{
    assert_int_equal(0, mvm_console_send(mvm_vm_console(vm), text, strlen(text), NULL));
    pass(lab, 1);
}

static void test_console_is_a_shell(void **state)
{
    mvm_vm *vm = vm_up(*state, vm_new(*state, "box"));
    mvm__buf text = {0};

    type(*state, vm, "echo onetwo\b\bX; nosuch\n");
    type(*state, vm, "sleep 1000\n");
    type(*state, vm, "\003echo awake\n");
    console_text(vm, &text);
    assert_non_null(strstr(mvm__buf_str(&text), "Linux version 6.1.0-sim"));
    assert_non_null(strstr(mvm__buf_str(&text), "\r\nonetX\r\n"));
    assert_non_null(strstr(mvm__buf_str(&text), "sh: nosuch: not found\r\n"));
    assert_non_null(strstr(mvm__buf_str(&text), "^C\r\n"));
    assert_non_null(strstr(mvm__buf_str(&text), "\r\nawake\r\n"));
    mvm__buf_free(&text);
    finish(*state, vm);
}

/* ---- determinism
 * --------------------------------------------------------------------------------------------- */

/* Console text and output of a run with a seed. */
static void record_run(int64_t seed, mvm__buf *record)
{
    mvm_lab *lab = sim_lab_new();
    mvm_vm *vm = vm_new(lab, "box");

    set_int(sub_of(vm, "sim"), "seed", seed);
    vm_up(lab, vm);
    outcome o = run(lab, vm, "head -c 64 /dev/urandom; cat /proc/sys/kernel/random/uuid; echo $$");
    mvm__buf_append(record, mvm__buf_ptr(&o.out), mvm__buf_len(&o.out));
    outcome_free(&o);
    console_text(vm, record);
    finish(lab, vm);
    assert_int_equal(0, mvm_lab_close(lab));
}

static void test_one_console(void **state)
{
    mvm_vm *vm = vm_new(*state, "web");
    mvm_err err;

    for (int i = 0; i < 2; i++) {
        mvm_record *console = mvm_record_new(mvm_schema_find("console"));
        if (i == 1)
            set_str(console, "type", "hvc");
        assert_int_equal(0, mvm_vm_attach(vm, console, &err));
        mvm_record_unref(console);
        assert_int_equal(i == 0 ? 0 : MVM_EUNSUPPORTED, mvm_vm_check(vm, &err));
    }
    assert_string_equal("devices[2]", err.field);
    mvm_vm_unref(vm);
}

static void test_same_seed_same_run(void **state)
{
    mvm__buf one = {0}, again = {0}, other = {0};

    (void)state;
    record_run(1, &one);
    record_run(1, &again);
    record_run(2, &other);
    assert_int_equal(mvm__buf_len(&one), mvm__buf_len(&again));
    assert_memory_equal(mvm__buf_ptr(&one), mvm__buf_ptr(&again), mvm__buf_len(&one));
    assert_memory_not_equal(mvm__buf_ptr(&one), mvm__buf_ptr(&other), 64);
    mvm__buf_free(&one);
    mvm__buf_free(&again);
    mvm__buf_free(&other);
}

static void test_two_thousand_machines(void **state)
{
    enum { MANY = 2000 };
    mvm_lab *lab = *state;
    mvm_vm **vms = mvm__alloc(MANY * sizeof(mvm_vm *));
    size_t before = mallinfo2().uordblks;

    for (int i = 0; i < MANY; i++)
        vms[i] = vm_up(lab, vm_new(lab, NULL));
    expect(lab, vms[MANY - 1], "hostname", 0, "vm2000\n", "");
    size_t each = (mallinfo2().uordblks - before) / MANY;
    if (each > 65536)
        fail_msg("a machine takes %zu bytes", each);
    for (int i = 0; i < MANY; i++)
        finish(lab, vms[i]);
    mvm__free(vms);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(commands),
        T(environment_and_directory),
        T(a_list_that_is_no_command),
        T(signals),
        T(stdin_is_held_back),
        T(endless_output_is_bounded_and_starves_nobody),
        T(end_does_not_wait_for_a_reader),
        T(script_answers),
        T(failing_commands_and_files),
        T(agent_that_does_not_come),
        T(stop_that_fails),
        T(latency),
        T(files),
        T(no_space_left),
        T(console_is_a_shell),
        T(one_console),
        T(same_seed_same_run),
        T(two_thousand_machines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
