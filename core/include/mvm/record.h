/* SPDX-License-Identifier: MIT */
/*
 * Configuration as data: a record is a value described by a schema ("vm",
 * "boot", "disk", "net", ...). The schema is the one place that knows a field's
 * name, type, limits, default and documentation; checking, "did you mean",
 * plans, completion and the reference manual are made from it.
 */
#ifndef MVM_RECORD_H
#define MVM_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mvm/status.h"

enum mvm_type {
    MVM_T_NIL,
    MVM_T_BOOL,
    MVM_T_INT,    /* integer within min..max */
    MVM_T_NUMBER, /* seconds, factors */
    MVM_T_STRING,
    /* The following are schema types; as values they are strings or integers. */
    MVM_T_SIZE,    /* bytes, or "512M", "2G" (powers of 1024); stored as MVM_T_INT */
    MVM_T_PATH,    /* host path; stored absolute */
    MVM_T_MAC,     /* "52:54:00:12:34:56", unicast; stored in lower case */
    MVM_T_CHOICE,  /* one word of `choices` */
    MVM_T_NAME,    /* [A-Za-z0-9._-]+, at most 64 bytes, starts with a letter or digit */
    MVM_T_FORWARD, /* map: host "[tcp:|udp:]addr:port" -> guest port */
    MVM_T_MAP,     /* map: string -> string */
    MVM_T_RECORD,  /* a sub-record of schema `kind` */
    MVM_T_LIST,    /* a list of device records */
};

typedef struct mvm_value {
    enum mvm_type type; /* NIL, BOOL, INT, NUMBER or STRING */
    union {
        bool boolean;
        int64_t integer;
        double number;
        struct {
            const char *ptr; /* terminated; may hold NUL inside */
            size_t len;
        } string;
    } as;
} mvm_value;

typedef struct mvm_field {
    const char *name;
    enum mvm_type type;
    int64_t min, max;     /* INT, SIZE, NUMBER */
    const char *choices;  /* CHOICE: words separated by one space; RECORD: kind of the sub-record */
    const char *fallback; /* the default as it is written, or NULL */
    const char *doc;      /* one sentence */
} mvm_field;

typedef struct mvm_schema {
    const char *kind; /* "vm", "boot", "disk", ... */
    bool device;      /* a constructor macvm.KIND makes it, vm:attach takes it */
    const char *doc;
    const mvm_field *fields; /* ends with name == NULL */
} mvm_schema;

/* Every schema there is, in the order of the manual; NULL past the end. */
const mvm_schema *mvm_schema_at(size_t i);
const mvm_schema *mvm_schema_find(const char *kind);

typedef struct mvm_record mvm_record;

/* Records are counted: new returns one reference, unref drops one (NULL is fine). */
mvm_record *mvm_record_new(const mvm_schema *schema);
mvm_record *mvm_record_ref(mvm_record *record);
void mvm_record_unref(mvm_record *record);
const mvm_schema *mvm_record_schema(const mvm_record *record);

/* Sets one field, checked and normalised; NIL unsets it. The value is copied.
 * MVM_ECONFIG with err->field, and a hint where one is known ("did you mean `memory`?").
 * MVM_ESTATE when the record is frozen (its machine runs). */
int mvm_record_set(mvm_record *record, const char *field, const mvm_value *value, mvm_err *err);

/* Sets one entry of a MAP or FORWARD field. A forward whose host port is 0 stands beside those of
 * the same key that lead to other guest ports. */
int mvm_record_set_entry(mvm_record *record, const char *field, const char *key,
                         const mvm_value *value, mvm_err *err);

/* The sub-record of a RECORD field, made when it is not there yet; owned by `record`. */
mvm_record *mvm_record_sub(mvm_record *record, const char *field, mvm_err *err);

/* Appends to a LIST field; takes a reference of its own. */
int mvm_record_append(mvm_record *record, const char *field, mvm_record *item, mvm_err *err);

/* Reading. A field that is not set gives its default; `has` tells whether it was set.
 * Asking for a field that the schema does not have is a programming error (aborts).
 * Strings live until the field is set again or the record is gone; NULL: no value. */
bool mvm_record_has(const mvm_record *record, const char *field);
bool mvm_record_bool(const mvm_record *record, const char *field);
int64_t mvm_record_int(const mvm_record *record, const char *field);
double mvm_record_number(const mvm_record *record, const char *field);
const char *mvm_record_str(const mvm_record *record, const char *field);
/* NIL when there is neither a value nor a default. */
mvm_value mvm_record_get(const mvm_record *record, const char *field);
/* Sub-record or NULL. */
const mvm_record *mvm_record_peek(const mvm_record *record, const char *field);
/* Items of a LIST, entries of a MAP; NULL / false past the end. */
mvm_record *mvm_record_item(const mvm_record *record, const char *field, size_t i);
bool mvm_record_entry(const mvm_record *record, const char *field, size_t i, const char **key,
                      mvm_value *value);

/* "512M" -> bytes; plain digits are bytes. MVM_ECONFIG otherwise. */
int mvm_parse_size(const char *text, int64_t *bytes, mvm_err *err);
/* 536870912 -> "512M": the largest unit that divides it; buf of at least 24 bytes. */
const char *mvm_format_size(int64_t bytes, char *buf, size_t cap);
/* The candidate nearest to `word` by edit distance, or NULL when none is near. */
const char *mvm_nearest(const char *word, const char *const *candidates, size_t n);

#endif
