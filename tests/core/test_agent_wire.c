/* SPDX-License-Identifier: MIT */
/* The codec of the agent's frames against the vectors of agent_vectors.txt, read and written back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "wire/agent_wire.h"

#define LINE_MAX_ 4096

static const char *const g_types[] = {"",        "HELLO", "READY", "EXEC",   "OPEN",
                                      "STARTED", "DATA",  "EOF",   "CREDIT", "SIGNAL",
                                      "EXIT",    "ERROR", "CLOSE", "POWER",  "MOUNT"};

static FILE *open_vectors(void)
{
    char path[1024];
    const char *slash = strrchr(__FILE__, '/');

    snprintf(path, sizeof(path), "%.*sagent_vectors.txt", slash ? (int)(slash - __FILE__ + 1) : 0,
             __FILE__);
    FILE *f = fopen(path, "r");
    if (!f)
        fail_msg("%s: run this test from the top of the project", path);
    return f;
}

static size_t from_hex(const char *hex, uint8_t *out)
{
    size_t n = 0;

    if (strcmp(hex, "-") == 0)
        return 0;
    for (; hex[2 * n]; n++) {
        unsigned byte;
        assert_int_equal(sscanf(hex + 2 * n, "%2x", &byte), 1);
        out[n] = (uint8_t)byte;
    }
    return n;
}

/* "%XX" stands for a byte. */
static size_t unescape(const char *text, char *out)
{
    size_t n = 0;

    while (*text) {
        unsigned byte = (unsigned char)*text++;
        if (byte == '%') {
            assert_int_equal(sscanf(text, "%2x", &byte), 1);
            text += 2;
        }
        out[n++] = (char)byte;
    }
    return n;
}

/* Reads one field of the payload, compares it, and writes it to the copy. */
static void check_field(const char *field, mvm_agent_reader *r, mvm_agent_writer *w)
{
    const char *value = strchr(field, ':') + 1;
    char text[LINE_MAX_];
    size_t len;

    if (strncmp(field, "u8:", 3) == 0) {
        assert_int_equal(mvm_agent_get_u8(r), strtoul(value, NULL, 10));
        mvm_agent_put_u8(w, (uint8_t)strtoul(value, NULL, 10));
    } else if (strncmp(field, "u16:", 4) == 0) {
        assert_int_equal(mvm_agent_get_u16(r), strtoul(value, NULL, 10));
        mvm_agent_put_u16(w, (uint16_t)strtoul(value, NULL, 10));
    } else if (strncmp(field, "u32:", 4) == 0) {
        assert_int_equal(mvm_agent_get_u32(r), strtoul(value, NULL, 10));
        mvm_agent_put_u32(w, (uint32_t)strtoul(value, NULL, 10));
    } else if (strncmp(field, "i32:", 4) == 0) {
        assert_int_equal((int32_t)mvm_agent_get_u32(r), strtol(value, NULL, 10));
        mvm_agent_put_u32(w, (uint32_t)strtol(value, NULL, 10));
    } else if (strncmp(field, "u64:", 4) == 0) {
        assert_true(mvm_agent_get_u64(r) == strtoull(value, NULL, 10));
        mvm_agent_put_u64(w, strtoull(value, NULL, 10));
    } else if (strncmp(field, "str:", 4) == 0) {
        size_t want = unescape(value, text);
        const char *got = mvm_agent_get_str(r, &len);
        assert_int_equal(len, want);
        assert_memory_equal(got, text, want);
        mvm_agent_put_str(w, text, want);
    } else if (strncmp(field, "raw:", 4) == 0) {
        size_t want = unescape(value, text);
        for (size_t i = 0; i < want; i++) {
            assert_int_equal(mvm_agent_get_u8(r), (uint8_t)text[i]);
            mvm_agent_put_u8(w, (uint8_t)text[i]);
        }
    } else {
        fail_msg("unknown field: %s", field);
    }
}

static void check_ok(const uint8_t *bytes, size_t len, char *rest)
{
    mvm_agent_frame f = {0};
    uint8_t copy[LINE_MAX_];
    char *save = NULL;

    for (size_t n = 0; n < len; n++) /* every shorter piece needs more */
        assert_int_equal(mvm_agent_decode(bytes, n, &f), 0);
    assert_int_equal(mvm_agent_decode(bytes, len, &f), (long)len);
    assert_string_equal(g_types[f.type], strtok_r(rest, " ", &save));
    assert_int_equal(f.channel, atoi(strtok_r(NULL, " ", &save)));
    assert_int_equal(f.stream, strtoul(strtok_r(NULL, " ", &save), NULL, 10));
    mvm_agent_reader r = {.data = f.payload, .len = f.len};
    mvm_agent_writer w = {.data = copy + MVM_AGENT_HEADER, .cap = f.len};
    for (char *field; (field = strtok_r(NULL, " ", &save)) != NULL;)
        check_field(field, &r, &w);
    assert_false(r.bad);
    assert_int_equal(r.pos, r.len);
    assert_false(w.bad);
    mvm_agent_header(copy, f.type, f.channel, f.stream, (uint32_t)w.len);
    assert_int_equal(w.len + MVM_AGENT_HEADER, len);
    assert_memory_equal(copy, bytes, len);
}

