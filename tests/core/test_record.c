/* SPDX-License-Identifier: MIT */
/* Records and their schemas: reading, refusing, naming the field, suggesting what was meant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "vm/record.h"

static mvm_value text(const char *s)
{
    mvm_value v = {.type = MVM_T_STRING};

    v.as.string.ptr = s;
    v.as.string.len = strlen(s);
    return v;
}

static mvm_value integer(int64_t i)
{
    return (mvm_value){.type = MVM_T_INT, .as.integer = i};
}

static mvm_record *make(const char *kind)
{
    return mvm_record_new(mvm_schema_find(kind));
}

static void test_sizes(void **state)
{
    static const struct {
        const char *text;
        int64_t bytes; /* -1: refused */
    } cases[] = {
        {"0", 0},
        {"512", 512},
        {"1K", 1024},
        {"512M", INT64_C(512) << 20},
        {"2g", INT64_C(2) << 30},
        {"1T", INT64_C(1) << 40},
        {"8191P", INT64_C(8191) << 50},
        {"8192P", -1},
        {"512Q", -1},
        {"", -1},
        {"M", -1},
        {"-1", -1},
        {" 1", -1},
        {"1MB", -1},
        {"1.5G", -1},
        {"0x10", -1},
        {"99999999999999999999", -1},
    };
    (void)state;
    for (size_t i = 0; i < MVM_COUNT(cases); i++) {
        int64_t bytes = -1;
        mvm_err err;
        int rc = mvm_parse_size(cases[i].text, &bytes, &err);
        assert_int_equal(cases[i].bytes < 0 ? MVM_ECONFIG : 0, rc);
        assert_int_equal(cases[i].bytes, bytes);
    }
}

static void test_sizes_are_shown_as_they_are_written(void **state)
{
    char buf[24];

    (void)state;
    assert_string_equal("512M", mvm_format_size(INT64_C(512) << 20, buf, sizeof(buf)));
    assert_string_equal("1000", mvm_format_size(1000, buf, sizeof(buf)));
    assert_string_equal("0", mvm_format_size(0, buf, sizeof(buf)));
    assert_string_equal("3K", mvm_format_size(3072, buf, sizeof(buf)));
}

/* Sets one field and expects a refusal whose parts hold the given words. */
static void refused(const char *kind, const char *field, mvm_value value, const char *message,
                    const char *hint)
{
    mvm_record *r = make(kind);
    mvm_err err = {0};

    assert_int_equal(MVM_ECONFIG, mvm_record_set(r, field, &value, &err));
    assert_string_equal(field, err.field);
    if (!strstr(err.message, message))
        fail_msg("%s: \"%s\" is not in \"%s\"", field, message, err.message);
    if (!strstr(err.hint, hint))
        fail_msg("%s: \"%s\" is not in the hint \"%s\"", field, hint, err.hint);
    mvm_record_unref(r);
}

static void test_refusals_say_where_what_and_what_would_be_right(void **state)
{
    (void)state;
    refused("vm", "memroy", text("1G"), "unknown field", "did you mean `memory`?");
    refused("vm", "frobnicate", text("1G"), "unknown field", "it has: name guest");
    refused("keyboard", "rate", integer(1), "unknown field", "it has none");
    refused("vm", "memory", text("512Q"), "\"512Q\" is not a size", "\"512M\"");
    refused("vm", "memory", text("1K"), "too small", "32M to 16T");
    refused("vm", "memory", (mvm_value){.type = MVM_T_BOOL}, "a boolean is not a size", "\"2G\"");
    refused("vm", "cpus", integer(0), "0 is too small", "1 to 512");
    refused("vm", "cpus", text("two"), "a string is not an integer", "");
    refused("vm", "cpus", (mvm_value){.type = MVM_T_NUMBER, .as.number = 1.5}, "not an integer",
            "");
    refused("vm", "guest", text("linus"), "not one of: linux macos efi", "did you mean \"linux\"?");
    refused("vm", "name", text("-x"), "not a name", "letters, digits");
    refused("vm", "name", text("a/b"), "not a name", "");
    refused("vm", "name", text(""), "not a name", "");
    refused("vm", "boot", text("x"), "a string is not a table", "");
    refused("net", "mac", text("52:54:00:12:34"), "not an Ethernet address", "six bytes");
    refused("net", "mac", text("53:54:00:12:34:56"), "multicast", "even");
    refused("net", "mac", text("zz:54:00:12:34:56"), "not an Ethernet address", "");
    refused("disk", "path", text(""), "empty", "");
    refused("sim", "boot", (mvm_value){.type = MVM_T_NUMBER, .as.number = -1}, "too small", "");
}

