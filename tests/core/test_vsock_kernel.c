/* SPDX-License-Identifier: MIT */
/*
 * Machines whose vsock device is the kernel's: one socket a port for all of them, told apart by
 * CID. The kernel is played here: what is defined below stands for core/io/vsock_sock.c, which
 * tests/guest/vsock_kernel.c tests where there is a real one.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/sock.h"
#include "io/vsock_sock.h"
#include "mvm/vsock.h"
#include "support/sim_lab.h"
#include "vm/vm_struct.h"

/* ---- the kernel -------------------------------------------------------------------------------
 */

struct mvm__vsock_door {
    uint32_t port;
    mvm__vsock_door_fn fn;
    void *ud;
};

static mvm__vsock_door *g_doors[4];
static uint32_t g_taken;       /* a port of another process */
static uint32_t g_cid, g_port; /* of the last connect */

static mvm__vsock_door **door_at(uint32_t port)
{
    for (size_t i = 0; i < MVM_COUNT(g_doors); i++)
        if (port ? g_doors[i] && g_doors[i]->port == port : !g_doors[i])
            return &g_doors[i];
    return NULL;
}

static size_t count_doors(void)
{
    size_t n = 0;

    for (size_t i = 0; i < MVM_COUNT(g_doors); i++)
        n += g_doors[i] != NULL;
    return n;
}

mvm__vsock_door *mvm__vsock_door_open(mvm_loop *loop, uint32_t port, mvm__vsock_door_fn fn,
                                      void *ud, mvm_err *err)
{
    (void)loop;
    assert_null(door_at(port)); /* a kernel refuses that */
    if (port == g_taken) {
        mvm_fail(err, MVM_ECONFIG, "taken");
        return NULL;
    }
    mvm__vsock_door **place = door_at(0), *door = mvm__alloc(sizeof(*door));
    *door = (mvm__vsock_door){port, fn, ud};
    return *place = door;
}

void mvm__vsock_door_close(mvm__vsock_door *door)
{
    *door_at(door->port) = NULL;
    mvm__free(door);
}

mvm_wait *mvm__vsock_sock_connect(mvm_loop *loop, uint32_t cid, uint32_t port, const char *what,
                                  const mvm_waiter *waiter, mvm_stream **stream, mvm_err *err)
{
    (void)waiter;
    (void)stream;
    g_cid = cid;
    g_port = port;
    assert_non_null(loop);
    assert_string_equal("a: the connection to vsock port 22", what);
    mvm_fail(err, MVM_EIO, "no such guest");
    return NULL;
}

/* A guest (or whoever else) knocks; its end of the connection. */
static int knock(uint32_t port, uint32_t cid, uint32_t from)
{
    int fds[2];

    assert_int_equal(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds));
    const mvm__vsock_door *door = *door_at(port);
    door->fn(door->ud, fds[1], cid, from);
    return fds[0];
}

static void expect_hung_up(int fd)
{
    char byte;

    assert_int_equal(0, read(fd, &byte, 1));
    close(fd);
}

/* ---- the back end, and the scene
 * ----------------------------------------------------------------- */

typedef struct machine {
    mvm_vm *vm;
    mvm_record *device;
    uint32_t cid;
    bool running;
    int came;
    uint32_t from;
    mvm_stream *stream;
} machine;

static void running_now(void *ud)
{
    mvm__vm_on_running(ud);
}

static int be_start(mvm_vm *vm, mvm_err *err)
{
    machine *m = mvm__vm_data(vm);
    int rc = mvm__vm_vsock_open_kernel(vm, m->device, m->cid, err);

    if (rc == 0) {
        m->running = true;
        mvm_loop_defer(mvm__vm_loop(vm), running_now, vm);
    }
    return rc;
}

static void gone_now(void *ud)
{
    machine *m = ud;

    mvm__vm_vsock_close(m->vm, m->device);
    m->running = false;
    mvm__vm_on_exit(m->vm, NULL);
}

static void be_kill(mvm_vm *vm)
{
    mvm_loop_defer(mvm__vm_loop(vm), gone_now, mvm__vm_data(vm));
}

static int be_check(mvm_vm *vm, mvm_err *err)
{
    (void)vm;
    (void)err;
    return 0;
}

static const char *be_cannot(mvm_vm *vm, const char *what)
{
    (void)vm;
    (void)what;
    return NULL;
}

static const mvm_backend_ops g_ops = {
    .name = "qemu", .check = be_check, .cannot = be_cannot, .start = be_start, .kill = be_kill};

typedef struct scene {
    mvm_lab *lab;
    machine a, b;
} scene;

static void prepare(scene *s, machine *m, const char *name, uint32_t cid)
{
    mvm_err err;

    m->cid = cid;
    m->vm = mvm_vm_new(s->lab, name, &err);
    m->device = mvm_record_new(mvm_schema_find("vsock"));
    set_bool(m->device, "kernel", true);
    assert_int_equal(0, mvm_record_append(mvm_vm_config(m->vm), "devices", m->device, &err));
    mvm__vm_set_data(m->vm, m);
}

static void start(scene *s, machine *m)
{
    ending end;
    mvm_err err;

    assert_non_null(mvm_vm_start(m->vm, waiter_for(&end, 10), &err));
    assert_int_equal(0, await(s->lab, &end));
}

static void kill_machine(scene *s, machine *m)
{
    ending end;

    if (!m->running)
        return;
    assert_non_null(mvm_vm_kill(m->vm, waiter_for(&end, 10), NULL));
    assert_int_equal(0, await(s->lab, &end));
}

