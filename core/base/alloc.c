/* SPDX-License-Identifier: MIT */
/* Allocation that does not fail, the end of a broken program, clean-up attributes. Any thread. */
#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *checked(void *ptr)
{
    if (!ptr) {
        static const char text[] = "macvm: out of memory\n";
        (void)!write(2, text, sizeof(text) - 1);
        abort();
    }
    return ptr;
}

void *mvm__alloc(size_t size)
{
    return checked(calloc(1, size ? size : 1));
}

void *mvm__realloc(void *ptr, size_t size)
{
    return checked(realloc(ptr, size ? size : 1));
}

void mvm__free(void *ptr)
{
    free(ptr);
}

char *mvm__strdup(const char *text)
{
    return text ? checked(strdup(text)) : NULL;
}

char *mvm__strndup(const char *text, size_t len)
{
    char *copy = mvm__alloc(len + 1);

    memcpy(copy, text, len);
    return copy;
}

char *mvm__asprintf(const char *fmt, ...)
{
    char *text = NULL;
    va_list args;

    va_start(args, fmt);
    int len = vasprintf(&text, fmt, args);
    va_end(args);
    return checked(len < 0 ? NULL : text);
}

void mvm__die(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fputs("macvm: internal error: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}

void mvm__cleanup_free(void *ptr_to_ptr)
{
    free(*(void **)ptr_to_ptr);
}

void mvm__cleanup_fd(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

int mvm__steal_fd_(int *fd)
{
    int value = *fd;

    *fd = -1;
    return value;
}
