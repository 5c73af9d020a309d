/* SPDX-License-Identifier: MIT */
/*
 * The socket device's life on the loop's thread, the lock that both threads meet at, and the news
 * that come from its thread: a batch of them per turn of the loop.
 */
#include "device/vsock.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "device/vsock_internal.h"

/* ---- the lock ----------------------------------------------------------------------------- */

void mvm__vsock_enter(mvm__vsock *v)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    pthread_mutex_lock(&v->lock);
    v->core->now = (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void mvm__vsock_wake(const mvm__vsock *v)
{
    uint64_t one = 1;

    (void)!write(v->wake, &one, sizeof(one));
}

static void on_news(void *ud);

void mvm__vsock_post(mvm__vsock *v)
{
    if (v->posted)
        return;
    v->posted = true;
    v->refs++;
    mvm_loop_post(v->loop, on_news, v);
}

void mvm__vsock_lost(mvm__vsock *v, const mvm_err *err)
{
    if (v->dead)
        return;
    v->dead = true;
    v->err = *err;
    mvm_err_vm(&v->err, v->name);
    mvm__vhost_free(&v->core->vhost);
    mvm__vsock_post(v);
}

void mvm__vsock_leave(mvm__vsock *v)
{
    mvm_err err;

    if (mvm__vsc_serve_out(v->core, &err))
        mvm__vsock_lost(v, &err);
    if (!mvm__list_empty(&v->core->todo))
        mvm__vsock_post(v);
    double deadline = mvm__vsc_deadline(v->core);
    bool wake = v->dead || (deadline >= 0 && (v->wake_at < 0 || deadline < v->wake_at));
    pthread_mutex_unlock(&v->lock);
    if (wake)
        mvm__vsock_wake(v);
}

/* ---- news ------------------------------------------------------------------------------------ */

static void unref(mvm__vsock *v)
{
    pthread_mutex_lock(&v->lock);
    bool last = --v->refs == 0;
    pthread_mutex_unlock(&v->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&v->lock);
    mvm__free(v);
}

/* One connection's news; false: there is none left. */
static bool tell_one(mvm__vsock *v)
{
    mvm__buf data = {0};

    if (v->freed)
        return false;
    pthread_mutex_lock(&v->lock);
    mvm__link *link = mvm__list_shift(&v->handling);
    if (!link) {
        pthread_mutex_unlock(&v->lock);
        return false;
    }
    mvm__vsc_conn *conn = mvm__container_of(link, mvm__vsc_conn, todo);
    mvm__vsock_stream *st = conn->user;
    unsigned news = conn->news;
    enum mvm__vsc_end end = conn->end;
    bool asked = !st;
    conn->news = 0;
    if (asked)
        st = mvm__vsock_stream_new(v, conn, true);
    /* Two buffers that change places save a copy, and their making. */
    mvm__buf *into = mvm__buf_len(&st->s.in) == 0 && !st->s.is_closed ? &st->s.in : &data;
    if (news & MVM__VSC_NEWS_DATA) {
        mvm__buf full = conn->in;
        conn->in = *into;
        *into = full;
    }
    pthread_mutex_unlock(&v->lock);
    mvm_stream_ref(&st->s); /* the callee may drop its own */
    if (asked)
        v->ops->incoming(v->ud, &st->s, st->guest_port, st->cid, st->port);
    mvm__vsock_stream_news(st, news, &data, end);
    mvm_stream_unref(&st->s);
    return true;
}

static void end_streams(mvm__vsock *v, const mvm_err *err)
{
    while (!mvm__list_empty(&v->streams))
        mvm__vsock_stream_end(mvm__container_of(v->streams.next, mvm__vsock_stream, link), err);
}

/* Connections that the guest asked for and nobody has heard of. */
static void forget_unheard(mvm__list *list)
{
    mvm__list_each (link, list)
        mvm__vsc_release(mvm__container_of(link, mvm__vsc_conn, todo));
}

static void on_news(void *ud)
{
    mvm__vsock *v = ud;

    pthread_mutex_lock(&v->lock);
    v->posted = false;
    if (!v->freed)
        mvm__list_move(&v->handling, &v->core->todo);
    pthread_mutex_unlock(&v->lock);
    while (tell_one(v))
        ;
    pthread_mutex_lock(&v->lock);
    bool dead = v->dead && !v->freed && !v->told;
    pthread_mutex_unlock(&v->lock);
    if (dead) {
        v->told = true;
        end_streams(v, &v->err);
        v->ops->dead(v->ud, &v->err);
    }
    unref(v);
}

/* ---- life ---------------------------------------------------------------------------------------
 */

static int start_thread(mvm__vsock *v, mvm_err *err)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the loop's */
    int rc = pthread_create(&v->thread, NULL, mvm__vsock_thread, v);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc ? mvm_fail(err, MVM_EIO, "no thread for the vsock device: %s", strerror(rc)) : 0;
}