static int setup(void **state)
{
    scene *s = mvm__alloc(sizeof(*s));

    g_taken = 0;
    s->lab = mvm_lab_new();
    s->lab->backend = &g_ops;
    prepare(s, &s->a, "a", 100);
    prepare(s, &s->b, "b", 101);
    *state = s;
    return 0;
}

static void drop(scene *s, machine *m)
{
    kill_machine(s, m);
    mvm_stream_unref(m->stream);
    mvm_vm_unref(m->vm);
    mvm_record_unref(m->device);
}

static int teardown(void **state)
{
    scene *s = *state;

    drop(s, &s->a);
    drop(s, &s->b);
    assert_int_equal(0, mvm_lab_close(s->lab));
    assert_int_equal(0, count_doors());
    mvm__free(s);
    return 0;
}

static void on_accept(void *ud, mvm_stream *stream, uint32_t port)
{
    machine *m = ud;

    mvm_stream_unref(m->stream);
    m->stream = stream;
    m->from = port;
    m->came++;
}

static mvm_vsock_listener *must_listen(machine *m, uint32_t port)
{
    mvm_err err;
    mvm_vsock_listener *l = mvm_vsock_listen(m->vm, port, on_accept, m, &err);

    assert_non_null(l);
    return l;
}

/* ---- the tests --------------------------------------------------------------------------------
 */

static void test_told_apart(void **state)
{
    scene *s = *state;

    start(s, &s->a);
    start(s, &s->b);
    assert_int_equal(100, mvm_vsock_cid(s->a.vm));
    mvm_vsock_listener *a = must_listen(&s->a, 2000), *b = must_listen(&s->b, 2000);
    assert_int_equal(1, count_doors());
    int fd = knock(2000, 101, 5000);
    assert_int_equal(0, s->a.came);
    assert_int_equal(1, s->b.came);
    assert_int_equal(5000, s->b.from);
    assert_int_equal(0, mvm_stream_write(s->b.stream, "hi", 2, NULL));
    char got[2];
    assert_int_equal(2, read(fd, got, 2));
    close(fd);
    expect_hung_up(knock(2000, 102, 5000)); /* not of this lab */
    expect_hung_up(knock(2000, 1, 5000));
    expect_hung_up(knock(2000, 2, 5000));

    /* Whoever listens last closes it. */
    mvm_vsock_listener_close(b);
    assert_int_equal(1, count_doors());
    expect_hung_up(knock(2000, 101, 5001));
    assert_int_equal(1, s->b.came);
    close(knock(2000, 100, 5002));
    assert_int_equal(1, s->a.came);
    mvm_vsock_listener_close(a);
    assert_int_equal(0, count_doors());
}

/* Listeners are there before their machine and in later runs; the host's port is not. */
static void test_runs(void **state)
{
    scene *s = *state;
    mvm_vsock_listener *first = must_listen(&s->a, 2000), *second = must_listen(&s->a, 2001);

    assert_int_equal(0, count_doors());
    start(s, &s->a);
    assert_int_equal(2, count_doors());
    mvm_vsock_listener *other = must_listen(&s->b, 2000);
    assert_int_equal(2, count_doors());
    start(s, &s->b);
    kill_machine(s, &s->a);
    assert_int_equal(1, count_doors());
    expect_hung_up(knock(2000, 100, 5000));
    close(knock(2000, 101, 5000));
    assert_int_equal(1, s->b.came);
    start(s, &s->a);
    assert_int_equal(2, count_doors());
    close(knock(2001, 100, 5001));
    assert_int_equal(1, s->a.came);
    mvm_vsock_listener_close(other);
    mvm_vsock_listener_close(first);
    mvm_vsock_listener_close(second);
}

static void test_taken(void **state)
{
    scene *s = *state;
    ending end;
    mvm_err err;

    g_taken = 2001;
    mvm_vsock_listener *first = must_listen(&s->a, 2000), *second = must_listen(&s->a, 2001);
    assert_null(mvm_vm_start(s->a.vm, waiter_for(&end, 10), &err));
    assert_int_equal(MVM_ECONFIG, err.code);
    assert_string_equal("a", err.vm);
    assert_int_equal(0, count_doors());
    assert_int_equal(0, mvm_vsock_cid(s->a.vm));
    mvm_vsock_listener_close(second);
    start(s, &s->a);
    assert_null(mvm_vsock_listen(s->a.vm, 2001, on_accept, &s->a, &err));
    assert_int_equal(MVM_ECONFIG, err.code);
    assert_string_equal("a", err.vm);
    g_taken = 0;
    second = must_listen(&s->a, 2001);
    mvm_vsock_listener_close(first);
    mvm_vsock_listener_close(second);
}

static void test_connect(void **state)
{
    scene *s = *state;
    const mvm_waiter nobody = {.timeout = 1};
    mvm_stream *stream = NULL;
    mvm_err err;

    start(s, &s->a);
    assert_null(mvm_vsock_connect(s->a.vm, 22, &nobody, &stream, &err));
    assert_string_equal("no such guest", err.message);
    assert_string_equal("a", err.vm);
    assert_int_equal(100, g_cid);
    assert_int_equal(22, g_port);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_runs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(test_connect, setup, teardown),
    };

    return cmocka_run_group_tests_name("vsock_kernel", tests, NULL, NULL);
}
