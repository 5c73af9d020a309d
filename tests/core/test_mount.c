/* SPDX-License-Identifier: MIT */
/*
 * Shares on the host's side: MOUNT calls and the round of them before a machine is ready. The
 * machines are simulated ones whose agent's port the test listens in to: it takes MOUNT frames out
 * and answers them itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "support/sim_lab.h"
#include "vm/mount.h"
#include "vm/record.h"
#include "vm/vm_struct.h"
#include "wire/agent_wire.h"

static const mvm_backend_ops *g_sim;
static mvm_backend_ops g_ops;
static struct {
    uint32_t stream;
    uint8_t what, flags;
    char type[16], tag[64], path[128];
} g_asked[16];
static size_t g_count;
static mvm__buf g_sent;
static mvm_sub *g_sub;
static mvm__buf g_events; /* "name;" of ready and the like, "error:message;" */
static char g_dir[] = "/tmp";

static const char *driver(mvm_vm *vm, const mvm_record *share)
{
    (void)vm;
    return strcmp(mvm_record_str(share, "tag"), "gone") == 0 ? NULL : "virtiofs";
}

static void get_text(mvm_agent_reader *r, char *out, size_t cap)
{
    size_t len;
    const char *text = mvm_agent_get_str(r, &len);

    snprintf(out, cap, "%.*s", (int)len, text);
}

static void note(const mvm_agent_frame *f)
{
    mvm_agent_reader r = {.data = f->payload, .len = f->len};

    assert_true(g_count < MVM_COUNT(g_asked));
    g_asked[g_count].stream = f->stream;
    g_asked[g_count].what = mvm_agent_get_u8(&r);
    g_asked[g_count].flags = mvm_agent_get_u8(&r);
    get_text(&r, g_asked[g_count].type, sizeof(g_asked[0].type));
    get_text(&r, g_asked[g_count].tag, sizeof(g_asked[0].tag));
    get_text(&r, g_asked[g_count].path, sizeof(g_asked[0].path));
    assert_true(!r.bad && r.pos == r.len);
    g_count++;
}

/* MOUNT frames stay here, the rest goes to the simulated agent. */
static size_t listen_in(mvm_vm *vm, const void *data, size_t len)
{
    mvm_agent_frame f;
    long n;

    mvm__buf_append(&g_sent, data, len);
    while ((n = mvm_agent_decode((const uint8_t *)mvm__buf_ptr(&g_sent), mvm__buf_len(&g_sent),
                                 &f)) != 0) {
        size_t took = n < 0 ? 1 : (size_t)n;
        if (n > 0 && f.type == MVM_AGENT_MOUNT)
            note(&f);
        else
            assert_int_equal(took, g_sim->agent_write(vm, mvm__buf_ptr(&g_sent), took));
        mvm__buf_consume(&g_sent, took);
    }
    return len;
}

static void guest_says(mvm_vm *vm, uint8_t type, uint32_t stream, const void *payload, size_t len)
{
    uint8_t bytes[512];

    mvm_agent_header(bytes, type, 0, stream, (uint32_t)len);
    memcpy(bytes + MVM_AGENT_HEADER, payload, len);
    mvm__vm_on_agent_data(vm, bytes, MVM_AGENT_HEADER + len);
}

static void answer(mvm_vm *vm, size_t i)
{
    guest_says(vm, MVM_AGENT_EXIT, g_asked[i].stream, "\0\0\0\0\0\0\0", 8);
}

static void refuse(mvm_vm *vm, size_t i, int number, const char *text)
{
    uint8_t payload[300];
    mvm_agent_writer w = {.data = payload, .cap = sizeof(payload)};

    mvm_agent_put_u32(&w, (uint32_t)number);
    mvm_agent_put_str(&w, text, strlen(text));
    guest_says(vm, MVM_AGENT_ERROR, g_asked[i].stream, payload, w.len);
}

