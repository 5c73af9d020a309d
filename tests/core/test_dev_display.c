/* SPDX-License-Identifier: MIT */
/* Display, keyboard and pointer: what QEMU is told of them, in what order it gets what is typed and
 * clicked, and the socket of VNC. The test plays QEMU's side of QMP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "backend/qemu/dev_internal.h"
#include "mvm/input.h"
#include "support/sim_lab.h"
#include "vm/job.h"
#include "vm/vm_struct.h"

typedef struct scene {
    mvm_lab *lab;
    mvm_vm *vm;
    mvm__run run;
    int peer;
    mvm__buf in;
    char sent[2048]; /* the events that QEMU got: "+a -a @x,y" */
    bool driven;     /* the guest has its pointer */
    bool refuse;     /* what is sent next */
    char dir[32], path[64];
} scene;

/* ---- QEMU's side ------------------------------------------------------------------------- */

static void note(scene *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note(scene *s, const char *fmt, ...)
{
    size_t len = strlen(s->sent);
    va_list args;

    va_start(args, fmt);
    vsnprintf(s->sent + len, sizeof(s->sent) - len, fmt, args);
    va_end(args);
}

static void note_event(scene *s, const json_t *event)
{
    const char *type = json_string_value(json_object_get(event, "type"));
    const json_t *data = json_object_get(event, "data");
    char sign = json_is_true(json_object_get(data, "down")) ? '+' : '-';

    if (strcmp(type, "abs") == 0)
        note(s, "%s%lld ", json_string_value(json_object_get(data, "axis")),
             (long long)json_integer_value(json_object_get(data, "value")));
    else if (strcmp(type, "btn") == 0)
        note(s, "%c%s ", sign, json_string_value(json_object_get(data, "button")));
    else
        note(s, "%c%s ", sign,
             json_string_value(json_object_get(json_object_get(data, "key"), "data")));
}

/* A picture of 640 x 480 pixels; only its head is ever read. */
static void draw(scene *s, const char *name)
{
    MVM_AUTO_FREE char *path = mvm__asprintf("%s/%s", mvm_lab_dir(s->lab, NULL), name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(strstr(name, ".png") ? "picture" : "P6\n640 480\n255\n", f);
    assert_int_equal(0, fclose(f));
}

static const char *answer(scene *s, const char *command, const json_t *arguments)
{
    size_t i;
    json_t *event;

    if (s->refuse)
        return "\"error\":{\"class\":\"GenericError\",\"desc\":\"no\"}";
    if (strcmp(command, "query-mice") == 0)
        return s->driven ? "\"return\":[{\"absolute\":true,\"current\":true}]"
                         : "\"return\":[{\"absolute\":false,\"current\":true},"
                           "{\"absolute\":true,\"current\":false}]";
    if (strcmp(command, "screendump") == 0)
        draw(s, json_string_value(json_object_get(arguments, "filename")));
    json_array_foreach(json_object_get(arguments, "events"), i, event) note_event(s, event);
    return "\"return\":{}";
}

static void serve(scene *s)
{
    char chunk[4096];
    ssize_t n = recv(s->peer, chunk, sizeof(chunk), MSG_DONTWAIT);
    char *end;

    if (n > 0)
        mvm__buf_append(&s->in, chunk, (size_t)n);
    while ((end = strchr(mvm__buf_str(&s->in), '\n')) != NULL) {
        size_t len = (size_t)(end - mvm__buf_ptr(&s->in)) + 1;
        json_t *line = json_loadb(mvm__buf_ptr(&s->in), len, 0, NULL);
        const char *command = json_string_value(json_object_get(line, "execute"));
        int size = snprintf(chunk, sizeof(chunk), "{%s,\"id\":%d}\n",
                            answer(s, command, json_object_get(line, "arguments")),
                            (int)json_integer_value(json_object_get(line, "id")));
        assert_int_equal(size, write(s->peer, chunk, (size_t)size));
        json_decref(line);
        mvm__buf_consume(&s->in, len);
    }
}

static void turn(scene *s)
{
    mvm_loop_step(mvm_lab_loop(s->lab), false);
    serve(s);
    usleep(200);
}

static int await_qmp(scene *s, ending *end)
{
    for (int turns = 0; end->calls == 0; turns++) {
        assert_true(turns < 50000);
        turn(s);
    }
    assert_int_equal(1, end->calls);
    return end->err.code;
}

/* ---- the scene ------------------------------------------------------------------------------ */

static void on_ready(void *ud, const char *version)
{
    (void)version;
    *(bool *)ud = true;
}

static void on_event(void *ud, const char *name, const mvm_qmp_value *data)
{
    (void)ud;
    (void)name;
    (void)data;
}

static void on_dead(void *ud, const mvm_err *err)
{
    (void)ud;
    (void)err;
}

static mvm__dev *add(scene *s, const char *kind)
{
    mvm_record *record = mvm_record_new(mvm_schema_find(kind));
    mvm_err err;

    assert_int_equal(0, mvm_vm_attach(s->vm, record, &err));
    mvm__dev *dev = mvm__dev_new(&s->run, record, false);
    mvm_record_unref(record);
    return dev;
}

static mvm__dev *prepared(scene *s, const char *kind)
{
    mvm__dev *dev = add(s, kind);
    mvm_err err;

    assert_int_equal(0, mvm__dev_prepare(dev, &err));
    return dev;
}

static int setup(void **state)
{
    static const mvm__qmp_ops ops = {on_ready, on_event, on_dead};
    scene *s = mvm__alloc(sizeof(*s));
    int pair[2];
    static bool ready;
    mvm_err err;

    snprintf(s->dir, sizeof(s->dir), "/tmp/macvm-test-XXXXXX");
    if (!mkdtemp(s->dir) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return -1;
    snprintf(s->path, sizeof(s->path), "%s/out", s->dir);
    s->lab = mvm_lab_new();
    assert_int_equal(0, mvm_lab_backend(s->lab, "sim", &err));
    s->vm = mvm_vm_new(s->lab, "web", &err);
    set_str(mvm_vm_config(s->vm), "arch", "x86_64");
    s->run.vm = s->vm;
    mvm__list_init(&s->run.devs);
    s->peer = pair[1];
    s->driven = true;
    ready = false;
    s->run.qmp = mvm__qmp_open(mvm_lab_loop(s->lab), pair[0], 30, &ops, &ready);
    mvm__vm_set_data(s->vm, &s->run);
    static const char greeting[] = "{\"QMP\":{\"version\":{\"qemu\":{\"micro\":0,\"minor\":2,"
                                   "\"major\":8}}}}\n";
    assert_int_equal(sizeof(greeting) - 1, write(s->peer, greeting, sizeof(greeting) - 1));
    while (!ready)
        turn(s);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    scene *s = *state;

    mvm__qmp_close(s->run.qmp);
    mvm__devs_release(&s->run);
    mvm__vm_set_data(s->vm, NULL);
    mvm_vm_unref(s->vm);
    assert_int_equal(0, mvm_lab_close(s->lab));
    close(s->peer);
    mvm__buf_free(&s->in);
    unlink(s->path);
    assert_int_equal(0, rmdir(s->dir));
    mvm__free(s);
    return 0;
}

/* ---- parts ------------------------------------------------------------------------------------
 */

static void expect_part(const mvm__dev *dev, const char *text)
{
    char *value;

    assert_int_equal(1, dev->parts.n);
    (void)mvm_qemu_part_option(&dev->parts.items[0], &value);
    assert_string_equal(text, value);
    mvm__free(value);
}

static void test_parts(void **state)
{
    scene *s = *state;
    mvm__dev *display = add(s, "display");
    mvm_err err;

    set_int(display->record, "width", 1024);
    assert_int_equal(0, mvm__dev_prepare(display, &err));
    expect_part(display, "virtio-gpu-pci,id=display0,disable-legacy=on,xres=1024,yres=800");
    expect_part(prepared(s, "keyboard"),
                "virtio-keyboard-pci,id=keyboard1,disable-legacy=on,bus=hot");
    expect_part(prepared(s, "pointer"), "virtio-tablet-pci,id=pointer2,disable-legacy=on,bus=hot");
    assert_false(mvm__display_window(&s->run));
    assert_false(mvm__display_vnc(&s->run));
}

static void test_a_display_is_there_from_the_start(void **state)
{
    scene *s = *state;
    mvm_record *late = mvm_record_new(mvm_schema_find("display"));
    mvm_err err;

    assert_int_equal(MVM_EUNSUPPORTED, mvm__dev_display.check(s->vm, late, "devices[1]", &err));
    assert_string_equal("devices[1]", err.field);
    mvm_record_unref(late);
}

/* ---- input --------------------------------------------------------------------------------------
 */

static int begin(scene *s, const mvm_inputs *list, ending *end, mvm_err *err)
{
    mvm__job *job = mvm__job_new(s->vm, NULL, waiter_for(end, 30), "keys");
    int rc = mvm__input_send(s->vm, list->items, list->n, job, err);

    return mvm__job_begun(job, rc, err) ? 0 : err->code;
}

static void test_keys_in_order(void **state)
{
    scene *s = *state;
    mvm_inputs text = {0}, chord = {0};
    ending first, second;
    mvm_err err;

    prepared(s, "keyboard");
    assert_int_equal(0, mvm_input_text("aB", 2, &text, &err));
    assert_int_equal(0, mvm_input_chord("ctrl-alt-f2", &chord, &err));
    assert_int_equal(0, begin(s, &text, &first, &err));
    assert_int_equal(0, begin(s, &chord, &second, &err)); /* its turn comes later */
    assert_int_equal(0, await_qmp(s, &first));
    assert_int_equal(0, second.calls);
    assert_int_equal(0, await_qmp(s, &second));
    assert_string_equal("+a -a +shift +b -b -shift +ctrl +alt +f2 -f2 -alt -ctrl ", s->sent);
    mvm_inputs_free(&text);
    mvm_inputs_free(&chord);
}

static void test_what_nobody_waits_for_stops_without_held_keys(void **state)
{
    scene *s = *state;
    mvm_inputs text = {0};
    ending end;
    mvm_err err;

    prepared(s, "keyboard");
    assert_int_equal(0, mvm_input_text("ABCDEFGH", 8, &text, &err));
    mvm__job *job = mvm__job_new(s->vm, NULL, waiter_for(&end, 30), "keys");
    assert_int_equal(0, mvm__input_send(s->vm, text.items, text.n, job, &err));
    while (!strstr(s->sent, "+b"))
        turn(s);
    mvm_wait_cancel(job->wait);
    assert_int_equal(MVM_ECANCELLED, await_qmp(s, &end));
    for (int i = 0; i < 200; i++)
        turn(s);
    assert_string_equal("+shift +a -a -shift +shift +b -b -shift ", s->sent);
    mvm_inputs_free(&text);
}

static void test_click(void **state)
{
    scene *s = *state;
    mvm_inputs list = {0};
    ending end;
    mvm_err err;

    prepared(s, "display");
    prepared(s, "pointer");
    mvm_input_move(639, 0, &list);
    assert_int_equal(0, mvm_input_click("left", 1, &list, &err));
    assert_int_equal(0, begin(s, &list, &end, &err));
    assert_int_equal(0, await_qmp(s, &end));
    assert_string_equal("x32742 y34 +left -left ", s->sent); /* the middle of that pixel */
    mvm_inputs_free(&list);
    mvm_input_move(640, 0, &list);
    assert_int_equal(0, begin(s, &list, &end, &err));
    assert_int_equal(MVM_ECONFIG, await_qmp(s, &end));
    assert_non_null(strstr(end.err.message, "640 x 480"));
    s->driven = false;
    assert_int_equal(0, begin(s, &list, &end, &err));
    assert_int_equal(MVM_EGUEST, await_qmp(s, &end));
    mvm_inputs_free(&list);
}

static void test_without_the_device(void **state)
{
    scene *s = *state;
    mvm_inputs keys = {0}, moves = {0};
    ending end;
    mvm_err err;

    assert_int_equal(0, mvm_input_text("a", 1, &keys, &err));
    mvm_input_move(1, 1, &moves);
    assert_int_equal(MVM_ECONFIG, begin(s, &keys, &end, &err));
    assert_non_null(strstr(err.hint, "macvm.keyboard"));
    assert_int_equal(MVM_ECONFIG, begin(s, &moves, &end, &err));
    assert_non_null(strstr(err.hint, "macvm.pointer"));
    prepared(s, "pointer");
    assert_int_equal(MVM_ECONFIG, begin(s, &moves, &end, &err));
    assert_non_null(strstr(err.hint, "macvm.display"));
    mvm_inputs_free(&keys);
    mvm_inputs_free(&moves);
}

static void test_the_device_goes_on_the_way(void **state)
{
    scene *s = *state;
    mvm__dev *keyboard = prepared(s, "keyboard");
    mvm_inputs text = {0};
    ending first, second;
    mvm_err err;

    assert_int_equal(0, mvm_input_text("abc", 3, &text, &err));
    assert_int_equal(0, begin(s, &text, &first, &err));
    assert_int_equal(0, begin(s, &text, &second, &err));
    mvm_loop_step(mvm_lab_loop(s->lab), false); /* a command is under way, and is answered later */
    keyboard->unplugged = true;
    mvm__dev_free(keyboard);
    assert_int_equal(MVM_ESTATE, await_qmp(s, &first));
    assert_int_equal(MVM_ESTATE, await_qmp(s, &second));
    mvm_inputs_free(&text);
}

static void test_refused_by_qemu(void **state)
{
    scene *s = *state;
    mvm_inputs text = {0};
    ending first, second;
    mvm_err err;

    prepared(s, "keyboard");
    assert_int_equal(0, mvm_input_text("a", 1, &text, &err));
    s->refuse = true;
    assert_int_equal(0, begin(s, &text, &first, &err));
    assert_int_equal(0, begin(s, &text, &second, &err));
    assert_int_equal(MVM_EBACKEND, await_qmp(s, &first));
    assert_int_equal(MVM_EBACKEND, await_qmp(s, &second));
    mvm_inputs_free(&text);
}

static void test_paused_with_a_key_down(void **state)
{
    scene *s = *state;
    mvm__dev *keyboard = prepared(s, "keyboard");
    mvm_inputs text = {0};
    ending end;
    mvm_err err;

    assert_int_equal(0, mvm_input_text("Ab", 2, &text, &err));
    assert_int_equal(0, begin(s, &text, &end, &err));
    while (!strstr(s->sent, "+a"))
        turn(s);
    s->refuse = true;
    s->vm->state = MVM_PAUSED;
    assert_int_equal(MVM_ESTATE, await_qmp(s, &end));
    assert_non_null(strstr(end.err.message, "paused"));
    s->refuse = false;
    s->vm->state = MVM_RUNNING;
    assert_false(mvm__devs_event(&s->run, "RESUME", NULL));
    for (int i = 0; i < 200; i++)
        turn(s);
    assert_string_equal("+shift +a -a -shift ", s->sent); /* and nothing of what was to follow */
    assert_int_equal(0, begin(s, &text, &end, &err));
    s->refuse = true;
    s->vm->state = MVM_PAUSED;
    assert_int_equal(MVM_ESTATE, await_qmp(s, &end)); /* no key was down: nothing is left to do */
    s->vm->state = MVM_STOPPED;
    assert_ptr_equal(keyboard, mvm__dev_nth(&s->run, "keyboard", 0));
    mvm_inputs_free(&text);
}

/* ---- pictures
 * ------------------------------------------------------------------------------------ */

static int shoot(scene *s, const char *path)
{
    ending end;
    mvm_err err;
    mvm__job *job = mvm__job_new(s->vm, NULL, waiter_for(&end, 30), "a picture");
    int rc = mvm__screenshot(s->vm, path, job, &err);

    return mvm__job_begun(job, rc, &err) ? await_qmp(s, &end) : err.code;
}

static void test_screenshot(void **state)
{
    scene *s = *state;
    char text[16] = "";
    struct stat st;

    assert_int_equal(MVM_ECONFIG, shoot(s, s->path)); /* no display */
    prepared(s, "display");
    for (int i = 0; i < 2; i++) { /* the second replaces the first */
        assert_int_equal(0, shoot(s, s->path));
        FILE *f = fopen(s->path, "r");
        assert_non_null(f);
        assert_non_null(fgets(text, sizeof(text), f));
        assert_string_equal("picture", text);
        fclose(f);
    }
    assert_int_equal(MVM_EIO, shoot(s, s->dir));
    assert_int_equal(0, unlink(s->path));
    assert_int_equal(0, mkfifo(s->path, 0600)); /* it stays, as would a device */
    assert_int_equal(MVM_EIO, shoot(s, s->path));
    assert_int_equal(0, stat(s->path, &st));
    assert_true(S_ISFIFO(st.st_mode));
    assert_int_equal(MVM_EIO, shoot(s, "/nowhere/at/all.png"));
    s->refuse = true;
    assert_int_equal(MVM_EBACKEND, shoot(s, s->path));
}

/* ---- VNC
 * -------------------------------------------------------------------------------------------- */

static void test_vnc_socket(void **state)
{
    scene *s = *state;
    mvm__dev *display = add(s, "display"), *other = add(s, "display");
    struct stat st;
    mvm_err err;

    set_str(display->record, "vnc", s->path);
    set_str(other->record, "vnc", s->path);
    assert_int_equal(0, display->ops->prepare(display, &err));
    assert_true(mvm__display_vnc(&s->run));
    assert_int_equal(0, lstat(s->path, &st));
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(0600, st.st_mode & 0777);
    assert_int_equal(MVM_ECONFIG, other->ops->prepare(other, &err)); /* it is in use */
    mvm__dev_free(display);
    assert_int_equal(-1, lstat(s->path, &st));

    FILE *f = fopen(s->path, "w"); /* a file of the user's is left alone */
    fclose(f);
    assert_int_equal(MVM_ECONFIG, other->ops->prepare(other, &err));
    mvm__dev_free(other);
    assert_int_equal(0, lstat(s->path, &st));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_parts),
        TEST(test_a_display_is_there_from_the_start),
        TEST(test_keys_in_order),
        TEST(test_what_nobody_waits_for_stops_without_held_keys),
        TEST(test_click),
        TEST(test_without_the_device),
        TEST(test_the_device_goes_on_the_way),
        TEST(test_refused_by_qemu),
        TEST(test_paused_with_a_key_down),
        TEST(test_screenshot),
        TEST(test_vnc_socket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
