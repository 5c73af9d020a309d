/* SPDX-License-Identifier: MIT */
/* Console bytes of any kind through the search for kernel reports. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "wire/panic_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mvm__panic_scan scan = {0};
    const char *at = (const char *)data;

    while (size > 0) {
        const char *end = memchr(at, '\n', size);
        size_t len = end ? (size_t)(end - at) : size;
        char *line = mvm__alloc(len); /* of just this size: reading past it is seen */
        memcpy(line, at, len);
        mvm__panic_line(&scan, line, len);
        mvm__free(line);
        if (mvm__buf_len(&scan.text) > MVM__PANIC_BYTES || scan.lines > MVM__PANIC_LINES)
            abort();
        size -= MVM_MIN(size, len + 1);
        at += len + 1;
    }
    mvm__panic_end(&scan);
    mvm__panic_free(&scan);
    return 0;
}
