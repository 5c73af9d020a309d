/* SPDX-License-Identifier: MIT */
/*
 * The line being typed: libedit, driven one key at a time. libedit never reads by itself here;
 * what it asks for beyond the key it was given is not there. Loop thread only.
 */
#include "io/lineedit.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

#include "base/base.h"
#include "base/buf.h"

enum { HISTORY_LINES = 1000, KEY_ESC = 0x1b, KEY_QUOTE = 0x16, KEY_PREFIX = 0x18 };
#define KEY_END    "\005"
#define KEY_REDRAW "\037"

struct mvm__lineedit {
    EditLine *el;
    History *history;
    int history_fd; /* -1: none */
    char *prompt, *locale;
    const char *key; /* the key that libedit is being given, */
    size_t key_len;  /* and what is left of it */
    mvm__buf above;  /* what the next redraw prints first */
};

/* An exit handler has nothing but what is static. */
static struct termios modes_before;
static bool modes_changed;

/* ---- keys --------------------------------------------------------------------- */

static size_t utf8_length(unsigned char first)
{
    return first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

static size_t escape_length(const char *bytes, size_t len)
{
    if (len < 2)
        return 0;
    if (bytes[1] == 'O')
        return len < 3 ? 0 : 3;
    if (bytes[1] != '[')
        return 1 + utf8_length((unsigned char)bytes[1]);
    for (size_t i = 2; i < len; i++)
        if (((unsigned char)bytes[i] >= 0x40 && (unsigned char)bytes[i] <= 0x7e) ||
            i == MVM__KEY_MAX - 1)
            return i + 1;
    return 0;
}

size_t mvm__lineedit_split(const char *bytes, size_t len)
{
    size_t need;

    if (bytes[0] == KEY_ESC)
        need = escape_length(bytes, len);
    else if (bytes[0] == KEY_QUOTE || bytes[0] == KEY_PREFIX)
        need = len < 2 ? 0 : 1 + utf8_length((unsigned char)bytes[1]);
    else
        need = utf8_length((unsigned char)bytes[0]);
    return need <= len ? need : 0;
}

/* ---- libedit ------------------------------------------------------------------ */

static int next_char(EditLine *el, wchar_t *out)
{
    mvm__lineedit *ed;
    mbstate_t state = {0};

    el_get(el, EL_CLIENTDATA, &ed);
    if (ed->key_len == 0)
        return 0;
    size_t used = mbrtowc(out, ed->key, ed->key_len, &state);
    if (used == (size_t)-1 || used == (size_t)-2) {
        *out = L'?';
        used = 1;
    }
    used = used ? used : 1; /* NUL */
    ed->key += used;
    ed->key_len -= used;
    return 1;
}

static void print_above(mvm__lineedit *ed)
{
    if (mvm__buf_len(&ed->above) == 0)
        return;
    fwrite(mvm__buf_ptr(&ed->above), 1, mvm__buf_len(&ed->above), stdout);
    mvm__buf_consume(&ed->above, mvm__buf_len(&ed->above));
}

/* libedit asks for the prompt at the one moment when the old line is wiped and the new one is not
 * drawn yet: here goes what is to stand above it. */
static char *show_prompt(EditLine *el)
{
    mvm__lineedit *ed;

    el_get(el, EL_CLIENTDATA, &ed);
    print_above(ed);
    return ed->prompt;
}

const char *mvm__lineedit_key(mvm__lineedit *ed, const char *key, size_t len, size_t *line_len)
{
    int count = 0;

    ed->key = key;
    ed->key_len = len;
    const char *line = el_gets(ed->el, &count);
    ed->key_len = 0; /* a sequence that means nothing is dropped as a whole */
    if (!line || count < 1 || line[count - 1] != '\n')
        return NULL;
    *line_len = (size_t)count - 1;
    return line;
}

void mvm__lineedit_redraw(mvm__lineedit *ed)
{
    size_t ignored;

    mvm__lineedit_key(ed, KEY_REDRAW, 1, &ignored);
    fflush(stdout);
}

void mvm__lineedit_begin(mvm__lineedit *ed, const char *prompt)
{
    mvm__free(ed->prompt);
    ed->prompt = mvm__strdup(prompt);
    fflush(stdout);
    modes_changed = true;
    el_set(ed->el, EL_UNBUFFERED, 1);
    fflush(stdout);
}

void mvm__lineedit_end(mvm__lineedit *ed)
{
    el_set(ed->el, EL_UNBUFFERED, 0);
    modes_changed = false;
}

void mvm__lineedit_drop(mvm__lineedit *ed)
{
    size_t ignored;

    mvm__lineedit_key(ed, KEY_END, 1, &ignored);
    fputs("^C\n", stdout);
    fflush(stdout);
}

const char *mvm__lineedit_text(mvm__lineedit *ed, size_t *len, bool *empty)
{
    const LineInfo *info = el_line(ed->el);

    *len = (size_t)(info->cursor - info->buffer);
    *empty = info->lastchar == info->buffer;
    return info->buffer;
}

bool mvm__lineedit_insert(mvm__lineedit *ed, const char *text, size_t len)
{
    MVM_AUTO_FREE char *copy = mvm__strndup(text, len);

    return el_insertstr(ed->el, copy) == 0;
}

void mvm__lineedit_above(mvm__lineedit *ed, const char *text, size_t len)
{
    mvm__buf_append(&ed->above, text, len);
    mvm__lineedit_redraw(ed);
}

void mvm__lineedit_resize(mvm__lineedit *ed)
{
    el_resize(ed->el);
}

void mvm__lineedit_resume(mvm__lineedit *ed)
{
    el_set(ed->el, EL_PREP_TERM, 0);
    el_set(ed->el, EL_PREP_TERM, 1);
    mvm__lineedit_redraw(ed);
}

/* ---- history ------------------------------------------------------------------ */

static void enter(mvm__lineedit *ed, const char *line)
{
    HistEvent event;

    if (line[0])
        history(ed->history, &event, H_ENTER, line);
}

/* Keeps the newest lines of a file that has grown to twice of what is kept. */
static void trim(const char *path, char *text, size_t lines)
{
    while (lines > HISTORY_LINES) {
        text = strchr(text, '\n') + 1;
        lines--;
    }
    MVM_AUTO_FREE char *part = mvm__asprintf("%s.part", path);
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return;
    size_t len = strlen(text);
    bool whole = write(fd, text, len) == (ssize_t)len;
    if (close(fd) != 0 || !whole || rename(part, path) != 0)
        unlink(part);
}

static int load_history(mvm__lineedit *ed, const char *path, mvm_err *err)
{
    mvm__buf text = {0};
    size_t lines = 0;
    ssize_t n;
    MVM_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOENT ? 0
                               : mvm_fail(err, MVM_EIO, "can't read %s: %s", path, strerror(errno));
    while ((n = read(fd, mvm__buf_reserve(&text, 65536), 65536)) > 0)
        mvm__buf_commit(&text, (size_t)n);
    char *all = mvm__strdup(mvm__buf_str(&text));
    mvm__buf_free(&text);
    MVM_AUTO_FREE char *whole = mvm__strdup(all);
    for (char *line = all, *end; (end = strchr(line, '\n')) != NULL; line = end + 1, lines++) {
        *end = '\0';
        enter(ed, line);
    }
    mvm__free(all);
    if (lines > 2 * HISTORY_LINES)
        trim(path, whole, lines);
    return 0;
}

int mvm__lineedit_history(mvm__lineedit *ed, const char *path, mvm_err *err)
{
    int rc = load_history(ed, path, err);

    if (rc)
        return rc;
    if (ed->history_fd >= 0)
        close(ed->history_fd);
    ed->history_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (ed->history_fd < 0)
        return mvm_fail(err, MVM_EIO, "can't write %s: %s", path, strerror(errno));
    return 0;
}

void mvm__lineedit_remember(mvm__lineedit *ed, const char *line)
{
    if (!line[0])
        return;
    enter(ed, line);
    if (ed->history_fd < 0)
        return;
    MVM_AUTO_FREE char *text = mvm__asprintf("%s\n", line);
    size_t len = strlen(text);
    if (write(ed->history_fd, text, len) != (ssize_t)len) { /* no space left: go on without */
        close(ed->history_fd);
        ed->history_fd = -1;
    }
}

/* ---- life --------------------------------------------------------------------- */

static void bind_keys(EditLine *el)
{
    static const char *const keys[][2] = {
        {KEY_END, "ed-move-to-end"},
        {KEY_REDRAW, "ed-redisplay"},
        /* The usual searches read keys by themselves. These look for what is typed already. */
        {"\022", "ed-search-prev-history"},
        {"\023", "ed-search-next-history"},
        {"\033[5~", "ed-search-prev-history"},
        {"\033[6~", "ed-search-next-history"},
        {"\033x", "ed-unassigned"},
        {"\033X", "ed-unassigned"},
        {"\033[1;5C", "em-next-word"},
        {"\033[1;5D", "ed-prev-word"},
        {"\033[1;3C", "em-next-word"},
        {"\033[1;3D", "ed-prev-word"},
        {"\033[3~", "ed-delete-next-char"},
        {"\033[H", "ed-move-to-beg"},
        {"\033[1~", "ed-move-to-beg"},
        {"\033OH", "ed-move-to-beg"},
        {"\033[F", "ed-move-to-end"},
        {"\033[4~", "ed-move-to-end"},
        {"\033OF", "ed-move-to-end"},
        {"\027", "ed-delete-prev-word"},
    };

    for (size_t i = 0; i < MVM_COUNT(keys); i++)
        el_set(el, EL_BIND, keys[i][0], keys[i][1], NULL);
}

static void restore_modes(void)
{
    if (modes_changed)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &modes_before);
}

