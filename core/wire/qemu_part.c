/* SPDX-License-Identifier: MIT */
/*
 * Parts of a QEMU machine in its two notations. What QEMU calls the type and the id differs from
 * kind to kind; the table below is the one place that knows it. Pure; any thread.
 */
#include "wire/qemu_part.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "base/buf.h"

static const struct {
    const char *option, *type_key, *id_key; /* type_key NULL: it stands first, without a name */
    const char *add, *json_type_key;
    const char *undo;
} g_kinds[] = {
    [MVM_QEMU_OBJECT] = {"-object", NULL, "id", "object-add", "qom-type", "object-del"},
    [MVM_QEMU_CHARDEV] = {"-chardev", NULL, "id", "chardev-add", NULL, "chardev-remove"},
    [MVM_QEMU_BLOCKDEV] = {"-blockdev", "driver", "node-name", "blockdev-add", "driver",
                           "blockdev-del"},
    [MVM_QEMU_NETDEV] = {"-netdev", NULL, "id", "netdev_add", "type", "netdev_del"},
    [MVM_QEMU_FSDEV] = {"-fsdev", NULL, "id", NULL, NULL, NULL},
    [MVM_QEMU_AUDIODEV] = {"-audiodev", NULL, "id", NULL, NULL, NULL},
    [MVM_QEMU_DEVICE] = {"-device", NULL, "id", "device_add", "driver", "device_del"},
};

/* ---- making ---------------------------------------------------------------------- */

void mvm_qemu_part_add(mvm_qemu_parts *parts, enum mvm_qemu_part_kind kind, const char *type,
                       const char *id)
{
    parts->items = mvm__realloc(parts->items, (parts->n + 1) * sizeof(*parts->items));
    parts->items[parts->n++] =
        (mvm_qemu_part){.kind = kind, .type = mvm__strdup(type), .id = mvm__strdup(id)};
}

static mvm_qemu_key *add_key(mvm_qemu_parts *parts, const char *name)
{
    mvm_qemu_part *part = &parts->items[parts->n - 1];

    part->keys = mvm__realloc(part->keys, (part->nkeys + 1) * sizeof(*part->keys));
    mvm_qemu_key *key = &part->keys[part->nkeys++];
    *key = (mvm_qemu_key){.name = mvm__strdup(name)};
    return key;
}

void mvm_qemu_key_text(mvm_qemu_parts *parts, const char *name, const char *text)
{
    add_key(parts, name)->text = mvm__strdup(text);
}

void mvm_qemu_key_fmt(mvm_qemu_parts *parts, const char *name, const char *fmt, ...)
{
    mvm__buf text = {0};
    va_list args;

    va_start(args, fmt);
    mvm__buf_vprintf(&text, fmt, args);
    va_end(args);
    mvm_qemu_key_text(parts, name, mvm__buf_str(&text));
    mvm__buf_free(&text);
}

void mvm_qemu_key_int(mvm_qemu_parts *parts, const char *name, int64_t number)
{
    add_key(parts, name)->number = number;
}

void mvm_qemu_key_bool(mvm_qemu_parts *parts, const char *name, bool on)
{
    mvm_qemu_key *key = add_key(parts, name);

    key->boolean = true;
    key->number = on;
}

void mvm_qemu_parts_free(mvm_qemu_parts *parts)
{
    for (size_t i = 0; i < parts->n; i++) {
        mvm_qemu_part *part = &parts->items[i];
        for (size_t k = 0; k < part->nkeys; k++) {
            mvm__free(part->keys[k].name);
            mvm__free(part->keys[k].text);
        }
        mvm__free(part->keys);
        mvm__free(part->type);
        mvm__free(part->id);
    }
    mvm__free(parts->items);
    *parts = (mvm_qemu_parts){0};
}

/* ---- as an option ------------------------------------------------------------------ */

/* Doubles the commas, to which QEMU's option syntax gives a meaning. */
static void put_escaped(mvm__buf *out, const char *text)
{
    for (; *text; text++)
        mvm__buf_printf(out, *text == ',' ? ",," : "%c", *text);
}

static void put_key(mvm__buf *out, const mvm_qemu_key *key)
{
    mvm__buf_printf(out, ",%s=", key->name);
    if (key->text)
        put_escaped(out, key->text);
    else if (key->boolean)
        mvm__buf_printf(out, key->number ? "on" : "off");
    else
        mvm__buf_printf(out, "%lld", (long long)key->number);
}

const char *mvm_qemu_part_option(const mvm_qemu_part *part, char **value)
{
    const char *type_key = g_kinds[part->kind].type_key;
    mvm__buf out = {0};

    mvm__buf_printf(&out, "%s%s%s,%s=", type_key ? type_key : "", type_key ? "=" : "", part->type,
                    g_kinds[part->kind].id_key);
    put_escaped(&out, part->id);
    for (size_t i = 0; i < part->nkeys; i++)
        put_key(&out, &part->keys[i]);
    *value = mvm__strdup(mvm__buf_str(&out));
    mvm__buf_free(&out);
    return g_kinds[part->kind].option;
}

/* ---- as a command -------------------------------------------------------------------- */

static json_t *json_of(const mvm_qemu_key *key)
{
    if (key->text)
        return json_string(key->text);
    return key->boolean ? json_boolean(key->number) : json_integer(key->number);
}

/* "a.b.c" goes into the objects a and b. */
static int put_json(json_t *object, const char *name, json_t *value)
{
    const char *dot;

    while ((dot = strchr(name, '.')) != NULL) {
        char head[64];
        snprintf(head, sizeof(head), "%.*s", (int)(dot - name), name);
        json_t *sub = json_object_get(object, head);
        if (!sub) {
            sub = json_object();
            json_object_set_new(object, head, sub);
        }
        object = sub;
        name = dot + 1;
    }
    return json_object_set_new(object, name, value);
}

/* A user network's forwards are a list of objects there: several keys "hostfwd". */
static int put_forward(json_t *object, const mvm_qemu_key *key)
{
    json_t *list = json_object_get(object, key->name);

    if (!list) {
        list = json_array();
        json_object_set_new(object, key->name, list);
    }
    return json_array_append_new(list, json_pack("{s:s}", "str", key->text));
}

static json_t *chardev_json(const mvm_qemu_part *part)
{
    return json_pack("{s:s, s:{s:s, s:{s:{s:s, s:{s:s}}, s:b}}}", "id", part->id, "backend", "type",
                     part->type, "data", "addr", "type", "unix", "data", "path", part->keys[0].text,
                     "server", 0);
}

json_t *mvm_qemu_part_json(const mvm_qemu_part *part, const char **command)
{
    *command = g_kinds[part->kind].add;
    if (part->kind == MVM_QEMU_CHARDEV)
        return chardev_json(part);
    if (!*command)
        return NULL;
    json_t *object = json_pack("{s:s, s:s}", g_kinds[part->kind].json_type_key, part->type,
                               g_kinds[part->kind].id_key, part->id);
    int rc = object ? 0 : -1;
    for (size_t i = 0; rc == 0 && i < part->nkeys; i++) {
        const mvm_qemu_key *key = &part->keys[i];
        rc = strcmp(key->name, "hostfwd") == 0 ? put_forward(object, key)
                                               : put_json(object, key->name, json_of(key));
    }
    if (rc == 0)
        return object;
    json_decref(object);
    return NULL;
}

const char *mvm_qemu_part_undo(const mvm_qemu_part *part, const char **argument)
{
    *argument = part->kind == MVM_QEMU_BLOCKDEV ? "node-name" : "id";
    return g_kinds[part->kind].undo;
}