static void check_short(const uint8_t *bytes, size_t len, char *kinds)
{
    mvm_agent_reader r = {.data = bytes, .len = len};
    char *save = NULL;
    size_t n;

    for (char *kind = strtok_r(kinds, " ", &save); kind; kind = strtok_r(NULL, " ", &save)) {
        if (strcmp(kind, "u8") == 0)
            mvm_agent_get_u8(&r);
        else if (strcmp(kind, "u16") == 0)
            mvm_agent_get_u16(&r);
        else if (strcmp(kind, "u32") == 0)
            mvm_agent_get_u32(&r);
        else if (strcmp(kind, "u64") == 0)
            mvm_agent_get_u64(&r);
        else
            mvm_agent_get_str(&r, &n);
    }
    assert_true(r.bad);
    assert_int_equal(mvm_agent_get_u8(&r), 0); /* and so it stays */
    assert_string_equal(mvm_agent_get_str(&r, &n), "");
    assert_int_equal(n, 0);
}

/* The type of vector, its bytes (in memory of just their size) and what is expected of them. */
static void check_vector(const char *kind, const uint8_t *bytes, size_t len, char *rest)
{
    mvm_agent_frame f;

    if (strcmp(kind, "ok") == 0)
        check_ok(bytes, len, rest);
    else if (strcmp(kind, "more") == 0)
        assert_int_equal(mvm_agent_decode(bytes, len, &f), 0);
    else if (strcmp(kind, "bad") == 0)
        assert_int_equal(mvm_agent_decode(bytes, len, &f), -1);
    else if (strcmp(kind, "short") == 0)
        check_short(bytes, len, rest);
    else if (strcmp(kind, "skip") == 0)
        assert_int_equal(mvm_agent_resync(bytes, len), strtoul(rest, NULL, 10));
    else
        fail_msg("unknown kind of vector: %s", kind);
}

static void test_vectors(void **state)
{
    FILE *f = open_vectors();
    char line[LINE_MAX_], none[] = "";
    uint8_t bytes[LINE_MAX_];
    int count = 0;

    (void)state;
    while (fgets(line, sizeof(line), f)) {
        char *save = NULL;
        line[strcspn(line, "\n")] = '\0';
        if (!line[0] || line[0] == '#')
            continue;
        char *kind = strtok_r(line, " ", &save);
        char *name = strtok_r(NULL, " ", &save);
        size_t len = from_hex(strtok_r(NULL, " ", &save), bytes);
        char *rest = strtok_r(NULL, "", &save);
        uint8_t *exact = malloc(len ? len : 1);
        memcpy(exact, bytes, len);
        print_message("%s %s\n", kind, name);
        check_vector(kind, exact, len, rest ? rest : none);
        free(exact);
        count++;
    }
    fclose(f);
    assert_true(count > 40);
}

static void test_every_type_has_a_vector(void **state)
{
    FILE *f = open_vectors();
    char line[LINE_MAX_], type[16];
    bool seen[MVM_COUNT(g_types)] = {false};

    (void)state;
    assert_int_equal(MVM_COUNT(g_types), MVM_AGENT_TYPE_MAX + 1);
    while (fgets(line, sizeof(line), f))
        if (sscanf(line, "ok %*s %*s %15s", type) == 1)
            for (size_t i = 1; i < MVM_COUNT(g_types); i++)
                seen[i] |= strcmp(type, g_types[i]) == 0;
    fclose(f);
    for (size_t i = 1; i < MVM_COUNT(g_types); i++)
        if (!seen[i])
            fail_msg("no vector of %s", g_types[i]);
}

static void test_writer_bounds(void **state)
{
    uint8_t out[8], before[8];
    mvm_agent_writer w = {.data = out, .cap = 5};

    (void)state;
    memset(out, 0xee, sizeof(out));
    mvm_agent_put_u32(&w, 1);
    memcpy(before, out, sizeof(out));
    mvm_agent_put_u16(&w, 2);
    assert_true(w.bad);
    mvm_agent_put_u8(&w, 3); /* would fit, but the payload is broken already */
    assert_int_equal(w.len, 4);
    assert_memory_equal(out, before, sizeof(out));

    char *big = calloc(1, 65536);
    uint8_t *room = malloc(70000);
    w = (mvm_agent_writer){.data = room, .cap = 70000};
    mvm_agent_put_str(&w, big, 65535);
    assert_false(w.bad);
    mvm_agent_put_str(&w, big, 65536);
    assert_true(w.bad);
    free(room);
    free(big);
}

static void test_largest_payload(void **state)
{
    size_t len = MVM_AGENT_SYNC;
    uint8_t *bytes = calloc(1, len);
    mvm_agent_frame f;

    (void)state;
    mvm_agent_header(bytes, MVM_AGENT_DATA, 1, 9, MVM_AGENT_PAYLOAD_MAX);
    assert_int_equal(mvm_agent_decode(bytes, len - 1, &f), 0);
    assert_int_equal(mvm_agent_decode(bytes, len, &f), (long)len);
    assert_int_equal(f.len, MVM_AGENT_PAYLOAD_MAX);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_every_type_has_a_vector),
        cmocka_unit_test(test_writer_bounds),
        cmocka_unit_test(test_largest_payload),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
