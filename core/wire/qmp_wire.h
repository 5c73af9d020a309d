/* SPDX-License-Identifier: MIT */
/*
 * QMP on the wire: one JSON object a line, both ways. Pure: bytes in, messages out, and commands
 * as bytes. The peer is a process that a guest may have taken over, so lines and depths are bounded
 * and every field is checked for its type.
 */
#ifndef MVM_QMP_WIRE_H
#define MVM_QMP_WIRE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "mvm/status.h"

#define MVM_QMP_LINE_MAX  (4u << 20)
#define MVM_QMP_DEPTH_MAX 64

/* A JSON value inside a message, read by the functions below; lives as long as the message. */
typedef struct json_t mvm_qmp_value;

enum mvm_qmp_kind {
    MVM_QMP_GREETING, /* name: QEMU's version */
    MVM_QMP_RETURN,   /* id, data */
    MVM_QMP_ERROR,    /* id (or -1), name: its class, text: its description */
    MVM_QMP_EVENT,    /* name, data */
};

typedef struct mvm_qmp_msg {
    enum mvm_qmp_kind kind;
    int64_t id;                /* -1: none */
    const char *name;          /* never NULL */
    const char *text;          /* never NULL */
    const mvm_qmp_value *data; /* may be NULL */
    char version[32];
    void *root; /* owns all of the above */
} mvm_qmp_msg;

typedef struct mvm_qmp_parser {
    mvm__buf in;
    size_t scanned; /* no newline in the first so many bytes */
    bool broken;    /* a malformed line or one beyond the bound: nothing more comes out */
} mvm_qmp_parser;

void mvm_qmp_parser_free(mvm_qmp_parser *parser);
void mvm_qmp_feed(mvm_qmp_parser *parser, const void *data, size_t len);
/* 1: *msg is filled, to be freed. 0: more bytes are needed. MVM_EBACKEND: that was no QMP; the
 * parser stays broken. */
int mvm_qmp_next(mvm_qmp_parser *parser, mvm_qmp_msg *msg, mvm_err *err);
void mvm_qmp_msg_free(mvm_qmp_msg *msg);

/* A command's line, newline included, to be freed; *len bytes. `pack`: its arguments as a format of
 * jansson's json_pack ("{s:s, s:i}") with its values, or NULL. NULL: the values do not fit it. */
char *mvm_qmp_command(int64_t id, const char *name, const char *pack, va_list args, size_t *len);

/* Members of an object and items of a list. Anything missing, of another type or, for an integer,
 * out of range: NULL / fallback. */
const mvm_qmp_value *mvm_qmp_get(const mvm_qmp_value *object, const char *key);
const mvm_qmp_value *mvm_qmp_at(const mvm_qmp_value *list, size_t i);
const char *mvm_qmp_str(const mvm_qmp_value *object, const char *key); /* never NULL: "" */
int64_t mvm_qmp_int(const mvm_qmp_value *object, const char *key, int64_t fallback);
const char *mvm_qmp_text(const mvm_qmp_value *value); /* of a string; NULL: it is none */
bool mvm_qmp_bool(const mvm_qmp_value *object, const char *key);

#endif
