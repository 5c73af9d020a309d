/* SPDX-License-Identifier: MIT */
/*
 * Streams: the class "stream". Reading takes what has arrived and waits for more; the pieces of a
 * read that spans several waits are kept in a table on the verb's own stack, so that they survive
 * its suspension; those of a read that failed (a deadline, say) are what the next one begins with.
 * The box keeps what the stream belongs to (a process, a file) alive.
 */
#include "mvl.h"

#include <math.h>
#include <string.h>

#include "mvm/loop.h"

typedef struct mvl_stream {
    mvl_obj obj;
    mvm_stream *stream;
    bool input; /* a standard input: close means its end, after what is queued */
} mvl_stream;

enum { STREAM_UV_OWNER = 1, STREAM_UV_KEPT, STREAM_NUV = STREAM_UV_KEPT };
enum { LINE_LIMIT = 16 << 20, ALL_LIMIT = 1 << 30, SLICE = 65536 };

static void stream_release(void *box)
{
    mvl_stream *s = box;

    mvm_stream_unref(s->stream);
    s->stream = NULL;
}

static mvm_stream *check_stream(lua_State *L, int idx)
{
    mvl_stream *s = mvl_check(L, idx, &mvl_stream_class);

    if (!s->stream)
        mvl_failf(L, MVM_ESTATE, NULL, "the stream is closed");
    return s->stream;
}

void mvl_push_stream(lua_State *L, mvm_stream *stream, int owner, bool input)
{
    owner = lua_absindex(L, owner);
    mvl_stream *s = mvl_obj_new(L, &mvl_stream_class);
    s->stream = mvm_stream_ref(stream);
    s->input = input;
    lua_pushvalue(L, owner);
    lua_setiuservalue(L, -2, STREAM_UV_OWNER);
}

/* Makes a deadline of the timeout among the options at idx, and pushes it; nil: none. */
static void push_deadline(lua_State *L, int idx, const char *extra)
{
    double timeout = mvl_opt_timeout(L, idx, -1, extra);

    if (timeout < 0)
        lua_pushnil(L);
    else
        lua_pushnumber(L, mvm_loop_now(mvl_of(L)->loop) + timeout);
}

static double time_left(lua_State *L, int deadline)
{
    if (lua_isnil(L, deadline))
        return -1;
    double left = lua_tonumber(L, deadline) - mvm_loop_now(mvl_of(L)->loop);
    return left > 0 ? ceil(left * 1000) / 1000 : 0; /* a round figure for the error's text */
}

/* ---- reading ---------------------------------------------------------------------------- */

/* The stack of a read, from the first wait on. */
enum { R_STREAM = 1, R_FORMAT, R_DEADLINE, R_LIMIT, R_PIECES, R_HELD, R_TOP = R_HELD };

typedef struct portion {
    size_t take; /* bytes to consume */
    size_t chop; /* of them at the end, not to be given to the caller */
    bool enough; /* the read is satisfied by them */
} portion;

/* What comes next: the pieces of a read that failed, then what has arrived since. */
static const char *peek(lua_State *L, const mvm_stream *stream, size_t *len, bool *kept)
{
    *kept = lua_getiuservalue(L, R_STREAM, STREAM_UV_KEPT) == LUA_TSTRING;
    const char *data = *kept ? lua_tolstring(L, -1, len) : mvm_stream_peek(stream, len);
    lua_pop(L, 1); /* the box holds it */
    return data;
}

static void consume(lua_State *L, mvm_stream *stream, size_t take, bool kept)
{
    size_t len;

    if (!kept) {
        mvm_stream_consume(stream, take);
        return;
    }
    lua_getiuservalue(L, R_STREAM, STREAM_UV_KEPT);
    const char *data = lua_tolstring(L, -1, &len);
    if (take < len)
        lua_pushlstring(L, data + take, len - take);
    else
        lua_pushnil(L);
    lua_setiuservalue(L, R_STREAM, STREAM_UV_KEPT);
    lua_pop(L, 1);
}

static portion choose(lua_State *L, const char *data, size_t len)
{
    if (lua_type(L, R_FORMAT) == LUA_TNUMBER) {
        size_t want = (size_t)(lua_tointeger(L, R_FORMAT) - lua_tointeger(L, R_HELD));
        return (portion){len < want ? len : want, 0, len >= want};
    }
    char format = lua_tostring(L, R_FORMAT)[0];
    if (format == 's')
        return (portion){len, 0, len > 0};
    const char *end = format != 'a' && len ? memchr(data, '\n', len) : NULL;
    if (!end)
        return (portion){len, 0, false};
    return (portion){(size_t)(end - data) + 1, format == 'l', true};
}

static int finish(lua_State *L, bool end);

