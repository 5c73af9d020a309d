/* SPDX-License-Identifier: MIT */
/*
 * A guest that sends anything to the clipboard's port. The first byte says in what pieces it comes
 * and how much of our answers is taken; text is offered to it before. What is held stays bounded, a
 * loss is told once, and nothing is done for a guest that lost its clipboard.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "vm/clipboard.h"
#include "wire/vdagent_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct guest {
    size_t room, sent;
    int lost;
} guest;

static void require(bool holds)
{
    if (!holds)
        abort();
}

static size_t on_write(void *ud, const void *data, size_t len)
{
    guest *g = ud;
    size_t n = MVM_MIN(len, g->room);

    require(data && len > 0 && !g->lost);
    g->room -= n;
    g->sent += n;
    return n;
}

static void on_read(void *ud, bool on)
{
    (void)ud;
    (void)on;
}

static void on_changed(void *ud, const char *text, size_t len)
{
    const guest *g = ud;

    require(!g->lost && len <= MVM__VDAGENT_TEXT_MAX && !memchr(text, 0xff, len));
}

static void on_lost(void *ud, const mvm_err *err)
{
    guest *g = ud;

    require(err->code == MVM_EGUEST && err->message[0]);
    g->lost++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const mvm__clipboard_ops ops = {on_write, on_read, on_changed, on_lost};
    guest g = {.room = SIZE_MAX};
    size_t len;

    if (size < 2)
        return 0;
    mvm__clipboard *c = mvm__clipboard_new(&ops, &g);
    size_t step = data[0] % 64 + 1;
    mvm__clipboard_set(c, "what the host has\n", 18, NULL);
    mvm__clipboard_open(c, true);
    g.room = data[0] & 64 ? 100 : SIZE_MAX;
    for (size_t at = 1; at < size; at += step) {
        mvm__clipboard_data(c, data + at, MVM_MIN(step, size - at));
        const char *text = mvm__clipboard_text(c, &len);
        require(text || len == 0);
        require(g.lost <= 1);
        if (data[0] & 128)
            g.room += 50;
        if (!g.lost)
            mvm__clipboard_writable(c);
    }
    require(mvm__clipboard_set(c, "more", 4, NULL) == (g.lost ? MVM_EGUEST : 0));
    mvm__clipboard_down(c);
    mvm__clipboard_free(c);
    return 0;
}
