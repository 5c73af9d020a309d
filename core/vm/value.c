/* SPDX-License-Identifier: MIT */
/*
 * Reading single values by a field's type: sizes, names, addresses, choices.
 * Pure text work; every refusal says what would be right.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "vm/record.h"

static const char g_size_hint[] = "bytes as an integer, or a text such as \"512M\" or \"2G\"";

int mvm_parse_size(const char *text, int64_t *bytes, mvm_err *err)
{
    static const char units[] = "KMGTP";
    char *end = NULL;

    errno = 0;
    int64_t n = isdigit((unsigned char)text[0]) ? strtoll(text, &end, 10) : -1;
    int shift = 0;
    if (end && *end) {
        const char *unit = strchr(units, toupper((unsigned char)*end));
        shift = unit ? 10 * (int)(unit - units + 1) : -1;
        end++;
    }
    if (n < 0 || errno || shift < 0 || *end || n > INT64_MAX >> shift) {
        mvm_fail(err, MVM_ECONFIG, "\"%.64s\" is not a size", text);
        mvm_err_hint(err, "%s", g_size_hint);
        return MVM_ECONFIG;
    }
    *bytes = n << shift;
    return 0;
}

const char *mvm_format_size(int64_t bytes, char *buf, size_t cap)
{
    static const char units[] = "\0KMGTP";
    int unit = 0;

    while (bytes != 0 && bytes % 1024 == 0 && unit < 5) {
        bytes /= 1024;
        unit++;
    }
    snprintf(buf, cap, "%" PRId64 "%.1s", bytes, units + unit);
    return buf;
}

static bool same_letter(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Letters to insert, delete, replace, or swap with their neighbour; given up when the lengths
 * differ by more than `limit`. */
static size_t distance(const char *a, const char *b, size_t limit)
{
    enum { MAX = 64 };
    size_t n = strlen(a), m = strlen(b), rows[3][MAX + 1];

    if (n > MAX || m > MAX || (n > m ? n - m : m - n) > limit)
        return limit + 1;
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t put = above[j - 1] + !same_letter(a[i - 1], b[j - 1]);
            row[j] = MVM_MIN(put, MVM_MIN(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) &&
                same_letter(a[i - 2], b[j - 1]))
                row[j] = MVM_MIN(row[j], before[j - 2] + 1);
        }
    }
    return rows[n % 3][m];
}

const char *mvm_nearest(const char *word, const char *const *candidates, size_t n)
{
    size_t best = MVM_MAX(strlen(word) / 3, 1);
    const char *found = NULL;

    for (size_t i = 0; i < n; i++) {
        size_t d = distance(word, candidates[i], best);
        if (d < best || (d == best && !found)) {
            best = d;
            found = candidates[i];
        }
    }
    return found;
}

static mvm_value string_value(const char *ptr, size_t len)
{
    mvm_value v = {.type = MVM_T_STRING};

    v.as.string.ptr = mvm__strndup(ptr, len);
    v.as.string.len = len;
    return v;
}

void mvm__value_free(mvm_value *value)
{
    if (value->type == MVM_T_STRING)
        mvm__free((char *)(uintptr_t)value->as.string.ptr);
    value->type = MVM_T_NIL;
}

static const char *type_words(enum mvm_type type)
{
    switch (type) {
    case MVM_T_BOOL:
        return "a boolean";
    case MVM_T_INT:
        return "an integer";
    case MVM_T_NUMBER:
        return "a number";
    case MVM_T_SIZE:
        return "a size";
    case MVM_T_FORWARD:
    case MVM_T_MAP:
    case MVM_T_RECORD:
        return "a table";
    case MVM_T_LIST:
        return "a list";
    default:
        return "a string";
    }
}

