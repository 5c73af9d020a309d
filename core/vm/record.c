/* SPDX-License-Identifier: MIT */
/*
 * Records: the values of one schema. A field that is not set costs no memory
 * beyond its slot. Loop thread only.
 */
#include "vm/record.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

typedef struct entry {
    char *key;
    mvm_value value;
} entry;

/* Which member is used follows from the field's type. */
typedef struct slot {
    mvm_value value;
    mvm_record *sub;
    mvm_record **items;
    entry *entries;
    size_t count; /* of items or entries */
} slot;

struct mvm_record {
    const mvm_schema *schema;
    int refs;
    int frozen;      /* how many running machines use it */
    char prefix[64]; /* of the field path: "boot." in a sub-record */
    slot slots[];
};

static size_t field_count(const mvm_schema *schema)
{
    size_t n = 0;

    while (schema->fields[n].name)
        n++;
    return n;
}

mvm_record *mvm_record_new(const mvm_schema *schema)
{
    mvm_record *r = mvm__alloc(sizeof(*r) + field_count(schema) * sizeof(slot));

    r->schema = schema;
    r->refs = 1;
    return r;
}

mvm_record *mvm_record_ref(mvm_record *record)
{
    record->refs++;
    return record;
}

static void slot_clear(slot *s)
{
    mvm__value_free(&s->value);
    mvm_record_unref(s->sub);
    for (size_t i = 0; i < s->count; i++) {
        if (s->items)
            mvm_record_unref(s->items[i]);
        if (s->entries) {
            mvm__free(s->entries[i].key);
            mvm__value_free(&s->entries[i].value);
        }
    }
    mvm__free(s->items);
    mvm__free(s->entries);
    *s = (slot){0};
}

void mvm_record_unref(mvm_record *record)
{
    if (!record || --record->refs > 0)
        return;
    for (size_t i = 0, n = field_count(record->schema); i < n; i++)
        slot_clear(&record->slots[i]);
    mvm__free(record);
}

const mvm_schema *mvm_record_schema(const mvm_record *record)
{
    return record->schema;
}

/* ---- writing ------------------------------------------------------------------ */

static int unknown_field(const mvm_record *r, const char *name, mvm_err *err)
{
    enum { MAX = 64 };
    const char *names[MAX];
    size_t n = 0;

    for (const mvm_field *f = r->schema->fields; f->name && n < MAX; f++)
        names[n++] = f->name;
    const char *near = mvm_nearest(name, names, n);
    mvm_fail(err, MVM_ECONFIG, "unknown field of a %s", r->schema->kind);
    mvm_err_field(err, "%s%.64s", r->prefix, name);
    if (near) {
        mvm_err_hint(err, "did you mean `%s`?", near);
    } else if (err) {
        size_t at = (size_t)snprintf(err->hint, sizeof(err->hint), n ? "it has:" : "it has none");
        for (size_t i = 0; i < n && at < sizeof(err->hint); i++)
            at += (size_t)snprintf(err->hint + at, sizeof(err->hint) - at, " %s", names[i]);
    }
    return MVM_ECONFIG;
}

/* The slot of a field that may be changed now, or NULL with *err filled. */
static slot *writable(mvm_record *r, const char *name, const mvm_field **field, mvm_err *err)
{
    for (size_t i = 0; r->schema->fields[i].name; i++) {
        if (strcmp(r->schema->fields[i].name, name) != 0)
            continue;
        *field = &r->schema->fields[i];
        if (!r->frozen)
            return &r->slots[i];
        mvm_fail(err, MVM_ESTATE, "can't be changed while the machine is up");
        mvm_err_field(err, "%s%s", r->prefix, name);
        return NULL;
    }
    unknown_field(r, name, err);
    return NULL;
}

int mvm_record_set(mvm_record *record, const char *field, const mvm_value *value, mvm_err *err)
{
    const mvm_field *f = NULL;
    slot *s = writable(record, field, &f, err);
    mvm_value parsed;

    if (!s)
        return err ? err->code : MVM_ECONFIG;
    if (value->type == MVM_T_NIL) {
        slot_clear(s);
        return 0;
    }
    int rc = mvm__field_parse(f, value, &parsed, err);
    if (rc != 0) {
        mvm_err_field(err, "%s%s", record->prefix, field);
        return rc;
    }
    slot_clear(s);
    s->value = parsed;
    return 0;
}

/* Plain decimal digits: QEMU reads "010" as an octal number. */
static bool good_port(const char *text)
{
    size_t len = strspn(text, "0123456789");

    return len >= 1 && len <= 5 && text[len] == '\0' && (text[0] != '0' || len == 1) &&
           atoi(text) <= 65535;
}

