/* SPDX-License-Identifier: MIT */
/* The QMP codec over jansson. Pure; any thread. */
#include "wire/qmp_wire.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"

/* ---- values -------------------------------------------------------------------- */

const mvm_qmp_value *mvm_qmp_get(const mvm_qmp_value *object, const char *key)
{
    return json_object_get(object, key);
}

const mvm_qmp_value *mvm_qmp_at(const mvm_qmp_value *list, size_t i)
{
    return json_array_get(list, i);
}

const char *mvm_qmp_str(const mvm_qmp_value *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

int64_t mvm_qmp_int(const mvm_qmp_value *object, const char *key, int64_t fallback)
{
    const json_t *value = json_object_get(object, key);
    double real = json_real_value(value); /* 0 for anything else */

    if (json_is_real(value) && real == floor(real) && fabs(real) <= 9007199254740992.0)
        return (int64_t)real;
    return json_is_integer(value) ? json_integer_value(value) : fallback;
}

const char *mvm_qmp_text(const mvm_qmp_value *value)
{
    return json_string_value(value);
}

bool mvm_qmp_bool(const mvm_qmp_value *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

/* ---- messages ------------------------------------------------------------------- */

/* jansson's own bound is 2048 levels of recursion; ours is checked before it sees the line. */
static bool too_deep(const char *line, size_t len)
{
    int depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < len; i++) {
        char c = line[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > MVM_QMP_DEPTH_MAX)
                return true;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return false;
}

static void read_version(const json_t *greeting, char *out, size_t cap)
{
    const json_t *qemu = json_object_get(json_object_get(greeting, "version"), "qemu");

    snprintf(out, cap, "%d.%d.%d", (int)mvm_qmp_int(qemu, "major", 0),
             (int)mvm_qmp_int(qemu, "minor", 0), (int)mvm_qmp_int(qemu, "micro", 0));
}

/* Which of the four it is, by the member that each has. */
static bool classify(const json_t *root, mvm_qmp_msg *msg)
{
    const json_t *part;

    msg->name = msg->text = "";
    msg->id = mvm_qmp_int(root, "id", -1);
    if ((part = json_object_get(root, "QMP")) != NULL) {
        msg->kind = MVM_QMP_GREETING;
        read_version(part, msg->version, sizeof(msg->version));
        msg->name = msg->version;
        return json_is_object(part);
    }
    if ((part = json_object_get(root, "return")) != NULL) {
        msg->kind = MVM_QMP_RETURN;
        msg->data = part;
        return true;
    }
    if ((part = json_object_get(root, "error")) != NULL) {
        msg->kind = MVM_QMP_ERROR;
        msg->name = mvm_qmp_str(part, "class");
        msg->text = mvm_qmp_str(part, "desc");
        return json_is_object(part);
    }
    msg->kind = MVM_QMP_EVENT;
    msg->name = mvm_qmp_str(root, "event");
    msg->data = json_object_get(root, "data");
    return msg->name[0] != '\0';
}

static int parse_line(const char *line, size_t len, mvm_qmp_msg *msg, mvm_err *err)
{
    json_error_t why;

    if (too_deep(line, len))
        return mvm_fail(err, MVM_EBACKEND, "QMP: a message nested deeper than %d levels",
                        MVM_QMP_DEPTH_MAX);
    json_t *root = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
    /* QEMU writes numbers of 64 bits without a sign, and all ones for "not known". */
    if (!root && json_error_code(&why) == json_error_numeric_overflow)
        root = json_loadb(line, len, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &why);
    if (!root)
        return mvm_fail(err, MVM_EBACKEND, "QMP: malformed message: %s", why.text);
    *msg = (mvm_qmp_msg){.root = root};
    if (json_is_object(root) && classify(root, msg))
        return 1;
    mvm_qmp_msg_free(msg);
    return mvm_fail(err, MVM_EBACKEND, "QMP: a message of no known kind");
}

void mvm_qmp_msg_free(mvm_qmp_msg *msg)
{
    json_decref(msg->root);
    msg->root = NULL;
}

/* ---- lines ------------------------------------------------------------------------ */

void mvm_qmp_parser_free(mvm_qmp_parser *parser)
{
    mvm__buf_free(&parser->in);
}

void mvm_qmp_feed(mvm_qmp_parser *parser, const void *data, size_t len)
{
    if (!parser->broken)
        mvm__buf_append(&parser->in, data, len);
}

static bool blank(const char *line, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (line[i] != '\r' && line[i] != ' ' && line[i] != '\t')
            return false;
    return true;
}

static int broken(mvm_qmp_parser *parser, int code)
{
    parser->broken = true;
    mvm__buf_free(&parser->in);
    return code;
}

int mvm_qmp_next(mvm_qmp_parser *parser, mvm_qmp_msg *msg, mvm_err *err)
{
    if (parser->broken)
        return mvm_fail(err, MVM_EBACKEND, "QMP: the stream is broken");
    for (;;) {
        const char *text = mvm__buf_ptr(&parser->in);
        size_t held = mvm__buf_len(&parser->in);
        const char *newline = held > parser->scanned
                                  ? memchr(text + parser->scanned, '\n', held - parser->scanned)
                                  : NULL;
        size_t len = newline ? (size_t)(newline - text) : held;
        if (len > MVM_QMP_LINE_MAX)
            return broken(parser, mvm_fail(err, MVM_EBACKEND, "QMP: a message longer than %u bytes",
                                           MVM_QMP_LINE_MAX));
        parser->scanned = newline ? 0 : held;
        if (!newline)
            return 0;
        int rc = blank(text, len) ? 0 : parse_line(text, len, msg, err);
        mvm__buf_consume(&parser->in, len + 1);
        if (rc < 0)
            return broken(parser, rc);
        if (rc > 0)
            return rc;
    }
}

/* ---- commands ---------------------------------------------------------------------- */

char *mvm_qmp_command(int64_t id, const char *name, const char *pack, va_list args, size_t *len)
{
    json_t *root = json_pack("{s:s, s:I}", "execute", name, "id", (json_int_t)id);

    if (pack) {
        json_t *arguments = json_vpack_ex(NULL, 0, pack, args);
        if (!arguments || json_object_set_new(root, "arguments", arguments) != 0) {
            json_decref(root);
            return NULL;
        }
    }
    *len = json_dumpb(root, NULL, 0, JSON_COMPACT);
    char *line = mvm__alloc(*len + 2);
    json_dumpb(root, line, *len, JSON_COMPACT);
    line[(*len)++] = '\n';
    json_decref(root);
    return line;
}
