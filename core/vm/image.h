/* SPDX-License-Identifier: MIT */
/* Disk images as files of the host: what is in them, who uses them, making them larger. The format
 * is always the caller's word, never guessed. No error has a field. Any thread. */
#ifndef MVM_VM_IMAGE_H
#define MVM_VM_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "mvm/status.h"

/* The size of the disk in an image. MVM_ECONFIG for a qcow2 image that can't be one, or that needs
 * another file or a key. */
int mvm__image_size(const char *path, const char *format, int64_t *size, mvm_err *err);

/* Makes the disk in an image larger; nothing happens when it is as large. MVM_ECONFIG: it is in
 * use; MVM_EUNSUPPORTED: a qcow2 image that only QEMU can make so large. What is in the image is
 * sound at every moment. */
int mvm__image_grow(const char *path, const char *format, int64_t size, mvm_err *err);

/* Whether the image begins with the header of a qcow2 image. */
bool mvm__image_like_qcow2(const char *path);

/* MVM_ECONFIG when another process holds it in a way that would keep QEMU from opening it (to
 * write, or to read alone), with that process where it can be found. An image that is not there is
 * free. */
int mvm__image_free(const char *path, bool write, mvm_err *err);

/* Takes every lock that QEMU would, on a descriptor open for writing; they go with it. */
bool mvm__image_lock(int fd);

#endif