static void configure(mvm__lineedit *ed)
{
    HistEvent event;

    history(ed->history, &event, H_SETSIZE, HISTORY_LINES);
    history(ed->history, &event, H_SETUNIQUE, 1);
    el_set(ed->el, EL_CLIENTDATA, ed);
    el_set(ed->el, EL_EDITOR, "emacs");
    el_set(ed->el, EL_SIGNAL, 0);
    el_set(ed->el, EL_PROMPT, show_prompt);
    el_set(ed->el, EL_HIST, history, ed->history);
    el_set(ed->el, EL_GETCFN, next_char);
    bind_keys(ed->el);
}

mvm__lineedit *mvm__lineedit_new(void)
{
    static bool at_exit;

    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) ||
        tcgetattr(STDIN_FILENO, &modes_before) != 0)
        return NULL;
    mvm__lineedit *ed = mvm__alloc(sizeof(*ed));
    ed->history_fd = -1;
    /* libedit counts columns by the locale's characters. */
    ed->locale = mvm__strdup(setlocale(LC_CTYPE, NULL));
    if (!setlocale(LC_CTYPE, "") || strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        setlocale(LC_CTYPE, "C.UTF-8");
    ed->el = el_init("macvm", stdin, stdout, stderr);
    ed->history = history_init();
    if (!ed->el || !ed->history) {
        mvm__lineedit_free(ed);
        return NULL;
    }
    configure(ed);
    if (!at_exit)
        atexit(restore_modes); /* a script may call os.exit while a line is being typed */
    at_exit = true;
    return ed;
}

void mvm__lineedit_free(mvm__lineedit *ed)
{
    if (!ed)
        return;
    if (ed->el) {
        mvm__lineedit_end(ed);
        el_end(ed->el);
    }
    if (ed->history)
        history_end(ed->history);
    if (ed->history_fd >= 0)
        close(ed->history_fd);
    setlocale(LC_CTYPE, ed->locale);
    mvm__buf_free(&ed->above);
    mvm__free(ed->locale);
    mvm__free(ed->prompt);
    mvm__free(ed);
}
