/* SPDX-License-Identifier: MIT */
/*
 * The shell of a simulated guest: lists of simple commands with `;`, `&&`, `||`, quotes, variables,
 * assignments and redirections. What it does not have (pipes, loops, substitution, jobs) it refuses
 * as a syntax error; it never runs something else than what was written. Loop thread only.
 */
#include "backend/sim/sim_internal.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A simple command being read. */
typedef struct reader {
    mvm__sim_proc *p;
    const char *at;
    mvm__buf word;
    bool in_word; /* a word has begun, even an empty one ('') */
    bool quoted;  /* a part of it was quoted: no keyword, no assignment */
    char **words; /* terminated */
    int count;
    bool *plain; /* per word: nothing of it was quoted */
    char *in, *out[3];
    bool append[3];
    int same[3];
    char **redirect; /* where the next word goes instead */
    char bad[64];    /* syntax error, or "" */
} reader;

void mvm__sim_script_push(mvm__sim_proc *p, const char *text, size_t len)
{
    mvm__sim_script *script = mvm__alloc(sizeof(*script));

    script->outer = p->script;
    script->text = mvm__strndup(text, len);
    p->script = script;
}

void mvm__sim_script_pop(mvm__sim_proc *p)
{
    mvm__sim_script *script = p->script;

    p->script = script->outer;
    mvm__free(script->text);
    mvm__free(script);
}

/* ---- words ----------------------------------------------------------------------------- */

static void word_end(reader *r)
{
    if (!r->in_word)
        return;
    char *text = mvm__strndup(mvm__buf_str(&r->word), mvm__buf_len(&r->word));
    if (r->redirect) {
        mvm__free(*r->redirect);
        *r->redirect = text;
        r->redirect = NULL;
    } else {
        r->words = mvm__realloc(r->words, (size_t)(r->count + 2) * sizeof(*r->words));
        r->plain = mvm__realloc(r->plain, (size_t)(r->count + 1) * sizeof(*r->plain));
        r->plain[r->count] = !r->quoted;
        r->words[r->count++] = text;
        r->words[r->count] = NULL;
    }
    mvm__buf_consume(&r->word, mvm__buf_len(&r->word));
    r->in_word = r->quoted = false;
}

static void word_add(reader *r, const char *text, size_t len)
{
    mvm__buf_append(&r->word, text, len);
    r->in_word = true;
}

static void refuse(reader *r, const char *what, size_t len)
{
    if (!r->bad[0])
        snprintf(r->bad, sizeof(r->bad), "%.*s", (int)len, what);
}

/* `$`: a variable, $$, $? or $RANDOM. Outside quotes its blanks separate words. */
static void expand(reader *r, bool in_quotes)
{
    const char *name = r->at + 1;
    bool braces = *name == '{';
    char number[24];
    size_t len = 0;

    name += braces;
    while (isalnum((unsigned char)name[len]) || name[len] == '_')
        len++;
    if (len == 0 && (*name == '$' || *name == '?'))
        len = 1;
    if (len == 0 && !braces && *name != '(') {
        word_add(r, r->at++, 1);
        return;
    }
    if (len == 0 || (braces && name[len] != '}')) {
        refuse(r, r->at, 2);
        return;
    }
    r->at = name + len + braces;
    const char *value = mvm__sim_getenv(r->p, name, len);
    if (*name == '$' || *name == '?') {
        snprintf(number, sizeof(number), "%d", *name == '$' ? r->p->pid : r->p->status);
        value = number;
    }
    if (in_quotes) {
        word_add(r, value ? value : "", value ? strlen(value) : 0);
        return;
    }
    for (; value && *value; value++) {
        if (isspace((unsigned char)*value))
            word_end(r);
        else
            word_add(r, value, 1);
    }
}

static void quoted(reader *r)
{
    char quote = *r->at++;

    word_add(r, "", 0);
    r->quoted = true;
    while (*r->at && *r->at != quote) {
        if (quote == '"' && *r->at == '$') {
            expand(r, true);
        } else if (quote == '"' && *r->at == '`') {
            refuse(r, "`", 1);
            r->at++;
        } else {
            if (quote == '"' && *r->at == '\\' && r->at[1] && strchr("\"\\$`", r->at[1]))
                r->at++;
            word_add(r, r->at++, 1);
        }
        if (r->bad[0])
            return;
    }
    if (!*r->at)
        refuse(r, "unterminated quoted string", 26);
    else
        r->at++;
}

/* `> file`, `>> file`, `2> file`, `< file`, `>&2`, `2>&1`. The digit is a word of its own. */
static void redirection(reader *r)
{
    int fd = 1;

    if (r->in_word && mvm__buf_len(&r->word) == 1 && strchr("12", *mvm__buf_ptr(&r->word)) &&
        !r->quoted && *r->at == '>') {
        fd = *mvm__buf_ptr(&r->word) - '0';
        mvm__buf_consume(&r->word, 1);
        r->in_word = false;
    }
    word_end(r);
    if (*r->at++ == '<') {
        if (*r->at == '<' || *r->at == '&')
            refuse(r, r->at - 1, 2);
        r->redirect = &r->in;
        return;
    }
    if (r->at[0] == '&' && (r->at[1] == '1' || r->at[1] == '2')) {
        r->same[fd] = r->at[1] - '0';
        r->at += 2;
        return;
    }
    r->append[fd] = *r->at == '>';
    r->at += r->append[fd];
    r->redirect = &r->out[fd];
}