/* The read fails: what it took is there for the next one. */
static void keep_pieces(lua_State *L)
{
    if (lua_isnil(L, R_PIECES))
        return;
    finish(L, true);
    lua_setiuservalue(L, R_STREAM, STREAM_UV_KEPT);
}

static void add_piece(lua_State *L, const char *data, size_t len)
{
    lua_Integer held = lua_tointeger(L, R_HELD) + (lua_Integer)len;

    if (held > lua_tointeger(L, R_LIMIT)) {
        keep_pieces(L);
        mvl_failf(L, MVM_EGUEST, "read in pieces, or with a larger `limit`",
                  "more than %lld bytes came for one read", (long long)lua_tointeger(L, R_LIMIT));
    }
    if (lua_isnil(L, R_PIECES)) {
        lua_newtable(L);
        lua_replace(L, R_PIECES);
    }
    lua_pushlstring(L, data, len);
    lua_rawseti(L, R_PIECES, (lua_Integer)lua_rawlen(L, R_PIECES) + 1);
    lua_pushinteger(L, held);
    lua_replace(L, R_HELD);
}

/* Pushes everything that was read; at the end of the stream nil, or "" for the format "a". */
static int finish(lua_State *L, bool end)
{
    luaL_Buffer b;

    if (lua_isnil(L, R_PIECES)) {
        bool all = lua_type(L, R_FORMAT) == LUA_TSTRING && lua_tostring(L, R_FORMAT)[0] == 'a';
        if (end && !all)
            lua_pushnil(L);
        else
            lua_pushliteral(L, "");
        return 1;
    }
    lua_Integer n = (lua_Integer)lua_rawlen(L, R_PIECES);
    if (n == 1) {
        lua_rawgeti(L, R_PIECES, 1);
        return 1;
    }
    luaL_buffinitsize(L, &b, (size_t)lua_tointeger(L, R_HELD));
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, R_PIECES, i);
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
    return 1;
}

static int read_on(lua_State *L, const mvm_err *err)
{
    for (;;) {
        mvm_stream *stream = check_stream(L, R_STREAM);
        size_t len = 0;
        bool kept;
        if (err) {
            keep_pieces(L);
            return mvl_fail(L, err);
        }
        const char *data = peek(L, stream, &len, &kept);
        portion p = choose(L, data, len);
        bool last = !kept && mvm_stream_eof(stream);
        if (p.enough && lua_isnil(L, R_PIECES)) { /* the usual case: all of it is here */
            if (len == 0 && last)
                return finish(L, true);
            lua_pushlstring(L, data, p.take - p.chop);
            consume(L, stream, p.take, kept);
            return 1;
        }
        if (!p.enough && !last)
            mvl_wait_begin(L, 0); /* where that raises, nothing is taken yet */
        if (p.take > 0) {
            add_piece(L, data, p.take - p.chop);
            consume(L, stream, p.take, kept);
        }
        if (p.enough || last)
            return finish(L, !p.enough);
        if (kept)
            continue;
        double left = time_left(L, R_DEADLINE);
        mvl_wait *w = mvl_wait_begin(L, left);
        w->core = mvm_stream_wait_readable(stream, &w->waiter, &w->err);
        err = mvl_await(L, w, read_on);
    }
}

static void check_format(lua_State *L, int idx)
{
    if (lua_type(L, idx) == LUA_TNUMBER) {
        if (mvl_arg_integer(L, idx, "the number of bytes") < 0)
            mvl_failf(L, MVM_ECONFIG, NULL, "can't read %lld bytes",
                      (long long)lua_tointeger(L, idx));
        return;
    }
    const char *format =
        lua_isnoneornil(L, idx) ? "l" : mvl_arg_text(L, idx, "the read format", NULL);
    if (strlen(format) != 1 || !strchr("lLas", format[0]))
        mvl_failf(L, MVM_ECONFIG, "\"l\", \"L\", \"a\", \"s\" or a number of bytes",
                  "there is no read format \"%s\"", format);
    lua_pushstring(L, format);
    lua_replace(L, idx);
}

/* Stack: stream, format, options. */
static int read_begin(lua_State *L)
{
    lua_settop(L, 3);
    check_format(L, 2);
    bool line = lua_type(L, 2) == LUA_TSTRING && lua_tostring(L, 2)[0] != 'a';
    lua_Integer limit = line ? LINE_LIMIT : ALL_LIMIT;
    push_deadline(L, 3, "limit");
    if (lua_istable(L, 3)) {
        lua_getfield(L, 3, "limit");
        limit = luaL_optinteger(L, -1, limit);
        lua_pop(L, 1);
    }
    lua_replace(L, R_DEADLINE);
    lua_pushinteger(L, limit);
    lua_pushnil(L);
    lua_pushinteger(L, 0); // R_HELD
    return read_on(L, NULL);
}

