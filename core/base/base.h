/* SPDX-License-Identifier: MIT */
/* What every file of the core uses: container_of, array length, allocation, clean-up attributes. */
#ifndef MVM_BASE_H
#define MVM_BASE_H

#include <stddef.h>

#define MVM_COUNT(array)                     (sizeof(array) / sizeof((array)[0]))
#define MVM_MIN(a, b)                        ((a) < (b) ? (a) : (b))
#define MVM_MAX(a, b)                        ((a) > (b) ? (a) : (b))
#define mvm__container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/*
 * Allocation never returns NULL: the core's own allocations are small and bounded, and a host
 * that can't give them can't run machines either. On failure the process says so and aborts;
 * its children die with it.
 */
void *mvm__alloc(size_t size); /* zeroed */
void *mvm__realloc(void *ptr, size_t size);
void mvm__free(void *ptr);
char *mvm__strdup(const char *text); /* NULL gives NULL */
char *mvm__strndup(const char *text, size_t len);
char *mvm__asprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A mistake of the program itself: says so and aborts. */
_Noreturn void mvm__die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Free / close when the variable goes out of scope. */
void mvm__cleanup_free(void *ptr_to_ptr);
void mvm__cleanup_fd(const int *fd); /* closes fd >= 0 */
#define MVM_AUTO_FREE __attribute__((cleanup(mvm__cleanup_free)))
#define MVM_AUTO_FD   __attribute__((cleanup(mvm__cleanup_fd)))
/* Takes the value out of a variable that is cleaned up, so that it outlives the scope. */
#define mvm__steal_fd(fd) mvm__steal_fd_(&(fd))
int mvm__steal_fd_(int *fd);

#endif