/* Reads words up to a separator, which stays; an empty command has no words. */
static void read_command(reader *r)
{
    while (*r->at && !r->bad[0]) {
        char c = *r->at;
        if (c == ';' || c == '\n' || (c == '&' && r->at[1] == '&') || (c == '|' && r->at[1] == '|'))
            break;
        if (c == '#' && !r->in_word)
            r->at += strcspn(r->at, "\n");
        else if (c == '\'' || c == '"')
            quoted(r);
        else if (c == '$')
            expand(r, false);
        else if (c == '<' || c == '>')
            redirection(r);
        else if (strchr("|&()`", c))
            refuse(r, r->at, 1);
        else if (c == '\\' && r->at[1] == '\n')
            r->at += 2;
        else if (isspace((unsigned char)c)) {
            word_end(r);
            r->at++;
        } else {
            if (c == '\\' && r->at[1]) {
                r->at++;
                r->quoted = true;
            }
            word_add(r, r->at++, 1);
        }
    }
    word_end(r);
    if (r->redirect && !r->bad[0])
        refuse(r, "newline", 7);
}

/* ---- running one ----------------------------------------------------------------------------- */

static bool is_assignment(const char *word)
{
    size_t n = 0;

    while (isalnum((unsigned char)word[n]) || word[n] == '_')
        n++;
    return n > 0 && word[n] == '=' && !isdigit((unsigned char)word[0]);
}

static bool is_keyword(const char *word)
{
    static const char *const words[] = {"if",   "then", "else", "fi",    "for", "while", "until",
                                        "do",   "done", "case", "esac",  "{",   "}",     "!",
                                        "trap", "eval", "set",  "shift", "[["};

    for (size_t i = 0; i < MVM_COUNT(words); i++)
        if (strcmp(words[i], word) == 0)
            return true;
    return false;
}

static bool open_redirections(reader *r)
{
    mvm__sim_proc *p = r->p;
    const char *name = NULL;
    int error = 0;

    if (r->in) {
        MVM_AUTO_FREE char *path = mvm__sim_path(p->cwd, name = r->in);
        error = mvm__sim_open(p->sim, path, &p->in_file);
        p->has_in_file = error == 0;
    }
    for (int fd = 1; fd <= 2 && error == 0; fd++) {
        p->same[fd] = r->same[fd];
        if (!r->out[fd])
            continue;
        p->target[fd] = mvm__sim_path(p->cwd, name = r->out[fd]);
        error = mvm__sim_truncate(p->sim, p->target[fd], r->append[fd]);
    }
    if (error == 0)
        return true;
    const char *why = mvm__sim_strerror(error);
    if (error == ENOENT)
        why = name == r->in ? "no such file" : "nonexistent directory";
    mvm__sim_command_clear(p);
    mvm__sim_printf(p, 2, "sh: can't %s %s: %s\n", name == r->in ? "open" : "create", name, why);
    p->status = 1;
    return false;
}

/* Leading NAME=value words are put into the environment, also when a command follows them. */
static int assign(reader *r)
{
    int i = 0;

    for (; i < r->count && is_assignment(r->words[i]); i++)
        mvm__sim_setenv(r->p, r->words[i], strlen(r->words[i]));
    return i;
}

static void start_command(reader *r)
{
    mvm__sim_proc *p = r->p;
    int first = assign(r);

    mvm__sim_command_clear(p);
    if (first == r->count) {
        p->status = 0;
        if (r->out[1] || r->out[2] || r->in)
            open_redirections(r);
        mvm__sim_command_clear(p);
        return;
    }
    const char *name = r->words[first];
    const char *slash = strrchr(name, '/');
    const mvm__sim_builtin *b =
        mvm__sim_builtin_find(slash ? slash + 1 : name, strlen(slash ? slash + 1 : name));
    if (!open_redirections(r))
        return;
    if (!b) {
        mvm__sim_printf(p, 2, "sh: %s: not found\n", name);
        mvm__sim_command_clear(p);
        p->status = 127;
        return;
    }
    p->step = b->step;
    p->argc = r->count - first;
    p->argv = mvm__alloc((size_t)(p->argc + 1) * sizeof(*p->argv));
    for (int i = 0; i < p->argc; i++) {
        p->argv[i] = r->words[first + i];
        r->words[first + i] = NULL;
    }
}

static void reader_free(reader *r)
{
    for (int i = 0; i < r->count; i++)
        mvm__free(r->words[i]);
    mvm__free(r->words);
    mvm__free(r->plain);
    mvm__free(r->in);
    mvm__free(r->out[1]);
    mvm__free(r->out[2]);
    mvm__buf_free(&r->word);
}

static void syntax_error(mvm__sim_proc *p, const char *what)
{
    mvm__sim_command_clear(p);
    mvm__sim_printf(p, 2, "sh: syntax error: `%s' is not in the simulated shell\n", what);
    p->status = 2;
    while (p->script)
        mvm__sim_script_pop(p);
}

bool mvm__sim_shell_next(mvm__sim_proc *p)
{
    mvm__sim_script *s = p->script;
    reader r = {.p = p, .at = s->text + s->pos, .same = {0, 1, 2}};

    if (!*r.at) {
        mvm__sim_script_pop(p);
        return p->script != NULL;
    }
    read_command(&r);
    for (int i = 0; i < r.count && !r.bad[0]; i++)
        if (r.plain[i] && i == 0 && is_keyword(r.words[i]))
            refuse(&r, r.words[i], strlen(r.words[i]));
    if (r.bad[0]) {
        syntax_error(p, r.bad);
        reader_free(&r);
        return false;
    }
    bool skipped = (s->skip == 1 && p->status != 0) || (s->skip == 2 && p->status == 0);
    s->skip = *r.at == '&' ? 1 : *r.at == '|' ? 2 : 0;
    s->pos = (size_t)(r.at - s->text) + (*r.at ? 1 : 0) + (s->skip ? 1 : 0);
    if (!skipped && (r.count > 0 || r.in || r.out[1] || r.out[2]))
        start_command(&r);
    reader_free(&r);
    return true;
}
