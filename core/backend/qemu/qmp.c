/* SPDX-License-Identifier: MIT */
/* The QMP client over the codec of core/wire and the byte pump of core/io. Loop thread only. */
#include "backend/qemu/qmp.h"

#include <string.h>

#include "base/base.h"
#include "base/list.h"
#include "io/pipe.h"
#include "mvm/log.h"

#define CAPABILITIES_ID 0

typedef struct pending {
    mvm__link link;
    mvm__qmp *qmp;
    int64_t id;
    mvm__qmp_reply_fn fn;
    void *ud;
    mvm_timer *timer;
    double seconds;
    char command[32];
} pending;

struct mvm__qmp {
    mvm_loop *loop;
    mvm__pipe *pipe;
    const mvm__qmp_ops *ops;
    void *ud;
    mvm_qmp_parser parser;
    mvm__buf out; /* what the socket did not take yet */
    mvm__list pending;
    int64_t last_id;
    mvm_timer *greeting;
    char version[32];
    bool ready, dead, closed;
    int busy; /* a handler runs: close leaves the memory to whom called it */
};

static void leave(mvm__qmp *q)
{
    if (--q->busy == 0 && q->closed)
        mvm__free(q);
}

/* ---- ends of commands --------------------------------------------------------------- */

static void finish(pending *p, const mvm_qmp_value *value, const mvm_err *err)
{
    mvm__qmp_reply_fn fn = p->fn;
    void *ud = p->ud;

    mvm__list_remove(&p->link);
    mvm_timer_cancel(p->timer);
    mvm__free(p);
    fn(ud, value, err);
}

static void on_deadline(void *ud)
{
    pending *p = ud;
    mvm_err err;

    p->timer = NULL;
    mvm_fail(&err, MVM_ETIMEOUT, "QEMU did not answer `%s` within %g s", p->command, p->seconds);
    finish(p, NULL, &err);
}

/* Nothing is added meanwhile: a client that is dead or closed takes no command. */
static void fail_all(mvm__qmp *q, const mvm_err *err)
{
    while (!mvm__list_empty(&q->pending))
        finish(mvm__container_of(q->pending.next, pending, link), NULL, err);
}

static void die(mvm__qmp *q, const mvm_err *err)
{
    mvm_err over = *err;

    if (q->dead || q->closed)
        return;
    if (err->code == MVM_EIO) /* QEMU ends: why, its end tells */
        over.code = MVM_ECANCELLED;
    q->dead = true;
    mvm_timer_cancel(q->greeting);
    q->greeting = NULL;
    mvm__pipe_close(q->pipe);
    q->pipe = NULL;
    q->busy++;
    fail_all(q, &over);
    if (!q->closed)
        q->ops->dead(q->ud, err);
    leave(q);
}

static void on_no_greeting(void *ud)
{
    mvm__qmp *q = ud;
    mvm_err err;

    q->greeting = NULL;
    mvm_fail(&err, MVM_ETIMEOUT, "QEMU did not answer on its control socket");
    die(q, &err);
}

/* ---- sending --------------------------------------------------------------------------- */

static void flush(mvm__qmp *q)
{
    size_t len = mvm__buf_len(&q->out);

    if (q->pipe && len > 0)
        mvm__buf_consume(&q->out, mvm__pipe_write(q->pipe, mvm__buf_ptr(&q->out), len));
}

/* A descriptor (-1: none) goes with the first byte. */
static int send_command(mvm__qmp *q, int64_t id, int fd, const char *command, const char *pack,
                        va_list args)
{
    size_t len = 0;
    char *line = mvm_qmp_command(id, command, pack, args, &len);

    if (!line)
        return -1;
    size_t sent = fd >= 0 && q->pipe ? mvm__pipe_write_fd(q->pipe, line, len, fd) : 0;
    mvm__buf_append(&q->out, line + sent, len - sent);
    mvm__free(line);
    flush(q);
    return 0;
}

static void send_capabilities(mvm__qmp *q, ...)
{
    va_list none;

    va_start(none, q);
    send_command(q, CAPABILITIES_ID, -1, "qmp_capabilities", NULL, none);
    va_end(none);
}

/* Who waits for an answer, and what goes along with the command. */
typedef struct request {
    double seconds;
    mvm__qmp_reply_fn fn;
    void *ud;
    int fd; /* sent with it, or -1 */
} request;

static int call(mvm__qmp *qmp, const request *r, mvm_err *err, const char *command,
                const char *pack, va_list args)
{
    if (qmp->dead || qmp->closed)
        return mvm_fail(err, MVM_EBACKEND, "QEMU's control socket is closed");
    if (!qmp->ready)
        return mvm_fail(err, MVM_ESTATE, "QEMU is not ready for `%s`", command);
    if (r->fd >= 0 && mvm__buf_len(&qmp->out) > 0)
        return mvm_fail(err, MVM_EBACKEND, "QEMU does not read its control socket");
    if (send_command(qmp, ++qmp->last_id, r->fd, command, pack, args) != 0)
        return mvm_fail(err, MVM_EBACKEND, "`%s` can't be put into QMP", command);

    pending *p = mvm__alloc(sizeof(*p));
    p->qmp = qmp;
    p->id = qmp->last_id;
    p->fn = r->fn;
    p->ud = r->ud;
    p->seconds = r->seconds;
    memcpy(p->command, command, MVM_MIN(strlen(command), sizeof(p->command) - 1));
    p->timer = mvm_timer_start(qmp->loop, r->seconds, on_deadline, p);
    mvm__list_append(&qmp->pending, &p->link);
    return 0;
}

