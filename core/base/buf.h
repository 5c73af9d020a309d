/* SPDX-License-Identifier: MIT */
/* A growable run of bytes, filled at the end and emptied at the front. Zeroed is empty. */
#ifndef MVM_BUF_H
#define MVM_BUF_H

#include <stdarg.h>
#include <stddef.h>

typedef struct mvm__buf {
    char *data; /* what is held begins at data + off */
    size_t off, len, cap;
} mvm__buf;

void mvm__buf_free(mvm__buf *buf); /* and zeroes it */
void mvm__buf_append(mvm__buf *buf, const void *data, size_t len);
void mvm__buf_printf(mvm__buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void mvm__buf_vprintf(mvm__buf *buf, const char *fmt, va_list args)
    __attribute__((format(printf, 2, 0)));
/* Room for `len` more bytes at the returned place; commit what was filled. */
char *mvm__buf_reserve(mvm__buf *buf, size_t len);
void mvm__buf_commit(mvm__buf *buf, size_t len);
void mvm__buf_consume(mvm__buf *buf, size_t len); /* drops from the front; len <= held */
/* Terminates what is held with a NUL that is not counted. Never NULL. */
const char *mvm__buf_str(mvm__buf *buf);

/* Never NULL, so that it may go to memcpy and friends with a length of 0. */
static inline const char *mvm__buf_ptr(const mvm__buf *buf)
{
    return buf->data ? buf->data + buf->off : "";
}

static inline size_t mvm__buf_len(const mvm__buf *buf)
{
    return buf->len;
}

#endif