static void on_event(void *ud, mvm_vm *vm, const mvm_event *event)
{
    (void)ud;
    (void)vm;
    if (strcmp(event->name, "state") != 0 && strcmp(event->name, "console") != 0)
        mvm__buf_printf(&g_events, "%s%s%s;", event->name, event->err ? ":" : "",
                        event->err ? event->err->message : "");
}

static int setup(void **state)
{
    g_count = 0;
    *state = sim_lab_new();
    return 0;
}

static int teardown(void **state)
{
    assert_int_equal(0, mvm_lab_close(*state));
    mvm__buf_free(&g_sent);
    mvm__buf_free(&g_events);
    return 0;
}

static mvm_record *add_share(mvm_vm *vm, const char *tag, const char *mount)
{
    mvm_err err;
    mvm_record *share = mvm_record_new(mvm_schema_find("share"));

    set_str(share, "tag", tag);
    set_str(share, "path", g_dir);
    if (mount)
        set_str(share, "mount", mount);
    assert_int_equal(0, mvm_record_append(mvm_vm_config(vm), "devices", share, &err));
    mvm_record_unref(share);
    return share;
}

/* The sim has no shares: they are added behind its back, once it runs. */
static mvm_vm *vm_running(mvm_lab *lab)
{
    mvm_err err;
    ending end;
    mvm_vm *vm = mvm_vm_new(lab, NULL, &err);

    set_num(sub_of(vm, "sim"), "boot", 5);
    assert_non_null(mvm_vm_start(vm, waiter_for(&end, 60), &err));
    assert_int_equal(0, await(lab, &end));
    g_sim = vm->ops;
    g_ops = *g_sim;
    g_ops.share_driver = driver;
    g_ops.agent_write = listen_in;
    vm->ops = &g_ops;
    mvm__record_freeze(vm->config, false);
    g_sub = mvm_vm_subscribe(vm, "*", on_event, NULL, &err);
    assert_non_null(g_sub);
    return vm;
}

static void until_asked(mvm_lab *lab, size_t n)
{
    for (int turns = 0; g_count < n; turns++) {
        assert_true(turns < 1000000);
        mvm_loop_step(mvm_lab_loop(lab), true);
    }
}

static void turn(mvm_lab *lab)
{
    for (int i = 0; i < 8; i++)
        mvm_loop_step(mvm_lab_loop(lab), false);
}

static void over(mvm_lab *lab, mvm_vm *vm)
{
    ending end;
    mvm_err err;

    mvm__record_freeze(vm->config, true);
    assert_non_null(mvm_vm_kill(vm, waiter_for(&end, 60), &err));
    assert_int_equal(0, await(lab, &end));
    turn(lab);
    vm->ops = g_sim;
    mvm_sub_cancel(g_sub);
    mvm_vm_unref(vm);
}

/* ---- before the machine is ready --------------------------------------------------------- */

static void test_ready_waits_for_the_mounts(void **state)
{
    mvm_vm *vm = vm_running(*state);
    ending end;
    mvm_err err;

    set_bool(add_share(vm, "src", "/mnt/src"), "readonly", true);
    add_share(vm, "unmounted", NULL);
    add_share(vm, "out", "/mnt/out");
    assert_non_null(mvm_vm_wait_ready(vm, waiter_for(&end, 60), &err));
    until_asked(*state, 2);
    assert_string_equal(g_asked[0].type, "virtiofs");
    assert_string_equal(g_asked[0].tag, "src");
    assert_string_equal(g_asked[0].path, "/mnt/src");
    assert_int_equal(g_asked[0].what, 0);
    assert_int_equal(g_asked[0].flags, MVM_AGENT_MOUNT_READONLY);
    assert_string_equal(g_asked[1].tag, "out");
    assert_int_equal(g_asked[1].flags, 0);
    answer(vm, 1);
    turn(*state);
    assert_false(mvm_vm_ready(vm));
    assert_int_equal(end.calls, 0);
    answer(vm, 0);
    assert_int_equal(0, await(*state, &end));
    assert_true(mvm_vm_ready(vm));
    assert_string_equal(mvm__buf_str(&g_events), "ready;");
    assert_int_equal(g_count, 2);
    over(*state, vm);
}

