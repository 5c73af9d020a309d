/* SPDX-License-Identifier: MIT */
/* What a person does at a machine's display, keyboard and pointer: looking, typing, clicking. */
#include "mvl.h"

#include <limits.h>
#include <string.h>

#include "mvm/device.h"
#include "mvm/input.h"

#define SCREENSHOT_SECONDS 30
#define INPUT_SECONDS      10.0
#define EVENT_SECONDS      0.05 /* more for every event, which takes a hundredth at most by itself */

/* Text for what ends at a zero byte: the rest of it would be lost without a word. */
static const char *arg_word(lua_State *L, int idx, const char *what, size_t *len)
{
    const char *text = mvl_arg_text(L, idx, what, len);

    if (strlen(text) != *len)
        mvl_failf(L, MVM_ECONFIG, NULL, "%s: there is a zero byte in it", what);
    return text;
}

/* ---- looking --------------------------------------------------------------------------- */

static int screenshot_then(lua_State *L, const mvm_err *err)
{
    if (err)
        return mvl_fail(L, err);
    lua_settop(L, 2);
    return 1;
}

/// vm:screenshot(path: string, opts?: {timeout?: number}) -> string
/// Writes what the display shows to a PNG file (30 s) and returns its path. The file is complete or
/// not there; one that is there is replaced. Raises `config` without a display, `io` when the file
/// can't be written.
int mvl_vm_screenshot(lua_State *L)
{
    mvl_vm *self = mvl_check_vm_box(L, 1);
    size_t len;
    const char *path = arg_word(L, 2, "the path of the picture", &len);
    double timeout = mvl_opt_timeout(L, 3, SCREENSHOT_SECONDS, NULL);

    if (!*path)
        return mvl_failf(L, MVM_ECONFIG, "such as \"screen.png\"",
                         "the path of the picture is empty");
    if (self->obj.ctx->checking)
        return mvl_fail_plan(L);
    lua_settop(L, 2);
    mvl_wait *w = mvl_wait_begin(L, timeout);
    w->core = mvm_vm_screenshot(self->vm, path, &w->waiter, &w->err);
    return screenshot_then(L, mvl_await(L, w, screenshot_then));
}

/* ---- typing and clicking ------------------------------------------------------------------ */

typedef struct gesture {
    const char *text; /* of type and key */
    size_t len;
    int x, y;
    const char *button;
    int clicks;
} gesture;

typedef int (*gesture_fn)(const gesture *g, mvm_inputs *list, mvm_err *err);

/* The list is built twice: first to be checked and counted, then to be sent, because beginning to
 * wait may raise, and the list is not Lua's. Stack: vm, ... */
static int perform(lua_State *L, gesture_fn build, const gesture *g, int opts, const char *extra)
{
    mvl_vm *self = mvl_check_vm_box(L, 1);
    mvm_inputs list = {0};
    mvm_err err;

    int rc = build(g, &list, &err);
    double fallback = INPUT_SECONDS + (double)list.n * EVENT_SECONDS;
    mvm_inputs_free(&list);
    if (rc != 0)
        return mvl_fail(L, &err);
    double timeout = mvl_opt_timeout(L, opts, fallback, extra);
    if (self->obj.ctx->checking)
        return mvl_fail_plan(L);
    mvl_wait *w = mvl_wait_begin(L, timeout);
    if (build(g, &list, &w->err) == 0)
        w->core = mvm_vm_input(self->vm, list.items, list.n, &w->waiter, &w->err);
    mvm_inputs_free(&list);
    return mvl_then_self(L, mvl_await(L, w, mvl_then_self));
}

static int build_text(const gesture *g, mvm_inputs *list, mvm_err *err)
{
    return mvm_input_text(g->text, g->len, list, err);
}

/// vm:type(text: string, opts?: {timeout?: number}) -> vm
/// Types text on the keyboard, a US one: printable ASCII, newline (the return key) and tab. Returns
/// when all is sent; about a hundred characters a second. Raises `config` that names a character
/// which has no key.
int mvl_vm_type(lua_State *L)
{
    gesture g = {0};

    g.text = mvl_arg_text(L, 2, "the text to type", &g.len);
    return perform(L, build_text, &g, 3, NULL);
}

static int build_chord(const gesture *g, mvm_inputs *list, mvm_err *err)
{
    return mvm_input_chord(g->text, list, err);
}

/// vm:key(keys: string, opts?: {timeout?: number}) -> vm
/// Presses keys together and lets go of them: `"enter"`, `"ctrl-alt-delete"`, `"shift-f5"`, `"alt-x"`.
/// Names: the characters of a US keyboard, ctrl alt altgr shift meta, enter esc tab backspace delete
/// insert home end pageup pagedown up down left right space, f1 to f12, capslock numlock scrolllock
/// print pause menu, kp0 to kp9 and kpenter; and usual other names of these.
int mvl_vm_key(lua_State *L)
{
    gesture g = {0};

    g.text = arg_word(L, 2, "the keys", &g.len);
    return perform(L, build_chord, &g, 3, NULL);
}

static int arg_pixel(lua_State *L, int idx, const char *what)
{
    lua_Integer at = mvl_arg_integer(L, idx, what);

    if (at < 0 || at > INT_MAX)
        mvl_failf(L, MVM_ECONFIG, "pixels from the top left corner of the display", "%s is %lld",
                  what, (long long)at);
    return (int)at;
}

static int build_pointer(const gesture *g, mvm_inputs *list, mvm_err *err)
{
    mvm_input_move(g->x, g->y, list);
    return g->clicks ? mvm_input_click(g->button, g->clicks, list, err) : 0;
}

/// vm:move(x: integer, y: integer, opts?: {timeout?: number}) -> vm
/// Moves the pointer to a pixel of the display, counted from 0 at the top left corner. Raises
/// `config` outside of it, `guest` while the guest has no driver for the pointer.
int mvl_vm_move(lua_State *L)
{
    gesture g = {.x = arg_pixel(L, 2, "x"), .y = arg_pixel(L, 3, "y")};

    return perform(L, build_pointer, &g, 4, NULL);
}

/// vm:click(x: integer, y: integer, opts?: {button?: string, double?: boolean, timeout?: number}) -> vm
/// Moves the pointer there and clicks. `button`: left (default), middle, right, side, extra,
/// wheel-up or wheel-down.
int mvl_vm_click(lua_State *L)
{
    gesture g = {.button = "left", .clicks = 1};

    g.x = arg_pixel(L, 2, "x");
    g.y = arg_pixel(L, 3, "y");
    lua_settop(L, 4);
    if (lua_istable(L, 4)) {
        if (lua_getfield(L, 4, "button") != LUA_TNIL) /* stays on the stack */
            g.button = arg_word(L, -1, "the button", &g.len);
        if (lua_getfield(L, 4, "double") != LUA_TNIL && !lua_isboolean(L, -1))
            return mvl_failf(L, MVM_ECONFIG, NULL, "double must be true or false, got %s",
                             luaL_typename(L, -1));
        g.clicks = lua_toboolean(L, -1) ? 2 : 1;
    }
    return perform(L, build_pointer, &g, 4, "button double");
}
