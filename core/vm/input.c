/* SPDX-License-Identifier: MIT */
/*
 * From text and the names of keys to key events, by the US layout. Keys are called as QEMU calls
 * them (QKeyCode), which is also what back ends get. Pure; any thread.
 */
#include "mvm/input.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "mvm/record.h"

#define TEXT_MAX  65536u /* at a hundred keys a second these are eleven minutes */
#define CHORD_MAX 8u     /* keys held at once */

void mvm_inputs_free(mvm_inputs *list)
{
    mvm__free(list->items);
    *list = (mvm_inputs){0};
}

static mvm_input *append(mvm_inputs *list, mvm_input event)
{
    if (list->n == list->cap) {
        list->cap = list->cap ? list->cap * 2 : 16;
        list->items = mvm__realloc(list->items, list->cap * sizeof(*list->items));
    }
    list->items[list->n] = event;
    return &list->items[list->n++];
}

static void key(mvm_inputs *list, const char *name, bool down)
{
    append(list, (mvm_input){.kind = MVM_INPUT_KEY, .name = name, .down = down});
}

/* ---- the layout ---------------------------------------------------------------------- */

/* Letters and digits, each its own key, so that names can point at them. */
static const char g_alphanumeric[][2] = {
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r",
    "s", "t", "u", "v", "w", "x", "y", "z", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9",
};

/* The other printing keys: what each types alone and with shift. */
static const struct {
    char plain, shifted;
    const char *name;
} g_symbols[] = {
    {' ', 0, "spc"},
    {'\n', 0, "ret"},
    {'\t', 0, "tab"},
    {'-', '_', "minus"},
    {'=', '+', "equal"},
    {'[', '{', "bracket_left"},
    {']', '}', "bracket_right"},
    {'\\', '|', "backslash"},
    {';', ':', "semicolon"},
    {'\'', '"', "apostrophe"},
    {'`', '~', "grave_accent"},
    {',', '<', "comma"},
    {'.', '>', "dot"},
    {'/', '?', "slash"},
};

/* Above the digits, from 0 on. */
static const char g_above_digits[] = ")!@#$%^&*(";

/* The key that types a character, or NULL. */
static const char *key_of(char c, bool *shift)
{
    const char *above = c ? strchr(g_above_digits, c) : NULL;

    *shift = above || (c >= 'A' && c <= 'Z');
    if (above)
        return g_alphanumeric[26 + (above - g_above_digits)];
    if (*shift || (c >= 'a' && c <= 'z'))
        return g_alphanumeric[(c | 0x20) - 'a'];
    if (c >= '0' && c <= '9')
        return g_alphanumeric[26 + (c - '0')];
    for (size_t i = 0; c && i < MVM_COUNT(g_symbols); i++) {
        *shift = g_symbols[i].shifted == c;
        if (*shift || g_symbols[i].plain == c)
            return g_symbols[i].name;
    }
    return NULL;
}

/* ---- text ------------------------------------------------------------------------------ */

/* How a person would name the character at `text`: "é" as a whole, a control character by its
 * number. */
static void show_char(const char *text, size_t len, char out[16])
{
    unsigned char first = (unsigned char)text[0];
    size_t n = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
    size_t more = 1;

    while (more < n && more < len && ((unsigned char)text[more] & 0xc0) == 0x80)
        more++;
    if (n > 0 && more == n)
        snprintf(out, 16, "\"%.*s\"", (int)n, text);
    else
        snprintf(out, 16, "byte 0x%02x", first);
}

int mvm_input_text(const char *text, size_t len, mvm_inputs *list, mvm_err *err)
{
    size_t before = list->n;
    char shown[16];
    bool shift;

    if (len > TEXT_MAX) {
        mvm_fail(err, MVM_ECONFIG, "%zu bytes are too many to type: at most %u", len, TEXT_MAX);
        mvm_err_hint(err, "vm:write(path, bytes) puts them into a file of the guest");
        return MVM_ECONFIG;
    }
    for (size_t i = 0; i < len; i++) {
        const char *name = key_of(text[i], &shift);
        if (!name) {
            show_char(text + i, len - i, shown);
            list->n = before;
            mvm_fail(err, MVM_ECONFIG, "a US keyboard has no key for %s (character %zu)", shown,
                     i + 1);
            mvm_err_hint(err, "printable ASCII, newline and tab can be typed");
            return MVM_ECONFIG;
        }
        if (shift)
            key(list, "shift", true);
        key(list, name, true);
        key(list, name, false);
        if (shift)
            key(list, "shift", false);
    }
    return 0;
}