/* "[tcp:|udp:]ADDRESS:PORT", ADDRESS an IPv4 address: what a forward listens on. */
static int check_forward_key(const char *key, mvm_err *err)
{
    char addr[64];
    struct in_addr in;
    const char *text = key;

    if (strncmp(text, "tcp:", 4) == 0 || strncmp(text, "udp:", 4) == 0)
        text += 4;
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;
    if (colon && len < sizeof(addr)) {
        memcpy(addr, text, len);
        addr[len] = '\0';
        if (inet_pton(AF_INET, addr, &in) == 1 && good_port(colon + 1))
            return 0;
    }
    mvm_fail(err, MVM_ECONFIG, "\"%.64s\" is not an address to listen on", key);
    mvm_err_hint(err, "\"127.0.0.1:8080\" or \"udp:127.0.0.1:5353\"");
    return MVM_ECONFIG;
}

static int check_forward(const char *key, const mvm_value *value, mvm_err *err)
{
    if (check_forward_key(key, err) != 0)
        return MVM_ECONFIG;
    if (value->type == MVM_T_INT && value->as.integer >= 1 && value->as.integer <= 65535)
        return 0;
    mvm_fail(err, MVM_ECONFIG, "the guest's port must be an integer from 1 to 65535");
    if (value->type == MVM_T_LIST)
        mvm_err_hint(err, "80, or, for host port 0 alone, several: { 80, 443 }");
    return MVM_ECONFIG;
}

int mvm_record_set_entry(mvm_record *record, const char *field, const char *key,
                         const mvm_value *value, mvm_err *err)
{
    static const mvm_field as_string = {.type = MVM_T_STRING};
    const mvm_field *f = NULL;
    slot *s = writable(record, field, &f, err);
    mvm_value parsed = *value;
    int rc;

    if (!s)
        return err ? err->code : MVM_ECONFIG;
    if (f->type == MVM_T_FORWARD)
        rc = check_forward(key, value, err);
    else if (f->type == MVM_T_MAP)
        rc = mvm__field_parse(&as_string, value, &parsed, err);
    else
        rc = mvm_fail(err, MVM_ECONFIG, "a table is not what this field takes");
    if (rc != 0) {
        mvm_err_field(err, "%s%s[\"%.48s\"]", record->prefix, field, key);
        return rc;
    }
    bool pick = f->type == MVM_T_FORWARD && strcmp(strrchr(key, ':'), ":0") == 0;
    for (size_t i = 0; i < s->count; i++) {
        bool same = !pick || s->entries[i].value.as.integer == value->as.integer;
        if (same && strcmp(s->entries[i].key, key) == 0) {
            mvm__value_free(&s->entries[i].value);
            s->entries[i].value = parsed;
            return 0;
        }
    }
    s->entries = mvm__realloc(s->entries, (s->count + 1) * sizeof(entry));
    s->entries[s->count++] = (entry){mvm__strdup(key), parsed};
    return 0;
}

mvm_record *mvm_record_sub(mvm_record *record, const char *field, mvm_err *err)
{
    const mvm_field *f = NULL;
    slot *s = writable(record, field, &f, err);

    if (!s)
        return NULL;
    if (f->type != MVM_T_RECORD) {
        mvm_fail(err, MVM_ECONFIG, "a table is not what this field takes");
        mvm_err_field(err, "%s%s", record->prefix, field);
        return NULL;
    }
    if (!s->sub) {
        s->sub = mvm_record_new(mvm_schema_find(f->choices));
        snprintf(s->sub->prefix, sizeof(s->sub->prefix), "%.40s%.20s.", record->prefix, field);
    }
    return s->sub;
}

int mvm_record_append(mvm_record *record, const char *field, mvm_record *item, mvm_err *err)
{
    const mvm_field *f = NULL;
    slot *s = writable(record, field, &f, err);

    if (!s)
        return err ? err->code : MVM_ECONFIG;
    if (f->type != MVM_T_LIST || !item->schema->device) {
        mvm_fail(err, MVM_ECONFIG, "a %s is not a device", item->schema->kind);
        mvm_err_field(err, "%s%s", record->prefix, field);
        return MVM_ECONFIG;
    }
    for (size_t i = 0; i < s->count; i++) {
        if (s->items[i] != item)
            continue;
        mvm_fail(err, MVM_ECONFIG, "this %s is attached already", item->schema->kind);
        mvm_err_field(err, "%s%s", record->prefix, field);
        return MVM_ECONFIG;
    }
    s->items = mvm__realloc(s->items, (s->count + 1) * sizeof(mvm_record *));
    s->items[s->count++] = mvm_record_ref(item);
    return 0;
}

void mvm__record_freeze(mvm_record *record, bool frozen)
{
    record->frozen += frozen ? 1 : -1;
    for (size_t i = 0; record->schema->fields[i].name; i++) {
        slot *s = &record->slots[i];
        if (s->sub)
            mvm__record_freeze(s->sub, frozen);
        for (size_t k = 0; s->items && k < s->count; k++)
            mvm__record_freeze(s->items[k], frozen);
    }
}