static void free_parts(mvm__vsock *v)
{
    if (v->listener >= 0)
        close(mvm__steal_fd(v->listener));
    if (v->wake >= 0)
        close(mvm__steal_fd(v->wake));
    mvm__vsc_free(v->core);
    v->core = NULL;
    v->freed = true;
    unref(v);
}

mvm__vsock *mvm__vsock_new(mvm_loop *loop, int listen_fd, uint64_t guest_cid, const char *name,
                           const mvm__vsock_ops *ops, void *ud, mvm_err *err)
{
    if (guest_cid < MVM__VSOCK_GUEST_CID || guest_cid >= UINT32_MAX) {
        mvm_fail(err, MVM_ECONFIG, "%llu is not the CID of a guest", (unsigned long long)guest_cid);
        mvm_err_hint(err, "3 to 4294967294");
        close(listen_fd);
        return NULL;
    }
    mvm__vsock *v = mvm__alloc(sizeof(*v));
    v->loop = loop;
    v->ops = ops;
    v->ud = ud;
    v->refs = 1;
    v->guest_cid = guest_cid;
    v->listener = listen_fd;
    v->sock = -1;
    v->inbox.who = "QEMU";
    v->wake_at = -1;
    v->core = mvm__vsc_new(guest_cid);
    snprintf(v->name, sizeof(v->name), "%s", name);
    mvm__list_init(&v->streams);
    mvm__list_init(&v->handling);
    pthread_mutex_init(&v->lock, NULL);
    fcntl(listen_fd, F_SETFL, fcntl(listen_fd, F_GETFL) | O_NONBLOCK);
    v->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = v->wake < 0 ? mvm_fail(err, MVM_EIO, "no event counter for the vsock device: %m") : 0;
    if (!rc)
        rc = start_thread(v, err);
    if (!rc)
        return v;
    free_parts(v);
    return NULL;
}

void mvm__vsock_free(mvm__vsock *v)
{
    mvm_err err;

    if (!v)
        return;
    pthread_mutex_lock(&v->lock);
    v->stop = true;
    pthread_mutex_unlock(&v->lock);
    mvm__vsock_wake(v);
    pthread_join(v->thread, NULL);
    mvm_fail(&err, MVM_EIO, "the machine's vsock device is gone");
    mvm_err_vm(&err, v->name);
    end_streams(v, &err);
    forget_unheard(&v->handling);
    forget_unheard(&v->core->todo);
    free_parts(v);
}

void mvm__vsock_reset(mvm__vsock *v)
{
    mvm__vsock_enter(v);
    mvm__vsc_end_all(v->core, MVM__VSC_END_REBOOT, true);
    mvm__vsock_leave(v);
}

bool mvm__vsock_up(mvm__vsock *v)
{
    mvm__vsock_enter(v);
    bool up = mvm__vhost_up(&v->core->vhost);
    pthread_mutex_unlock(&v->lock);
    return up;
}

mvm__vsock_stats mvm__vsock_get_stats(mvm__vsock *v)
{
    mvm__vsock_enter(v);
    mvm__vsock_stats stats = {v->core->opened, v->core->refused, v->core->conns, v->core->to_guest,
                              v->core->from_guest};
    pthread_mutex_unlock(&v->lock);
    return stats;
}
