/* SPDX-License-Identifier: MIT */
/*
 * Where a guest's connections lead: listeners, other machines, programs on unix sockets; and what
 * is left of them when a program goes silent, a machine is killed or a guest lies. Guests are
 * played by the fake driver, the back end is a table that opens the device and closes it.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "mvm/vsock.h"
#include "support/sim_lab.h"
#include "support/vsock_driver.h"
#include "vm/vm_struct.h"

#define PATIENCE 20.0
#define OTHER    8u /* CID of the second machine; the first has VSD_CID */

/* ---- the back end --------------------------------------------------------------------------- */

typedef struct machine {
    mvm_vm *vm;
    mvm_record *device;
    mvm_sub *sub;
    vsd d;
    bool running;
    char events[1024]; /* "name:arg:arg;" of each */
} machine;

static void running_now(void *ud)
{
    mvm__vm_on_running(ud);
}

static int be_start(mvm_vm *vm, mvm_err *err)
{
    machine *m = mvm__vm_data(vm);
    int listener = vsd_listener();

    vsd_connect(&m->d, mvm__vm_loop(vm), listener);
    int rc = mvm__vm_vsock_open(vm, m->device, listener, err);
    if (rc != 0) {
        vsd_free(&m->d);
        return rc;
    }
    m->running = true;
    mvm_loop_defer(mvm__vm_loop(vm), running_now, vm);
    return 0;
}