static slot *list_slot(mvm_record *record, const char *field, mvm_record *item, size_t *at)
{
    size_t i = 0;

    while (strcmp(record->schema->fields[i].name, field) != 0)
        i++;
    slot *s = &record->slots[i];
    for (*at = 0; *at < s->count && s->items[*at] != item;)
        (*at)++;
    return s;
}

bool mvm__record_plug(mvm_record *record, const char *field, mvm_record *item)
{
    size_t at;
    slot *s = list_slot(record, field, item, &at);

    if (at < s->count)
        return false;
    s->items = mvm__realloc(s->items, (s->count + 1) * sizeof(mvm_record *));
    s->items[s->count++] = mvm_record_ref(item);
    if (record->frozen)
        mvm__record_freeze(item, true);
    return true;
}

bool mvm__record_unplug(mvm_record *record, const char *field, mvm_record *item)
{
    size_t at;
    slot *s = list_slot(record, field, item, &at);

    if (at == s->count)
        return false;
    s->count--;
    memmove(s->items + at, s->items + at + 1, (s->count - at) * sizeof(mvm_record *));
    if (record->frozen)
        mvm__record_freeze(item, false);
    mvm_record_unref(item);
    return true;
}

void mvm__record_note(mvm_record *record, const char *field, const mvm_value *value)
{
    int frozen = record->frozen;
    mvm_err err;

    record->frozen = 0;
    if (mvm_record_set(record, field, value, &err) != 0)
        mvm__die("%s: %s", field, err.message);
    record->frozen = frozen;
}

/* ---- reading -------------------------------------------------------------------- */

static const slot *readable(const mvm_record *r, const char *name, const mvm_field **field)
{
    for (size_t i = 0; r->schema->fields[i].name; i++) {
        if (strcmp(r->schema->fields[i].name, name) == 0) {
            *field = &r->schema->fields[i];
            return &r->slots[i];
        }
    }
    mvm__die("a %s has no field \"%s\"", r->schema->kind, name);
}

static bool slot_filled(const slot *s)
{
    return s->value.type != MVM_T_NIL || s->sub || s->count > 0;
}

bool mvm_record_has(const mvm_record *record, const char *field)
{
    const mvm_field *f;

    return slot_filled(readable(record, field, &f));
}

/* The default, as text of the schema, becomes a value; texts are borrowed from the schema. */
static mvm_value fallback_value(const mvm_field *f)
{
    mvm_value v = {.type = MVM_T_NIL};

    if (!f->fallback)
        return v;
    switch (f->type) {
    case MVM_T_BOOL:
        v = (mvm_value){.type = MVM_T_BOOL, .as.boolean = strcmp(f->fallback, "true") == 0};
        break;
    case MVM_T_INT:
    case MVM_T_SIZE:
        v.type = MVM_T_INT;
        mvm_parse_size(f->fallback, &v.as.integer, NULL);
        break;
    case MVM_T_NUMBER:
        v = (mvm_value){.type = MVM_T_NUMBER, .as.number = strtod(f->fallback, NULL)};
        break;
    default:
        v.type = MVM_T_STRING;
        v.as.string.ptr = f->fallback;
        v.as.string.len = strlen(f->fallback);
    }
    return v;
}

mvm_value mvm_record_get(const mvm_record *record, const char *field)
{
    const mvm_field *f;
    const slot *s = readable(record, field, &f);

    return s->value.type != MVM_T_NIL ? s->value : fallback_value(f);
}

bool mvm_record_bool(const mvm_record *record, const char *field)
{
    mvm_value v = mvm_record_get(record, field);

    return v.type == MVM_T_BOOL && v.as.boolean;
}

int64_t mvm_record_int(const mvm_record *record, const char *field)
{
    mvm_value v = mvm_record_get(record, field);

    return v.type == MVM_T_INT ? v.as.integer : 0;
}

double mvm_record_number(const mvm_record *record, const char *field)
{
    mvm_value v = mvm_record_get(record, field);

    return v.type == MVM_T_NUMBER ? v.as.number : 0;
}

const char *mvm_record_str(const mvm_record *record, const char *field)
{
    mvm_value v = mvm_record_get(record, field);

    return v.type == MVM_T_STRING ? v.as.string.ptr : NULL;
}

const mvm_record *mvm_record_peek(const mvm_record *record, const char *field)
{
    const mvm_field *f;

    return readable(record, field, &f)->sub;
}

mvm_record *mvm_record_item(const mvm_record *record, const char *field, size_t i)
{
    const mvm_field *f;
    const slot *s = readable(record, field, &f);

    return s->items && i < s->count ? s->items[i] : NULL;
}

bool mvm_record_entry(const mvm_record *record, const char *field, size_t i, const char **key,
                      mvm_value *value)
{
    const mvm_field *f;
    const slot *s = readable(record, field, &f);

    if (!s->entries || i >= s->count)
        return false;
    *key = s->entries[i].key;
    *value = s->entries[i].value;
    return true;
}
