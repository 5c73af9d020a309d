/* SPDX-License-Identifier: MIT */
/* Growable bytes. Consuming moves an offset; the bytes are moved only when room is needed and at
 * least as many were consumed, so that a long queue is not moved again and again. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"

void mvm__buf_free(mvm__buf *buf)
{
    mvm__free(buf->data);
    *buf = (mvm__buf){0};
}

char *mvm__buf_reserve(mvm__buf *buf, size_t len)
{
    if (buf->cap - buf->off - buf->len >= len && buf->data)
        return buf->data + buf->off + buf->len;
    if (buf->off > 0 && buf->off >= buf->len) {
        memmove(buf->data, buf->data + buf->off, buf->len);
        buf->off = 0;
    }
    size_t end = buf->off + buf->len;
    if (buf->cap - end < len || !buf->data) {
        size_t cap = MVM_MAX(buf->cap * 2, end + len);
        buf->cap = MVM_MAX(cap, 256);
        buf->data = mvm__realloc(buf->data, buf->cap);
    }
    return buf->data + end;
}

void mvm__buf_commit(mvm__buf *buf, size_t len)
{
    buf->len += len;
}

void mvm__buf_append(mvm__buf *buf, const void *data, size_t len)
{
    if (len == 0)
        return;
    memcpy(mvm__buf_reserve(buf, len), data, len);
    buf->len += len;
}

void mvm__buf_vprintf(mvm__buf *buf, const char *fmt, va_list args)
{
    va_list again;

    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, args);
    if (len > 0) {
        vsnprintf(mvm__buf_reserve(buf, (size_t)len + 1), (size_t)len + 1, fmt, again);
        buf->len += (size_t)len;
    }
    va_end(again);
}

void mvm__buf_printf(mvm__buf *buf, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    mvm__buf_vprintf(buf, fmt, args);
    va_end(args);
}

void mvm__buf_consume(mvm__buf *buf, size_t len)
{
    buf->off += len;
    buf->len -= len;
    if (buf->len == 0)
        buf->off = 0;
}

const char *mvm__buf_str(mvm__buf *buf)
{
    *mvm__buf_reserve(buf, 1) = '\0';
    return mvm__buf_ptr(buf);
}