/// stream:read(format?: string|integer, opts?: {timeout?: number, limit?: integer}) -> string|nil
/// A line without its newline (`"l"`, the default) or with it (`"L"`), everything up to the end
/// (`"a"`), or that many bytes, fewer only before the end, or what is there, at least one byte
/// (`"s"`). At the end: nil, and `""` for `"a"`.
/// Waits without a deadline unless a timeout is given: the stream ends when its process or machine
/// does, and with an `agent` error when the agent is lost. What a read that failed had taken is
/// there for the next one. More than `limit` bytes for one read, 16
/// MiB for a line and 1 GiB else when left out, are a `guest` error.
static int stream_read(lua_State *L)
{
    check_stream(L, 1);
    return read_begin(L);
}

static int lines_next(lua_State *L)
{
    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, lua_upvalueindex(2));
    return read_begin(L);
}

/// stream:lines(format?: "l"|"L"|"a"|"s"|integer) -> function
/// An iterator over stream:read(format), for `for line in process.stdout:lines() do`.
static int stream_lines(lua_State *L)
{
    check_stream(L, 1);
    lua_settop(L, 2);
    check_format(L, 2);
    lua_pushcclosure(L, lines_next, 2);
    return 1;
}

/* ---- writing ---------------------------------------------------------------------------- */

enum { W_STREAM = 1, W_TEXT, W_DEADLINE, W_OFFSET };

static int write_on(lua_State *L, const mvm_err *err)
{
    for (;;) {
        mvm_stream *stream = check_stream(L, W_STREAM);
        size_t len, off = (size_t)lua_tointeger(L, W_OFFSET);
        const char *text = lua_tolstring(L, W_TEXT, &len);
        mvm_err failure;
        if (err)
            return mvl_fail(L, err);
        if (off == len) {
            lua_settop(L, 1);
            return 1;
        }
        size_t n = len - off < SLICE ? len - off : SLICE;
        if (mvm_stream_write(stream, text + off, n, &failure) != 0)
            return mvl_fail(L, &failure);
        lua_pushinteger(L, (lua_Integer)(off + n));
        lua_replace(L, W_OFFSET);
        if (mvm_stream_queued(stream) < SLICE)
            continue;
        double left = time_left(L, W_DEADLINE);
        mvl_wait *w = mvl_wait_begin(L, left);
        w->core = mvm_stream_wait_writable(stream, &w->waiter, &w->err);
        err = mvl_await(L, w, write_on);
    }
}

/// stream:write(text: string, opts?: {timeout?: number}) -> stream
/// Sends all of it, waiting while the other side does not take it. Raises `io` when the stream is
/// shut down or its reader went away, `agent` when the agent is lost.
static int stream_write(lua_State *L)
{
    check_stream(L, 1);
    mvl_arg_text(L, 2, "what is written", NULL);
    lua_settop(L, 3);
    push_deadline(L, 3, NULL);
    lua_replace(L, W_DEADLINE);
    lua_pushinteger(L, 0);
    return write_on(L, NULL);
}

/// stream:shutdown() -> stream
/// The end of input for the other side, after what was written. Reading goes on.
static int stream_shutdown(lua_State *L)
{
    mvm_stream_shutdown(check_stream(L, 1));
    lua_settop(L, 1);
    return 1;
}

/// stream:close()
/// Closes it, both ways; a process's standard input ends after what was written. Closing twice is
/// fine.
static int stream_close(lua_State *L)
{
    mvl_stream *s = mvl_check(L, 1, &mvl_stream_class);

    if (!s->stream)
        return 0;
    if (s->input)
        mvm_stream_shutdown(s->stream);
    else
        mvm_stream_close(s->stream);
    stream_release(s);
    lua_pushnil(L);
    lua_setiuservalue(L, 1, STREAM_UV_OWNER);
    return 0;
}

static int stream_tostring(lua_State *L)
{
    const mvl_stream *s = mvl_check(L, 1, &mvl_stream_class);

    lua_pushfstring(L, "stream (%s)", !s->stream ? "closed" : s->input ? "input" : "open");
    return 1;
}

static const luaL_Reg stream_methods[] = {
    {"read", stream_read},         {"lines", stream_lines}, {"write", stream_write},
    {"shutdown", stream_shutdown}, {"close", stream_close}, {NULL, NULL},
};

const mvl_class mvl_stream_class = {
    .name = "stream",
    .tname = "macvm.stream",
    .size = sizeof(mvl_stream),
    .nuv = STREAM_NUV,
    .release = stream_release,
    .methods = stream_methods,
    .tostring = stream_tostring,
    .close = stream_close,
};