static void gone_now(void *ud)
{
    machine *m = ud;

    mvm__vm_vsock_close(m->vm, m->device);
    vsd_free(&m->d);
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

/* ---- the scene ------------------------------------------------------------------------------ */

typedef struct scene {
    mvm_lab *lab;
    mvm_loop *loop;
    machine a, b;
    char dir[40], path[64]; /* of a's unix face */
    mvm_stream *came;       /* the last that a listener got */
    uint32_t came_port;
    int ncame;
} scene;

static void on_event(void *ud, mvm_vm *vm, const mvm_event *event)
{
    machine *m = ud;
    size_t len = strlen(m->events);

    (void)vm;
    len += (size_t)snprintf(m->events + len, sizeof(m->events) - len, "%s", event->name);
    for (int i = 0; i < event->nargs && event->args[i].type == MVM_T_STRING; i++)
        len += (size_t)snprintf(m->events + len, sizeof(m->events) - len, ":%.*s",
                                (int)event->args[i].as.string.len, event->args[i].as.string.ptr);
    snprintf(m->events + len, sizeof(m->events) - len, "%s%s;", event->err ? ":" : "",
             event->err ? event->err->message : "");
}

static void prepare(scene *s, machine *m, const char *name, uint32_t cid, const char *path)
{
    mvm_err err;

    m->vm = mvm_vm_new(s->lab, name, &err);
    m->device = mvm_record_new(mvm_schema_find("vsock"));
    set_int(m->device, "cid", cid);
    if (path)
        set_str(m->device, "unix", path);
    assert_int_equal(0, mvm_record_append(mvm_vm_config(m->vm), "devices", m->device, &err));
    mvm__vm_set_data(m->vm, m);
}

static void start(scene *s, machine *m)
{
    ending end;
    mvm_err err;

    m->sub = mvm_vm_subscribe(m->vm, "*", on_event, m, &err);
    if (!mvm_vm_start(m->vm, waiter_for(&end, PATIENCE), &err))
        fail_msg("%s", err.message);
    assert_int_equal(0, await(s->lab, &end));
    m->d.cid = mvm_vsock_cid(m->vm);
    vsd_setup(&m->d, 0);
    m->events[0] = '\0';
}

static int setup(void **state)
{
    scene *s = mvm__alloc(sizeof(*s));

    snprintf(s->dir, sizeof(s->dir), "/tmp/macvm-test-XXXXXX");
    if (!mkdtemp(s->dir))
        return -1;
    snprintf(s->path, sizeof(s->path), "%s/vm.sock", s->dir);
    s->lab = mvm_lab_new();
    s->lab->backend = &g_ops;
    s->loop = mvm_lab_loop(s->lab);
    prepare(s, &s->a, "a", VSD_CID, s->path);
    prepare(s, &s->b, "b", OTHER, NULL);
    start(s, &s->a);
    start(s, &s->b);
    *state = s;
    return 0;
}

static void kill_machine(scene *s, machine *m)
{
    ending end;

    if (!m->running)
        return;
    assert_non_null(mvm_vm_kill(m->vm, waiter_for(&end, PATIENCE), NULL));
    assert_int_equal(0, await(s->lab, &end));
}

static void drop_machine(scene *s, machine *m)
{
    kill_machine(s, m);
    mvm_sub_cancel(m->sub);
    mvm_vm_unref(m->vm);
    mvm_record_unref(m->device);
}

static int teardown(void **state)
{
    scene *s = *state;

    mvm_stream_unref(s->came);
    drop_machine(s, &s->a);
    drop_machine(s, &s->b);
    assert_int_equal(0, mvm_lab_close(s->lab));
    assert_int_not_equal(0, access(s->path, F_OK));
    assert_int_equal(0, rmdir(s->dir));
    mvm__free(s);
    return 0;
}

/* ---- the other ends ---------------------------------------------------------------------------
 */

/* The next packet of that connection; those of others and news of credit are passed over. */
static void expect_packet(machine *m, uint16_t op, uint32_t guest_port, mvm__vsock_header *out,
                          void *data)
{
    mvm__vsock_header header;

    do
        assert_true(vsd_recv(&m->d, &header, data));
    while (header.dst_port != guest_port || header.op == MVM__VSOCK_CREDIT_UPDATE);
    assert_int_equal(op, header.op);
    if (out)
        *out = header;
}

/* A guest connects to a port of another machine. */
static void dial_cid(machine *m, uint32_t guest_port, uint64_t cid, uint32_t port)
{
    const mvm__vsock_header header = {.src_cid = m->d.cid,
                                      .dst_cid = cid,
                                      .src_port = guest_port,
                                      .dst_port = port,
                                      .type = MVM__VSOCK_STREAM,
                                      .op = MVM__VSOCK_REQUEST,
                                      .buf_alloc = 1u << 20};

    vsd_send(&m->d, &header, NULL);
}

/* The same of what it says to that. */
static void say_cid(machine *m, uint32_t guest_port, uint64_t cid, uint32_t port, uint16_t op,
                    const char *text)
{
    const mvm__vsock_header header = {.src_cid = m->d.cid,
                                      .dst_cid = cid,
                                      .src_port = guest_port,
                                      .dst_port = port,
                                      .len = (uint32_t)strlen(text),
                                      .type = MVM__VSOCK_STREAM,
                                      .op = op,
                                      .buf_alloc = 1u << 20};

    vsd_send(&m->d, &header, text);
}

static int dial_path(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    assert_int_equal(0, connect(fd, (struct sockaddr *)&addr, sizeof(addr)));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void program_says(int fd, const char *text)
{
    assert_int_equal(strlen(text), send(fd, text, strlen(text), MSG_NOSIGNAL));
}

/* Reads until `len` bytes or the end; how many came. */
static size_t program_hears(scene *s, int fd, char *out, size_t len)
{
    double deadline = mvm_loop_now(s->loop) + PATIENCE;
    size_t got = 0;

    while (got < len) {
        ssize_t n = read(fd, out + got, len - got);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            break;
        if (n > 0)
            got += (size_t)n;
        else
            mvm_loop_step(s->loop, true);
        assert_true(mvm_loop_now(s->loop) < deadline);
    }
    return got;
}

static void expect_end(scene *s, int *fd)
{
    char byte;

    assert_int_equal(0, program_hears(s, *fd, &byte, 1));
    close(*fd);
    *fd = -1;
}

static void on_accept(void *ud, mvm_stream *stream, uint32_t port)
{
    scene *s = ud;

    mvm_stream_unref(s->came);
    s->came = stream;
    s->came_port = port;
    s->ncame++;
}

/* ---- listeners ----------------------------------------------------------------------------------
 */

static void test_listener(void **state)
{
    scene *s = *state;
    mvm_err err;

    mvm_vsock_listener *l = mvm_vsock_listen(s->a.vm, 80, on_accept, s, &err);
    assert_non_null(l);
    assert_null(mvm_vsock_listen(s->a.vm, 80, on_accept, s, &err));
    assert_int_equal(MVM_ECONFIG, err.code);
    vsd_op(&s->a.d, MVM__VSOCK_REQUEST, 5000, 80);
    expect_packet(&s->a, MVM__VSOCK_RESPONSE, 5000, NULL, NULL);
    assert_int_equal(1, s->ncame);
    assert_int_equal(5000, s->came_port);
    vsd_op(&s->a.d, MVM__VSOCK_REQUEST, 5001, 81);
    expect_packet(&s->a, MVM__VSOCK_RST, 5001, NULL, NULL);
    mvm_loop_step(s->loop, false);
    assert_string_equal("channel:vsock:80:open;channel:vsock:81:refused;", s->a.events);

    /* Connections live on when it is closed, new ones are refused. */
    mvm_vsock_listener_close(l);
    assert_int_equal(0, mvm_stream_write(s->came, "x", 1, &err));
    expect_packet(&s->a, MVM__VSOCK_RW, 5000, NULL, (char[VSD_BUFFER]){0});
    vsd_op(&s->a.d, MVM__VSOCK_REQUEST, 5002, 80);
    expect_packet(&s->a, MVM__VSOCK_RST, 5002, NULL, NULL);
}

/* One that is left open when its machine goes. */
static void test_listener_outlives(void **state)
{
    scene *s = *state;
    mvm_err err;
    mvm_vm *vm = mvm_vm_new(s->lab, "c", &err);

    mvm_vsock_listener *l = mvm_vsock_listen(vm, 80, on_accept, s, &err);
    mvm_vm_unref(vm);
    mvm_vsock_listener_close(l);
}

static void test_states(void **state)
{
    scene *s = *state;
    const mvm_waiter nobody = {.timeout = 1};
    mvm_stream *stream = NULL;
    mvm_err err;
    mvm_vm *vm = mvm_vm_new(s->lab, "c", &err);

    assert_null(mvm_vsock_connect(vm, 1, &nobody, &stream, &err));
    assert_int_equal(MVM_ESTATE, err.code);
    mvm_vm_unref(vm);

    /* Nobody answers, or somebody says no. */
    mvm__vsock_header header;
    ending end;
    assert_non_null(mvm_vsock_connect(s->a.vm, 22, waiter_for(&end, 0.05), &stream, &err));
    assert_int_equal(MVM_ETIMEOUT, await(s->lab, &end));
    mvm_stream_unref(stream);
    assert_true(vsd_recv(&s->a.d, &header, NULL));
    expect_packet(&s->a, MVM__VSOCK_RST, 22, NULL, NULL); /* it is given up */
    assert_non_null(mvm_vsock_connect(s->a.vm, 23, waiter_for(&end, PATIENCE), &stream, &err));
    expect_packet(&s->a, MVM__VSOCK_REQUEST, 23, &header, NULL);
    vsd_op(&s->a.d, MVM__VSOCK_RST, 23, header.src_port);
    assert_int_equal(MVM_EGUEST, await(s->lab, &end));
    mvm_stream_unref(stream);
}

/* ---- machine to machine ---------------------------------------------------------------------- */

static void meet(scene *s, uint32_t from, uint32_t port)
{
    mvm__vsock_header header;

    dial_cid(&s->a, from, OTHER, port);
    expect_packet(&s->b, MVM__VSOCK_REQUEST, port, &header, NULL);
    assert_int_equal(VSD_CID, header.src_cid);
    assert_int_equal(from, header.src_port);
    say_cid(&s->b, port, VSD_CID, from, MVM__VSOCK_RESPONSE, "");
    expect_packet(&s->a, MVM__VSOCK_RESPONSE, from, &header, NULL);
    assert_int_equal(OTHER, header.src_cid);
}

static void test_machines(void **state)
{
    scene *s = *state;
    char data[VSD_BUFFER];
    mvm__vsock_header header;

    meet(s, 6000, 90);
    say_cid(&s->a, 6000, OTHER, 90, MVM__VSOCK_RW, "across");
    expect_packet(&s->b, MVM__VSOCK_RW, 90, &header, data);
    assert_int_equal(6, header.len);
    assert_memory_equal("across", data, 6);
    say_cid(&s->b, 90, VSD_CID, 6000, MVM__VSOCK_RW, "and back");
    expect_packet(&s->a, MVM__VSOCK_RW, 6000, &header, data);
    assert_memory_equal("and back", data, 8);
    say_cid(&s->b, 90, VSD_CID, 6000, MVM__VSOCK_RST, "");
    expect_packet(&s->a, MVM__VSOCK_SHUTDOWN, 6000, &header, data);

    /* One that says no, one that is not there, oneself, and what nobody may have. */
    dial_cid(&s->a, 6001, OTHER, 91);
    expect_packet(&s->b, MVM__VSOCK_REQUEST, 91, NULL, NULL);
    say_cid(&s->b, 91, VSD_CID, 6001, MVM__VSOCK_RST, "");
    expect_packet(&s->a, MVM__VSOCK_RST, 6001, NULL, NULL);
    const uint64_t nobody[] = {OTHER + 1, VSD_CID, 0, 1, UINT32_MAX, UINT64_MAX};
    for (size_t i = 0; i < MVM_COUNT(nobody); i++) {
        dial_cid(&s->a, 6010, nobody[i], 91);
        expect_packet(&s->a, MVM__VSOCK_RST, 6010, NULL, NULL);
    }
}

static void test_far_machine_killed(void **state)
{
    scene *s = *state;

    meet(s, 6100, 90);
    dial_cid(&s->a, 6101, OTHER, 91); /* never answered */
    expect_packet(&s->b, MVM__VSOCK_REQUEST, 91, NULL, NULL);
    kill_machine(s, &s->b);
    for (int i = 0; i < 2; i++) {
        mvm__vsock_header header;
        assert_true(vsd_recv(&s->a.d, &header, NULL));
        if (header.dst_port == 6101)
            assert_int_equal(MVM__VSOCK_RST, header.op);
        else
            assert_true(header.op == MVM__VSOCK_SHUTDOWN || header.op == MVM__VSOCK_RST);
    }
    dial_cid(&s->a, 6102, OTHER, 90);
    expect_packet(&s->a, MVM__VSOCK_RST, 6102, NULL, NULL);
}

/* ---- programs ---------------------------------------------------------------------------------
 */

/* A program that has reached the guest's port 1000; *host_port is where the guest sees it. */
static int join_guest(scene *s, uint32_t *host_port)
{
    char line[32] = "", expected[32];
    mvm__vsock_header header;
    int fd = dial_path(s->path);

    program_says(fd, "CONNECT 1000\n");
    expect_packet(&s->a, MVM__VSOCK_REQUEST, 1000, &header, NULL);
    vsd_op(&s->a.d, MVM__VSOCK_RESPONSE, 1000, header.src_port);
    size_t len = (size_t)snprintf(expected, sizeof(expected), "OK %u\n", header.src_port);
    assert_int_equal(len, program_hears(s, fd, line, len));
    assert_string_equal(expected, line);
    *host_port = header.src_port;
    return fd;
}

static void test_program_connects(void **state)
{
    scene *s = *state;
    char data[VSD_BUFFER], got[8];
    mvm__vsock_header header;
    uint32_t port;
    int fd = join_guest(s, &port);

    program_says(fd, "hello");
    expect_packet(&s->a, MVM__VSOCK_RW, 1000, &header, data);
    assert_memory_equal("hello", data, 5);
    vsd_data(&s->a.d, 1000, port, "ahoy", 4);
    assert_int_equal(4, program_hears(s, fd, got, 4));
    shutdown(fd, SHUT_WR);
    expect_packet(&s->a, MVM__VSOCK_SHUTDOWN, 1000, &header, data);
    assert_int_equal(MVM__VSOCK_NO_SEND, header.flags);
    vsd_data(&s->a.d, 1000, port, "late", 4);
    assert_int_equal(4, program_hears(s, fd, got, 4));
    vsd_op(&s->a.d, MVM__VSOCK_RST, 1000, port);
    expect_end(s, &fd);
}

/* What it says in one piece with its line, or byte by byte, goes to the guest or is the line. */
static void test_program_in_pieces(void **state)
{
    scene *s = *state;
    char data[VSD_BUFFER];
    mvm__vsock_header header;
    int fd = dial_path(s->path);

    for (const char *at = "CONNECT 1001\nmore"; *at; at++) {
        char one[2] = {*at};
        program_says(fd, one);
        mvm_loop_step(s->loop, false);
    }
    expect_packet(&s->a, MVM__VSOCK_REQUEST, 1001, &header, NULL);
    vsd_op(&s->a.d, MVM__VSOCK_RESPONSE, 1001, header.src_port);
    expect_packet(&s->a, MVM__VSOCK_RW, 1001, &header, data);
    assert_memory_equal("more", data, header.len);
    close(fd);
}

static void test_program_refused(void **state)
{
    scene *s = *state;
    static const char *const wrong[] = {
        "\n",
        "CONNECT\n",
        "CONNECT \n",
        "CONNECT x\n",
        "connect 1\n",
        "CONNECT 4294967295\n",
        "CONNECT 99999999999\n",
        "CONNECT 1 \n",
        "CONNECT 1\r\n",
        "CONNECT -1\n",
        " CONNECT 1\n",
        "CONNECT 00000000000000000000000000000000000000000000000000001\n",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    };

    for (size_t i = 0; i < MVM_COUNT(wrong); i++) {
        int fd = dial_path(s->path);
        program_says(fd, wrong[i]);
        expect_end(s, &fd);
    }
    int fd = dial_path(s->path); /* ends in the middle of its line */
    program_says(fd, "CONNECT 1");
    shutdown(fd, SHUT_WR);
    expect_end(s, &fd);
    fd = dial_path(s->path); /* the guest says no */
    program_says(fd, "CONNECT 1002\n");
    mvm__vsock_header header;
    expect_packet(&s->a, MVM__VSOCK_REQUEST, 1002, &header, NULL);
    vsd_op(&s->a.d, MVM__VSOCK_RST, 1002, header.src_port);
    expect_end(s, &fd);
}

/* It says nothing, or too slowly, and time passes. */
static void test_program_silent(void **state)
{
    scene *s = *state;
    int silent = dial_path(s->path), slow = dial_path(s->path);
    char byte;

    program_says(slow, "CONN");
    for (int i = 0; i < 10; i++)
        mvm_loop_step(s->loop, false);
    assert_int_equal(-1, read(silent, &byte, 1));
    double began = mvm_loop_now(s->loop);
    mvm_loop_virtual_time(s->loop, true);
    expect_end(s, &silent);
    expect_end(s, &slow);
    assert_true(mvm_loop_now(s->loop) >= began + 5);
    mvm_loop_virtual_time(s->loop, false);
}

/* It goes: before its line, before the guest has answered, and after. */
static void test_program_vanishes(void **state)
{
    scene *s = *state;
    mvm__vsock_header header;
    uint32_t port;

    close(dial_path(s->path));
    int fd = dial_path(s->path);
    program_says(fd, "CONNECT 1003\n");
    expect_packet(&s->a, MVM__VSOCK_REQUEST, 1003, &header, NULL);
    close(fd);
    vsd_op(&s->a.d, MVM__VSOCK_RESPONSE, 1003, header.src_port);
    expect_packet(&s->a, MVM__VSOCK_SHUTDOWN, 1003, NULL, NULL);

    fd = join_guest(s, &port);
    vsd_data(&s->a.d, 1000, port, "unread", 6);
    for (int i = 0; i < 20; i++)
        mvm_loop_step(s->loop, false);
    close(fd);
    expect_packet(&s->a, MVM__VSOCK_SHUTDOWN, 1000, NULL, NULL);
}

/* What the guest connects to, and no listener has, is a program's at PATH_port. */
static void test_program_listens(void **state)
{
    scene *s = *state;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char got[8];

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s_2010", s->path);
    assert_int_equal(0, bind(fd, (struct sockaddr *)&addr, sizeof(addr)));
    assert_int_equal(0, listen(fd, 4));
    vsd_op(&s->a.d, MVM__VSOCK_REQUEST, 7000, 2010);
    expect_packet(&s->a, MVM__VSOCK_RESPONSE, 7000, NULL, NULL);
    int conn = accept(fd, NULL, NULL);
    fcntl(conn, F_SETFL, O_NONBLOCK);
    vsd_data(&s->a.d, 7000, 2010, "hi", 2);
    assert_int_equal(2, program_hears(s, conn, got, 2));
    assert_string_equal("channel:vsock:2010:open;", s->a.events);
    close(fd); /* its socket stays, as of one that was killed */
    vsd_op(&s->a.d, MVM__VSOCK_REQUEST, 7001, 2010);
    expect_packet(&s->a, MVM__VSOCK_RST, 7001, NULL, NULL);
    close(conn);
    expect_packet(&s->a, MVM__VSOCK_SHUTDOWN, 7000, NULL, NULL);
    unlink(addr.sun_path);
}

/* ---- all at once -------------------------------------------------------------------------------
 */

typedef struct traffic {
    int silent, asking, joined;
    mvm_stream *stream; /* of a connect that is not answered */
    ending connect;
} traffic;

/* Everything that can be under way is. */
static void begin_traffic(scene *s, traffic *t)
{
    char data[4096] = {0};
    uint32_t port;
    mvm_err err;

    meet(s, 6200, 90);
    dial_cid(&s->a, 6201, OTHER, 91);   /* a route to b */
    dial_cid(&s->b, 6202, VSD_CID, 92); /* a route of b's to a */
    expect_packet(&s->b, MVM__VSOCK_REQUEST, 91, NULL, NULL);
    expect_packet(&s->a, MVM__VSOCK_REQUEST, 92, NULL, NULL);
    t->joined = join_guest(s, &port);
    for (int i = 0; i < 40; i++)
        vsd_data(&s->a.d, 1000, port, data, sizeof(data));
    t->asking = dial_path(s->path); /* a route of a program's */
    program_says(t->asking, "CONNECT 1005\n");
    expect_packet(&s->a, MVM__VSOCK_REQUEST, 1005, NULL, NULL);
    t->silent = dial_path(s->path);
    assert_non_null(
        mvm_vsock_connect(s->a.vm, 1006, waiter_for(&t->connect, PATIENCE), &t->stream, &err));
    expect_packet(&s->a, MVM__VSOCK_REQUEST, 1006, NULL, NULL);
}

static void drain(scene *s, int *fd)
{
    char data[65536];

    while (program_hears(s, *fd, data, sizeof(data)) == sizeof(data))
        ;
    expect_end(s, fd);
}

static void end_traffic(scene *s, traffic *t)
{
    assert_int_not_equal(0, await(s->lab, &t->connect));
    mvm_stream_unref(t->stream);
    expect_end(s, &t->silent);
    expect_end(s, &t->asking);
    drain(s, &t->joined);
}

static void test_killed(void **state)
{
    scene *s = *state;
    traffic t;

    begin_traffic(s, &t);
    kill_machine(s, &s->a);
    end_traffic(s, &t);
    assert_int_not_equal(0, access(s->path, F_OK));
    assert_int_equal(0, mvm_vsock_cid(s->a.vm));
    /* The other machine hears of it. */
    for (int left = 3; left > 0;) {
        mvm__vsock_header header;
        assert_true(vsd_recv(&s->b.d, &header, (char[VSD_BUFFER]){0}));
        if (header.op == MVM__VSOCK_SHUTDOWN || header.op == MVM__VSOCK_RST)
            left--;
    }
}

static void test_device_lost(void **state)
{
    scene *s = *state;
    const mvm_waiter nobody = {.timeout = 1};
    mvm_stream *stream = NULL;
    traffic t;
    mvm_err err;

    mvm_vsock_listener *l = mvm_vsock_listen(s->a.vm, 80, on_accept, s, &err);
    vsd_op(&s->a.d, MVM__VSOCK_REQUEST, 5000, 80);
    expect_packet(&s->a, MVM__VSOCK_RESPONSE, 5000, NULL, NULL);
    begin_traffic(s, &t);
    s->a.events[0] = '\0';
    vsd_offer(&s->a.d, VSD_TX, VSD_NUM); /* a descriptor that there is not */
    end_traffic(s, &t);
    assert_non_null(strstr(s->a.events, "error:vsock "));
    assert_non_null(strstr(s->a.events, "the guest lost its vsock device"));
    assert_null(strstr(strstr(s->a.events, "error:") + 1, "error:"));
    assert_int_equal(MVM_EGUEST, mvm_stream_write(s->came, "x", 1, &err));
    assert_null(mvm_vsock_connect(s->a.vm, 22, &nobody, &stream, &err));
    assert_int_equal(MVM_EBACKEND, err.code);
    assert_non_null(strstr(err.message, "its vsock device was lost"));
    assert_int_equal(VSD_CID, mvm_vsock_cid(s->a.vm));
    /* Others are turned away. */
    int fd = dial_path(s->path);
    program_says(fd, "CONNECT 1000\n");
    expect_end(s, &fd);
    for (int left = 3; left > 0;) {
        mvm__vsock_header header;
        assert_true(vsd_recv(&s->b.d, &header, (char[VSD_BUFFER]){0}));
        if (header.op == MVM__VSOCK_SHUTDOWN || header.op == MVM__VSOCK_RST)
            left--;
    }
    dial_cid(&s->b, 6300, VSD_CID, 90);
    expect_packet(&s->b, MVM__VSOCK_RST, 6300, NULL, NULL);
    assert_int_equal(MVM_RUNNING, mvm_vm_state(s->a.vm));
    mvm_vsock_listener_close(l);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_listener),          T(test_listener_outlives),  T(test_states),
        T(test_machines),          T(test_far_machine_killed), T(test_program_connects),
        T(test_program_in_pieces), T(test_program_refused),    T(test_program_silent),
        T(test_program_vanishes),  T(test_program_listens),    T(test_killed),
        T(test_device_lost),
    };
#undef T

    return cmocka_run_group_tests_name("vsock_route", tests, NULL, NULL);
}