/* ---- chords ------------------------------------------------------------------------------ */

/* Names of keys, without _ and in lower case, and what QEMU calls them. */
static const struct {
    const char *name, *key;
} g_names[] = {
    {"ctrl", "ctrl"},
    {"control", "ctrl"},
    {"rightctrl", "ctrl_r"},
    {"ctrlr", "ctrl_r"},
    {"alt", "alt"},
    {"option", "alt"},
    {"altgr", "alt_r"},
    {"rightalt", "alt_r"},
    {"altr", "alt_r"},
    {"shift", "shift"},
    {"rightshift", "shift_r"},
    {"shiftr", "shift_r"},
    {"meta", "meta_l"},
    {"metal", "meta_l"},
    {"super", "meta_l"},
    {"win", "meta_l"},
    {"windows", "meta_l"},
    {"cmd", "meta_l"},
    {"command", "meta_l"},
    {"rightmeta", "meta_r"},
    {"metar", "meta_r"},
    {"enter", "ret"},
    {"return", "ret"},
    {"ret", "ret"},
    {"esc", "esc"},
    {"escape", "esc"},
    {"tab", "tab"},
    {"backspace", "backspace"},
    {"delete", "delete"},
    {"del", "delete"},
    {"insert", "insert"},
    {"ins", "insert"},
    {"home", "home"},
    {"end", "end"},
    {"pageup", "pgup"},
    {"pgup", "pgup"},
    {"pagedown", "pgdn"},
    {"pgdn", "pgdn"},
    {"pgdown", "pgdn"},
    {"up", "up"},
    {"down", "down"},
    {"left", "left"},
    {"right", "right"},
    {"space", "spc"},
    {"spc", "spc"},
    {"spacebar", "spc"},
    {"capslock", "caps_lock"},
    {"numlock", "num_lock"},
    {"scrolllock", "scroll_lock"},
    {"print", "print"},
    {"printscreen", "print"},
    {"sysrq", "sysrq"},
    {"pause", "pause"},
    {"menu", "menu"},
    {"f1", "f1"},
    {"f2", "f2"},
    {"f3", "f3"},
    {"f4", "f4"},
    {"f5", "f5"},
    {"f6", "f6"},
    {"f7", "f7"},
    {"f8", "f8"},
    {"f9", "f9"},
    {"f10", "f10"},
    {"f11", "f11"},
    {"f12", "f12"},
    {"minus", "minus"},
    {"equal", "equal"},
    {"equals", "equal"},
    {"comma", "comma"},
    {"dot", "dot"},
    {"period", "dot"},
    {"slash", "slash"},
    {"backslash", "backslash"},
    {"semicolon", "semicolon"},
    {"apostrophe", "apostrophe"},
    {"quote", "apostrophe"},
    {"grave", "grave_accent"},
    {"backquote", "grave_accent"},
    {"graveaccent", "grave_accent"},
    {"bracketleft", "bracket_left"},
    {"bracketright", "bracket_right"},
    {"kp0", "kp_0"},
    {"kp1", "kp_1"},
    {"kp2", "kp_2"},
    {"kp3", "kp_3"},
    {"kp4", "kp_4"},
    {"kp5", "kp_5"},
    {"kp6", "kp_6"},
    {"kp7", "kp_7"},
    {"kp8", "kp_8"},
    {"kp9", "kp_9"},
    {"kpenter", "kp_enter"},
    {"kpadd", "kp_add"},
    {"kpsubtract", "kp_subtract"},
    {"kpmultiply", "kp_multiply"},
    {"kpdivide", "kp_divide"},
    {"kpdecimal", "kp_decimal"},
};