static int wrong_type(const mvm_field *field, const mvm_value *in, mvm_err *err)
{
    mvm_fail(err, MVM_ECONFIG, "%s is not %s", type_words(in->type), type_words(field->type));
    if (field->type == MVM_T_SIZE)
        mvm_err_hint(err, "%s", g_size_hint);
    else if (field->choices && field->type == MVM_T_CHOICE)
        mvm_err_hint(err, "one of: %s", field->choices);
    return MVM_ECONFIG;
}

static int check_range(const mvm_field *field, double n, const char *shown, mvm_err *err)
{
    if (field->min == field->max || (n >= (double)field->min && n <= (double)field->max))
        return 0;
    char low[24], high[24];
    bool size = field->type == MVM_T_SIZE;
    mvm_fail(err, MVM_ECONFIG, "%s is too %s", shown, n < (double)field->min ? "small" : "large");
    if (size) {
        mvm_format_size(field->min, low, sizeof(low));
        mvm_format_size(field->max, high, sizeof(high));
    } else {
        snprintf(low, sizeof(low), "%" PRId64, field->min);
        snprintf(high, sizeof(high), "%" PRId64, field->max);
    }
    if (field->max == INT64_MAX)
        mvm_err_hint(err, "%s or more", low);
    else
        mvm_err_hint(err, "%s to %s", low, high);
    return MVM_ECONFIG;
}

static int parse_int(const mvm_field *field, const mvm_value *in, mvm_value *out, mvm_err *err)
{
    char shown[80];
    int64_t n;

    if (in->type == MVM_T_INT) {
        n = in->as.integer;
        snprintf(shown, sizeof(shown), "%" PRId64, n);
    } else if (in->type == MVM_T_NUMBER && in->as.number == floor(in->as.number) &&
               fabs(in->as.number) < 9e15) {
        n = (int64_t)in->as.number;
        snprintf(shown, sizeof(shown), "%" PRId64, n);
    } else if (in->type == MVM_T_STRING && field->type == MVM_T_SIZE) {
        if (mvm_parse_size(in->as.string.ptr, &n, err) != 0)
            return MVM_ECONFIG;
        snprintf(shown, sizeof(shown), "\"%.64s\"", in->as.string.ptr);
    } else {
        return wrong_type(field, in, err);
    }
    if (check_range(field, (double)n, shown, err) != 0)
        return MVM_ECONFIG;
    *out = (mvm_value){.type = MVM_T_INT, .as.integer = n};
    return 0;
}

static int parse_number(const mvm_field *field, const mvm_value *in, mvm_value *out, mvm_err *err)
{
    char shown[48];

    if (in->type != MVM_T_INT && in->type != MVM_T_NUMBER)
        return wrong_type(field, in, err);
    double n = in->type == MVM_T_INT ? (double)in->as.integer : in->as.number;
    snprintf(shown, sizeof(shown), "%.17g", n);
    if (n != n)
        return mvm_fail(err, MVM_ECONFIG, "NaN is not a number of seconds");
    if (check_range(field, n, shown, err) != 0)
        return MVM_ECONFIG;
    *out = (mvm_value){.type = MVM_T_NUMBER, .as.number = n};
    return 0;
}

static int parse_choice(const mvm_field *field, const char *text, mvm_err *err)
{
    enum { MAX = 32 };
    char words[256];
    const char *list[MAX];
    size_t n = 0;
    char *save = NULL;

    snprintf(words, sizeof(words), "%s", field->choices);
    for (char *w = strtok_r(words, " ", &save); w && n < MAX; w = strtok_r(NULL, " ", &save)) {
        if (strcmp(w, text) == 0)
            return 0;
        list[n++] = w;
    }
    const char *near = mvm_nearest(text, list, n);
    mvm_fail(err, MVM_ECONFIG, "\"%.64s\" is not one of: %s", text, field->choices);
    if (near)
        mvm_err_hint(err, "did you mean \"%s\"?", near);
    return MVM_ECONFIG;
}

