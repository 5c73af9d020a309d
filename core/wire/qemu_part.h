/* SPDX-License-Identifier: MIT */
/*
 * A part of a QEMU machine (an object, a character device, a block node, a
 * network back end or a device) as typed key-value pairs, written out in
 * either of the two ways QEMU takes it: an option of its command line, or a
 * QMP command. So a device that is there from the start and one that is
 * plugged in later are described once. Pure; any thread.
 */
#ifndef MVM_QEMU_PART_H
#define MVM_QEMU_PART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mvm_qemu_part_kind {
    MVM_QEMU_OBJECT,   /* type: rng-builtin, ... */
    MVM_QEMU_CHARDEV,  /* a unix socket, connected or by path */
    MVM_QEMU_BLOCKDEV, /* type: driver of the node; the id is its node name */
    MVM_QEMU_NETDEV,   /* type: user, tap, ... */
    MVM_QEMU_FSDEV,    /* type: local; not over QMP, which has no command for it */
    MVM_QEMU_AUDIODEV, /* type: wav, alsa, ...; not over QMP, which can't take it away again */
    MVM_QEMU_DEVICE,   /* type: virtio-blk-pci, ... */
};

typedef struct mvm_qemu_key {
    char *name; /* dots lead into sub-objects: "file.filename" */
    char *text; /* NULL: an integer or a boolean */
    int64_t number;
    bool boolean;
} mvm_qemu_key;

typedef struct mvm_qemu_part {
    enum mvm_qemu_part_kind kind;
    char *type, *id;
    mvm_qemu_key *keys;
    size_t nkeys;
} mvm_qemu_part;

/* Parts in the order in which QEMU has to learn of them. Zeroed is empty. */
typedef struct mvm_qemu_parts {
    mvm_qemu_part *items;
    size_t n;
} mvm_qemu_parts;

/* Appends a part, to which the following calls add keys. All texts are copied. A CHARDEV's type is
 * "socket" and it has one key: "fd" (as numbered in QEMU; not over QMP) or "path". */
void mvm_qemu_part_add(mvm_qemu_parts *parts, enum mvm_qemu_part_kind kind, const char *type,
                       const char *id);
void mvm_qemu_key_text(mvm_qemu_parts *parts, const char *name, const char *text);
void mvm_qemu_key_fmt(mvm_qemu_parts *parts, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void mvm_qemu_key_int(mvm_qemu_parts *parts, const char *name, int64_t number);
void mvm_qemu_key_bool(mvm_qemu_parts *parts, const char *name, bool on);
void mvm_qemu_parts_free(mvm_qemu_parts *parts); /* leaves it empty */

/* The option's name ("-device") and its value, to be freed. */
const char *mvm_qemu_part_option(const mvm_qemu_part *part, char **value);
/* The QMP command that adds it, and the command's arguments: a new reference. NULL: a value does
 * not fit, or there is no such command, which is a programming error. */
struct json_t *mvm_qemu_part_json(const mvm_qemu_part *part, const char **command);
/* The QMP command that takes it away again, and the name of its one argument, whose value is the
 * part's id. NULL: it stays. */
const char *mvm_qemu_part_undo(const mvm_qemu_part *part, const char **argument);

#endif