static void test_values_are_normalised(void **state)
{
    mvm_record *vm = make("vm"), *net = make("net"), *disk = make("disk");
    mvm_value v = text("2G");

    (void)state;
    assert_int_equal(0, mvm_record_set(vm, "memory", &v, NULL));
    assert_true(mvm_record_int(vm, "memory") == INT64_C(2) << 30);
    v = text("52:54:00:AB:cd:EF");
    assert_int_equal(0, mvm_record_set(net, "mac", &v, NULL));
    assert_string_equal("52:54:00:ab:cd:ef", mvm_record_str(net, "mac"));
    v = text("a.img");
    assert_int_equal(0, mvm_record_set(disk, "path", &v, NULL));
    char *cwd = getcwd(NULL, 0), *want = mvm__asprintf("%s/a.img", cwd);
    assert_string_equal(want, mvm_record_str(disk, "path"));
    free(cwd);
    mvm__free(want);
    mvm_record_unref(vm);
    mvm_record_unref(net);
    mvm_record_unref(disk);
}

static void test_defaults_and_unsetting(void **state)
{
    mvm_record *vm = make("vm");
    mvm_value v = integer(4), nil = {.type = MVM_T_NIL};

    (void)state;
    assert_int_equal(1, mvm_record_int(vm, "cpus"));
    assert_false(mvm_record_has(vm, "cpus"));
    assert_int_equal(0, mvm_record_set(vm, "cpus", &v, NULL));
    assert_true(mvm_record_has(vm, "cpus"));
    assert_int_equal(0, mvm_record_set(vm, "cpus", &nil, NULL));
    assert_int_equal(1, mvm_record_int(vm, "cpus"));
    assert_string_equal("linux", mvm_record_str(vm, "guest"));
    assert_null(mvm_record_str(vm, "arch"));
    assert_null(mvm_record_peek(vm, "boot"));
    mvm_record_unref(vm);
}

static void test_paths_of_nested_fields(void **state)
{
    mvm_record *vm = make("vm");
    mvm_err err;
    mvm_record *boot = mvm_record_sub(vm, "boot", &err);
    mvm_value v = text("x");

    (void)state;
    assert_non_null(boot);
    assert_ptr_equal(boot, mvm_record_sub(vm, "boot", &err));
    assert_int_equal(MVM_ECONFIG, mvm_record_set(boot, "kernle", &v, &err));
    assert_string_equal("boot.kernle", err.field);
    assert_string_equal("did you mean `kernel`?", err.hint);
    assert_null(mvm_record_sub(vm, "cpus", &err));
    mvm_record_unref(vm);
}

static void test_forwards(void **state)
{
    static const struct {
        const char *key;
        int64_t port;
        bool ok;
    } cases[] = {
        {"127.0.0.1:8080", 80, true},
        {"udp:127.0.0.1:53", 53, true},
        {"tcp:0.0.0.0:0", 22, true},
        {"127.0.0.1", 80, false},
        {"8080", 80, false},
        {"127.0.0.1:80800", 80, false},
        {"127.0.0.1:80,id=x", 80, false},
        {"127.0.0.1:010070", 80, false}, /* QEMU would listen on 4152 */
        {"127.0.0.1:+8080", 80, false},
        {"127.0.0.1: 8080", 80, false},
        {"127.0.0.1:", 80, false},
        {"127.0.0.1:8080", 0, false},
        {"127.0.0.1:8080", 65536, false},
        {"sctp:127.0.0.1:1", 1, false},
    };
    mvm_err err;

    (void)state;
    for (size_t i = 0; i < MVM_COUNT(cases); i++) {
        mvm_record *net = make("net");
        mvm_value v = integer(cases[i].port), got;
        const char *key;
        int rc = mvm_record_set_entry(net, "forward", cases[i].key, &v, &err);
        assert_int_equal(cases[i].ok ? 0 : MVM_ECONFIG, rc);
        assert_int_equal(cases[i].ok, mvm_record_entry(net, "forward", 0, &key, &got));
        if (cases[i].ok)
            assert_int_equal(cases[i].port, got.as.integer);
        else
            assert_memory_equal("forward[\"", err.field, 9);
        mvm_record_unref(net);
    }
}