static int parse_name(const char *text, mvm_err *err)
{
    size_t len = strlen(text);
    bool ok = len > 0 && len <= 64 && isalnum((unsigned char)text[0]);

    for (size_t i = 0; i < len && ok; i++)
        ok = isalnum((unsigned char)text[i]) || strchr("._-", text[i]);
    if (ok)
        return 0;
    mvm_fail(err, MVM_ECONFIG, "\"%.80s\" is not a name", text);
    mvm_err_hint(err, "letters, digits, `.`, `_` and `-`, at most 64, a letter or digit first");
    return MVM_ECONFIG;
}

static int parse_mac(const char *text, char out[18], mvm_err *err)
{
    unsigned b[6];
    int end = -1;

    if (strlen(text) != 17 ||
        sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &end) !=
            6 ||
        end != 17) {
        mvm_fail(err, MVM_ECONFIG, "\"%.64s\" is not an Ethernet address", text);
        mvm_err_hint(err, "six bytes, as in \"52:54:00:12:34:56\"");
        return MVM_ECONFIG;
    }
    if (b[0] & 1) {
        mvm_fail(err, MVM_ECONFIG, "%s is a multicast address", text);
        mvm_err_hint(err, "the first byte must be even, as in \"52:54:00:12:34:56\"");
        return MVM_ECONFIG;
    }
    for (int i = 0; i < 6; i++)
        snprintf(out + 3 * i, 4, i < 5 ? "%02x:" : "%02x", b[i] & 0xff);
    return 0;
}

static int parse_path(const char *text, size_t len, mvm_value *out, mvm_err *err)
{
    if (len == 0)
        return mvm_fail(err, MVM_ECONFIG, "the path is empty");
    if (text[0] == '/') {
        *out = string_value(text, len);
        return 0;
    }
    MVM_AUTO_FREE char *cwd = getcwd(NULL, 0);
    if (!cwd)
        return mvm_fail(err, MVM_EIO, "the current directory is gone: %s", strerror(errno));
    MVM_AUTO_FREE char *full = mvm__asprintf("%s/%s", strcmp(cwd, "/") == 0 ? "" : cwd, text);
    *out = string_value(full, strlen(full));
    return 0;
}

static int parse_string(const mvm_field *field, const mvm_value *in, mvm_value *out, mvm_err *err)
{
    const char *text = in->as.string.ptr;
    size_t len = in->as.string.len;
    char mac[18];

    if (in->type != MVM_T_STRING)
        return wrong_type(field, in, err);
    if (strlen(text) != len)
        return mvm_fail(err, MVM_ECONFIG, "the text holds a NUL byte");
    switch (field->type) {
    case MVM_T_PATH:
        return parse_path(text, len, out, err);
    case MVM_T_CHOICE:
        if (parse_choice(field, text, err) != 0)
            return MVM_ECONFIG;
        break;
    case MVM_T_NAME:
        if (parse_name(text, err) != 0)
            return MVM_ECONFIG;
        break;
    case MVM_T_MAC:
        if (parse_mac(text, mac, err) != 0)
            return MVM_ECONFIG;
        text = mac;
        break;
    default:
        break;
    }
    *out = string_value(text, strlen(text));
    return 0;
}

int mvm__field_parse(const mvm_field *field, const mvm_value *in, mvm_value *out, mvm_err *err)
{
    switch (field->type) {
    case MVM_T_BOOL:
        if (in->type != MVM_T_BOOL)
            return wrong_type(field, in, err);
        *out = *in;
        return 0;
    case MVM_T_INT:
    case MVM_T_SIZE:
        return parse_int(field, in, out, err);
    case MVM_T_NUMBER:
        return parse_number(field, in, out, err);
    case MVM_T_FORWARD:
    case MVM_T_MAP:
    case MVM_T_RECORD:
    case MVM_T_LIST:
        return wrong_type(field, in, err);
    default:
        return parse_string(field, in, out, err);
    }
}