static void test_a_mount_that_fails(void **state)
{
    mvm_vm *vm = vm_running(*state);
    ending end;
    mvm_err err;

    add_share(vm, "src", "/mnt/src");
    add_share(vm, "gone", "/mnt/gone");
    add_share(vm, "slow", "/mnt/slow");
    add_share(vm, "odd", "relative");
    assert_non_null(mvm_vm_wait_ready(vm, waiter_for(&end, 60), &err));
    until_asked(*state, 2);
    refuse(vm, 0, 16, "it is in use\a");
    assert_int_equal(0, await(*state, &end)); /* after the deadline of `slow` */
    assert_non_null(strstr(mvm__buf_str(&g_events),
                           "share \"src\" can't be mounted at /mnt/src: it is in use?;"));
    assert_non_null(strstr(mvm__buf_str(&g_events), "it has no share \"gone\";"));
    assert_non_null(strstr(mvm__buf_str(&g_events), "share \"odd\" can't be mounted at relative;"));
    assert_non_null(
        strstr(mvm__buf_str(&g_events), "timed out after 20 s waiting for share \"slow\""));
    assert_non_null(strstr(mvm__buf_str(&g_events), "ready;"));
    answer(vm, 1); /* too late, and in flight: no breach */
    turn(*state);
    assert_true(mvm_vm_ready(vm));
    over(*state, vm);
}

static void test_a_reboot_between(void **state)
{
    mvm_vm *vm = vm_running(*state);
    ending end, again;
    mvm_err err;

    add_share(vm, "src", "/mnt/src");
    assert_non_null(mvm_vm_wait_ready(vm, waiter_for(&end, 60), &err));
    until_asked(*state, 1);
    assert_non_null(mvm_vm_reboot(vm, waiter_for(&again, 60), &err));
    until_asked(*state, 2); /* the new session begins anew */
    assert_int_equal(end.calls, 0);
    assert_int_equal(again.calls, 0);
    answer(vm, 1);
    assert_int_equal(0, await(*state, &end));
    assert_int_equal(0, await(*state, &again));
    assert_string_equal(mvm__buf_str(&g_events), "guest-shutdown;ready;");
    over(*state, vm);
}

static void test_the_end_between(void **state)
{
    mvm_vm *vm = vm_running(*state);

    add_share(vm, "src", "/mnt/src");
    until_asked(*state, 1);
    over(*state, vm);
    assert_null(strstr(mvm__buf_str(&g_events), "ready"));
    assert_null(strstr(mvm__buf_str(&g_events), "error"));
}

/* ---- one by one ----------------------------------------------------------------------------- */

static void test_one_at_a_time(void **state)
{
    mvm_vm *vm = vm_running(*state);
    ending end, in, out, late, cut;
    mvm_err err;

    mvm_record *share = add_share(vm, "src", "/mnt/src");
    assert_null(mvm__mount_one(vm, share, waiter_for(&end, 5), &err));
    assert_int_equal(err.code, MVM_EAGENT);
    assert_non_null(mvm_vm_wait_ready(vm, waiter_for(&end, 60), &err));
    until_asked(*state, 1);
    answer(vm, 0);
    assert_int_equal(0, await(*state, &end));

    assert_non_null(mvm__mount_one(vm, share, waiter_for(&in, 5), &err));
    assert_non_null(mvm__unmount_one(vm, share, waiter_for(&out, 5), &err));
    assert_non_null(mvm__unmount_one(vm, share, waiter_for(&late, 5), &err));
    mvm_wait *wait = mvm__mount_one(vm, share, waiter_for(&cut, 5), &err);
    assert_non_null(wait);
    until_asked(*state, 5);
    assert_int_equal(g_asked[2].what, 1);
    assert_string_equal(g_asked[2].tag, "src");
    mvm_wait_cancel(wait);
    answer(vm, 1);
    refuse(vm, 2, 16, "it is in use by process 7 (sh)");
    assert_int_equal(0, await(*state, &in));
    assert_int_equal(MVM_EGUEST, await(*state, &out));
    assert_string_equal(out.err.message, "share \"src\" can't be unmounted at /mnt/src: it is in "
                                         "use by process 7 (sh)");
    assert_int_equal(MVM_ECANCELLED, await(*state, &cut));
    assert_int_equal(MVM_ETIMEOUT, await(*state, &late));
    assert_string_equal(mvm__buf_str(&g_events), "ready;");
    over(*state, vm);
}

