/* SPDX-License-Identifier: MIT */
/* Parts of a QEMU machine in both notations: option and QMP command. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/base.h"
#include "wire/qemu_part.h"

static void check(const mvm_qemu_parts *parts, size_t i, const char *option, const char *text,
                  const char *command, const char *json)
{
    char *value;
    const char *name;

    assert_string_equal(option, mvm_qemu_part_option(&parts->items[i], &value));
    assert_string_equal(text, value);
    mvm__free(value);
    json_t *got = mvm_qemu_part_json(&parts->items[i], &name);
    json_t *want = json_loads(json, 0, NULL);
    assert_string_equal(command, name);
    assert_non_null(want);
    if (!json_equal(got, want)) {
        char *dump = json_dumps(got, 0);
        fail_msg("%s, expected %s", dump, json);
    }
    json_decref(got);
    json_decref(want);
}

/* QEMU takes it at its start only. */
static void test_fsdev_is_an_option_alone(void **state)
{
    mvm_qemu_parts p = {0};
    const char *name;
    char *value;

    (void)state;
    mvm_qemu_part_add(&p, MVM_QEMU_FSDEV, "local", "f");
    mvm_qemu_key_text(&p, "path", "/a,b");
    mvm_qemu_key_bool(&p, "readonly", true);
    assert_string_equal("-fsdev", mvm_qemu_part_option(&p.items[0], &value));
    assert_string_equal("local,id=f,path=/a,,b,readonly=on", value);
    mvm__free(value);
    assert_null(mvm_qemu_part_json(&p.items[0], &name));
    assert_null(mvm_qemu_part_undo(&p.items[0], &name));
    mvm_qemu_parts_free(&p);
}

static void test_kinds(void **state)
{
    mvm_qemu_parts p = {0};
    const char *argument;

    (void)state;
    mvm_qemu_part_add(&p, MVM_QEMU_OBJECT, "rng-builtin", "r");
    mvm_qemu_part_add(&p, MVM_QEMU_CHARDEV, "socket", "c");
    mvm_qemu_key_text(&p, "path", "d1.sock");
    mvm_qemu_part_add(&p, MVM_QEMU_BLOCKDEV, "raw", "b");
    mvm_qemu_key_bool(&p, "read-only", true);
    mvm_qemu_key_bool(&p, "cache.direct", false);
    mvm_qemu_key_text(&p, "file.driver", "file");
    mvm_qemu_key_text(&p, "file.filename", "/a,b");
    mvm_qemu_part_add(&p, MVM_QEMU_NETDEV, "user", "n");
    mvm_qemu_key_fmt(&p, "hostfwd", "tcp:127.0.0.1:%d-:%d", 8080, 80);
    mvm_qemu_key_text(&p, "hostfwd", "udp:127.0.0.1:53-:53");
    mvm_qemu_part_add(&p, MVM_QEMU_DEVICE, "virtio-blk-pci", "d");
    mvm_qemu_key_int(&p, "bootindex", -1);
    mvm_qemu_key_text(&p, "serial", "=,\"x");

    check(&p, 0, "-object", "rng-builtin,id=r", "object-add",
          "{\"qom-type\": \"rng-builtin\", \"id\": \"r\"}");
    check(&p, 1, "-chardev", "socket,id=c,path=d1.sock", "chardev-add",
          "{\"id\": \"c\", \"backend\": {\"type\": \"socket\", \"data\": {\"server\": false,"
          "\"addr\": {\"type\": \"unix\", \"data\": {\"path\": \"d1.sock\"}}}}}");
    check(&p, 2, "-blockdev",
          "driver=raw,node-name=b,read-only=on,cache.direct=off,file.driver=file,"
          "file.filename=/a,,b",
          "blockdev-add",
          "{\"driver\": \"raw\", \"node-name\": \"b\", \"read-only\": true, \"cache\": {\"direct\":"
          "false}, \"file\": {\"driver\": \"file\", \"filename\": \"/a,b\"}}");
    check(&p, 3, "-netdev", "user,id=n,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=udp:127.0.0.1:53-:53",
          "netdev_add",
          "{\"type\": \"user\", \"id\": \"n\", \"hostfwd\": [{\"str\": \"tcp:127.0.0.1:8080-:80\"},"
          "{\"str\": \"udp:127.0.0.1:53-:53\"}]}");
    check(&p, 4, "-device", "virtio-blk-pci,id=d,bootindex=-1,serial==,,\"x", "device_add",
          "{\"driver\": \"virtio-blk-pci\", \"id\": \"d\", \"bootindex\": -1,"
          "\"serial\": \"=,\\\"x\"}");
    assert_string_equal("blockdev-del", mvm_qemu_part_undo(&p.items[2], &argument));
    assert_string_equal("node-name", argument);
    assert_string_equal("device_del", mvm_qemu_part_undo(&p.items[4], &argument));
    assert_string_equal("id", argument);
    mvm_qemu_parts_free(&p);
    assert_int_equal(0, p.n);
}

/* QMP is UTF-8; a path on the host may be anything. */
static void test_not_utf8(void **state)
{
    mvm_qemu_parts p = {0};
    const char *command;

    (void)state;
    mvm_qemu_part_add(&p, MVM_QEMU_BLOCKDEV, "raw", "b");
    mvm_qemu_key_text(&p, "file.filename", "/a\xff");
    assert_null(mvm_qemu_part_json(&p.items[0], &command));
    mvm_qemu_parts_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_fsdev_is_an_option_alone),
        cmocka_unit_test(test_not_utf8),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