static const char *key_named(const char *name)
{
    char folded[24];
    size_t n = 0;

    for (const char *p = name; *p && n < sizeof(folded) - 1; p++)
        if (*p != '_')
            folded[n++] = (char)tolower((unsigned char)*p);
    folded[n] = '\0';
    for (size_t i = 0; i < MVM_COUNT(g_names); i++)
        if (strcmp(g_names[i].name, folded) == 0)
            return g_names[i].key;
    return NULL;
}

static int unknown_key(const char *name, mvm_err *err)
{
    const char *names[MVM_COUNT(g_names)];
    char word[24];

    for (size_t i = 0; i < MVM_COUNT(g_names); i++)
        names[i] = g_names[i].name;
    for (size_t i = 0; i < sizeof(word); i++) {
        word[i] = (char)tolower((unsigned char)name[i]);
        if (!name[i])
            break;
    }
    const char *near = mvm_nearest(word, names, MVM_COUNT(names));
    mvm_fail(err, MVM_ECONFIG, "there is no key \"%s\"", name);
    if (near)
        mvm_err_hint(err, "did you mean \"%s\"?", near);
    else
        mvm_err_hint(err, "such as \"ctrl-alt-delete\", \"f5\", \"enter\" or \"a\"");
    return MVM_ECONFIG;
}

typedef struct chord {
    const char *keys[CHORD_MAX];
    size_t n;
} chord;

/* false: there is no room. One that is held already is held once. */
static bool hold(chord *c, const char *name)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->keys[i], name) == 0)
            return true;
    if (c->n == CHORD_MAX)
        return false;
    c->keys[c->n++] = name;
    return true;
}

static int hold_named(chord *c, const char *name, mvm_err *err)
{
    bool shift = false;
    const char *found = name[1] ? key_named(name) : key_of(name[0], &shift);

    if (!found)
        return unknown_key(name, err);
    if (shift && !isalpha((unsigned char)name[0]) && !hold(c, "shift"))
        found = NULL;
    if (!found || !hold(c, found))
        return mvm_fail(err, MVM_ECONFIG, "more than %u keys at once", CHORD_MAX);
    return 0;
}

int mvm_input_chord(const char *names, mvm_inputs *list, mvm_err *err)
{
    chord c = {0};
    char name[24];
    const char *at = names;

    for (;;) {
        size_t len = *at ? 1 + strcspn(at + 1, "-+") : 0; /* "ctrl--" ends with the minus key */
        if (len == 0)
            return mvm_fail(err, MVM_ECONFIG, "\"%.40s\" lacks the name of a key", names);
        snprintf(name, sizeof(name), "%.*s", (int)MVM_MIN(len, sizeof(name) - 1), at);
        int rc = hold_named(&c, name, err);
        if (rc != 0)
            return rc;
        at += len;
        if (*at == '\0')
            break;
        at++;
    }
    for (size_t i = 0; i < c.n; i++)
        key(list, c.keys[i], true);
    for (size_t i = c.n; i-- > 0;)
        key(list, c.keys[i], false);
    return 0;
}

/* ---- the pointer --------------------------------------------------------------------------- */

void mvm_input_move(int x, int y, mvm_inputs *list)
{
    append(list, (mvm_input){.kind = MVM_INPUT_MOVE, .x = x, .y = y});
}

int mvm_input_click(const char *button, int times, mvm_inputs *list, mvm_err *err)
{
    static const char *const buttons[] = {"left",  "middle",   "right",     "side",
                                          "extra", "wheel-up", "wheel-down"};
    const char *name = NULL;

    for (size_t i = 0; i < MVM_COUNT(buttons); i++)
        if (strcmp(buttons[i], button) == 0)
            name = buttons[i];
    if (!name) {
        const char *near = mvm_nearest(button, buttons, MVM_COUNT(buttons));
        mvm_fail(err, MVM_ECONFIG, "there is no button \"%.40s\"", button);
        mvm_err_field(err, "button");
        mvm_err_hint(err, near ? "did you mean \"%s\"?" : "such as \"%s\"", near ? near : "left");
        return MVM_ECONFIG;
    }
    for (int i = 0; i < 2 * times; i++)
        append(list, (mvm_input){.kind = MVM_INPUT_BUTTON, .name = name, .down = i % 2 == 0});
    return 0;
}