/* A guest that answers in a way that no agent does. */
static void test_a_breach(void **state)
{
    mvm_vm *vm = vm_running(*state);
    ending end;
    mvm_err err;

    add_share(vm, "src", "/mnt/src");
    assert_non_null(mvm_vm_wait_ready(vm, waiter_for(&end, 60), &err));
    until_asked(*state, 1);
    guest_says(vm, MVM_AGENT_STARTED, g_asked[0].stream, "\0\0\0\0\377\377\377\377", 8);
    assert_int_equal(MVM_EAGENT, await(*state, &end));
    assert_non_null(strstr(end.err.message, "broke the protocol"));
    assert_false(mvm_vm_ready(vm));
    over(*state, vm);
}

/* One whose answers come late, twice or for what does not flow: the session ends, nothing else. */
static void test_more_breaches(void **state)
{
    static const struct {
        uint8_t type;
        const char *payload;
        size_t len;
    } wrong[] = {{MVM_AGENT_DATA, "x", 1},
                 {MVM_AGENT_EOF, "", 0},
                 {MVM_AGENT_EXIT, "\3\0\0\0\0\0\0\0", 8},
                 {MVM_AGENT_EXIT, "", 0},
                 {MVM_AGENT_ERROR, "\1", 1},
                 {MVM_AGENT_CREDIT, "\1\0\0\0", 4},
                 {MVM_AGENT_MOUNT, "", 0}};

    for (size_t i = 0; i < MVM_COUNT(wrong); i++) {
        ending end;
        mvm_err err;
        g_count = 0;
        mvm_vm *vm = vm_running(*state);
        add_share(vm, "src", "/mnt/src");
        assert_non_null(mvm_vm_wait_ready(vm, waiter_for(&end, 60), &err));
        until_asked(*state, 1);
        guest_says(vm, wrong[i].type, g_asked[0].stream, wrong[i].payload, wrong[i].len);
        assert_int_equal(MVM_EAGENT, await(*state, &end));
        assert_false(mvm_vm_ready(vm));
        over(*state, vm);
    }
}

/* An agent that does not know the frame, as the sim's. */
static void test_an_agent_that_cannot(void **state)
{
    mvm_vm *vm = vm_running(*state);
    ending end;
    mvm_err err;

    g_ops.agent_write = g_sim->agent_write;
    add_share(vm, "src", "/mnt/src");
    assert_non_null(mvm_vm_wait_ready(vm, waiter_for(&end, 60), &err));
    assert_int_equal(0, await(*state, &end));
    assert_string_equal(mvm__buf_str(&g_events),
                        "error:share \"src\" can't be mounted at /mnt/src: a simulated "
                        "guest mounts nothing;ready;");
    over(*state, vm);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_ready_waits_for_the_mounts),
        TEST(test_a_mount_that_fails),
        TEST(test_a_reboot_between),
        TEST(test_the_end_between),
        TEST(test_one_at_a_time),
        TEST(test_a_breach),
        TEST(test_more_breaches),
        TEST(test_an_agent_that_cannot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