static void test_devices(void **state)
{
    mvm_record *vm = make("vm"), *disk = make("disk"), *boot = make("boot");
    mvm_err err;

    (void)state;
    assert_int_equal(0, mvm_record_append(vm, "devices", disk, &err));
    assert_int_equal(MVM_ECONFIG, mvm_record_append(vm, "devices", disk, &err)); /* twice */
    assert_int_equal(MVM_ECONFIG, mvm_record_append(vm, "devices", boot, &err));
    assert_ptr_equal(disk, mvm_record_item(vm, "devices", 0));
    assert_null(mvm_record_item(vm, "devices", 1));

    mvm_value v = integer(2);
    mvm__record_freeze(vm, true);
    assert_int_equal(MVM_ESTATE, mvm_record_set(vm, "cpus", &v, &err));
    v = text("x");
    assert_int_equal(MVM_ESTATE, mvm_record_set(disk, "path", &v, &err));
    mvm__record_freeze(vm, false);
    assert_int_equal(0, mvm_record_set(disk, "path", &v, &err));
    mvm_record_unref(vm);
    mvm_record_unref(disk);
    mvm_record_unref(boot);
}

/* One device of two machines is frozen until both are down. */
static void test_shared_device(void **state)
{
    mvm_record *a = make("vm"), *b = make("vm"), *disk = make("disk");
    mvm_value path = text("/x");
    mvm_err err;

    (void)state;
    assert_int_equal(0, mvm_record_append(a, "devices", disk, &err));
    assert_int_equal(0, mvm_record_append(b, "devices", disk, &err));
    mvm__record_freeze(a, true);
    mvm__record_freeze(b, true);
    mvm__record_freeze(b, false);
    assert_int_equal(MVM_ESTATE, mvm_record_set(disk, "path", &path, &err));
    mvm__record_freeze(a, false);
    assert_int_equal(0, mvm_record_set(disk, "path", &path, &err));
    mvm_record_unref(a);
    mvm_record_unref(b);
    mvm_record_unref(disk);
}

static void test_every_schema_is_whole(void **state)
{
    const mvm_schema *s;
    size_t n = 0;

    (void)state;
    for (; (s = mvm_schema_at(n)) != NULL; n++) {
        assert_ptr_equal(s, mvm_schema_find(s->kind));
        assert_non_null(s->doc);
        mvm_record *r = mvm_record_new(s);
        for (const mvm_field *f = s->fields; f->name; f++) {
            assert_non_null(f->doc);
            if (f->type == MVM_T_RECORD) {
                assert_non_null(mvm_schema_find(f->choices));
            } else if (f->fallback && f->type != MVM_T_BOOL) {
                /* A default must be a value that the field itself would take. */
                mvm_value v = mvm_record_get(r, f->name);
                assert_int_equal(0, mvm_record_set(r, f->name, &v, NULL));
            }
        }
        mvm_record_unref(r);
    }
    assert_true(n >= 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_sizes_are_shown_as_they_are_written),
        cmocka_unit_test(test_refusals_say_where_what_and_what_would_be_right),
        cmocka_unit_test(test_values_are_normalised),
        cmocka_unit_test(test_defaults_and_unsetting),
        cmocka_unit_test(test_paths_of_nested_fields),
        cmocka_unit_test(test_forwards),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_shared_device),
        cmocka_unit_test(test_every_schema_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