int mvm__qmp_call(mvm__qmp *qmp, double seconds, mvm__qmp_reply_fn fn, void *ud, mvm_err *err,
                  const char *command, const char *pack, ...)
{
    va_list args;

    va_start(args, pack);
    int rc = call(qmp, &(request){seconds, fn, ud, -1}, err, command, pack, args);
    va_end(args);
    return rc;
}

static int call_with(mvm__qmp *qmp, const request *r, mvm_err *err, const char *command,
                     const char *pack, ...)
{
    va_list args;

    va_start(args, pack);
    int rc = call(qmp, r, err, command, pack, args);
    va_end(args);
    return rc;
}

int mvm__qmp_give_fd(mvm__qmp *qmp, double seconds, mvm__qmp_reply_fn fn, void *ud, mvm_err *err,
                     int fd, const char *name)
{
    return call_with(qmp, &(request){seconds, fn, ud, fd}, err, "getfd", "{s:s}", "fdname", name);
}

/* ---- receiving --------------------------------------------------------------------------- */

static void on_answer(mvm__qmp *q, const mvm_qmp_msg *msg)
{
    mvm_err err;

    if (msg->kind == MVM_QMP_ERROR)
        mvm_fail(&err, MVM_EBACKEND, "QEMU: %s", msg->text[0] ? msg->text : msg->name);
    if (!q->ready && msg->id == CAPABILITIES_ID) {
        if (msg->kind == MVM_QMP_ERROR) {
            die(q, &err);
            return;
        }
        q->ready = true;
        mvm_timer_cancel(q->greeting);
        q->greeting = NULL;
        q->ops->ready(q->ud, q->version);
        return;
    }
    mvm__list_each (l, &q->pending) {
        pending *p = mvm__container_of(l, pending, link);
        if (p->id != msg->id)
            continue;
        finish(p, msg->data, msg->kind == MVM_QMP_ERROR ? &err : NULL);
        return;
    }
    mvm_log(MVM_LOG_DEBUG, "QMP: an answer that nobody waits for");
}

static void on_message(mvm__qmp *q, const mvm_qmp_msg *msg)
{
    switch (msg->kind) {
    case MVM_QMP_GREETING:
        if (q->version[0] == '\0') {
            memcpy(q->version, msg->version, sizeof(q->version));
            send_capabilities(q);
        }
        break;
    case MVM_QMP_EVENT:
        q->ops->event(q->ud, msg->name, msg->data);
        break;
    default:
        on_answer(q, msg);
    }
}

static void on_data(void *ud, const void *data, size_t len)
{
    mvm__qmp *q = ud;
    mvm_qmp_msg msg;
    mvm_err err;
    int rc = 0;

    q->busy++;
    mvm_qmp_feed(&q->parser, data, len);
    while (!q->closed && !q->dead && (rc = mvm_qmp_next(&q->parser, &msg, &err)) > 0) {
        on_message(q, &msg);
        mvm_qmp_msg_free(&msg);
    }
    if (rc < 0)
        die(q, &err);
    leave(q);
}

static void on_writable(void *ud)
{
    flush(ud);
}

static void on_ended(void *ud, int error)
{
    mvm_err err;

    mvm_fail(&err, MVM_EIO, "QEMU closed its control socket%s%s", error ? ": " : "",
             error ? strerror(error) : "");
    die(ud, &err);
}

static const mvm__pipe_ops g_pipe_ops = {on_data, on_writable, on_ended};

/* ---- life ---------------------------------------------------------------------------------- */

mvm__qmp *mvm__qmp_open(mvm_loop *loop, int fd, double seconds, const mvm__qmp_ops *ops, void *ud)
{
    mvm__qmp *q = mvm__alloc(sizeof(*q));

    q->loop = loop;
    q->ops = ops;
    q->ud = ud;
    mvm__list_init(&q->pending);
    q->pipe = mvm__pipe_open(loop, fd, &g_pipe_ops, q);
    q->greeting = mvm_timer_start(loop, seconds, on_no_greeting, q);
    return q;
}

void mvm__qmp_drain(mvm__qmp *qmp)
{
    qmp->busy++;
    if (qmp->pipe)
        mvm__pipe_drain(qmp->pipe, MVM_QMP_LINE_MAX);
    leave(qmp);
}

void mvm__qmp_close(mvm__qmp *qmp)
{
    mvm_err err;

    if (!qmp || qmp->closed)
        return;
    qmp->closed = true;
    qmp->busy++;
    mvm_timer_cancel(qmp->greeting);
    mvm__pipe_close(qmp->pipe);
    qmp->pipe = NULL;
    mvm_fail(&err, MVM_ECANCELLED, "QEMU's control socket was closed");
    fail_all(qmp, &err);
    mvm_qmp_parser_free(&qmp->parser);
    mvm__buf_free(&qmp->out);
    leave(qmp);
}
