/* SPDX-License-Identifier: MIT */
/*
 * Push and pull: a host file and a guest file joined by one stream. A transfer is a chain of
 * waits, exactly one at a time; when the caller's wait is cancelled or times out, the chain is
 * cut and what was half written is gone on both sides. Loop thread only.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "io/wait.h"
#include "vm/agent_internal.h"

#define CHUNK        65536u
#define GUEST_EISDIR 21 /* Linux */

typedef struct transfer {
    mvm_vm *vm;
    mvm_file *file;
    mvm_wait *user; /* NULL: the caller's wait is over already */
    int fd;
    int perm;     /* push: of the host's file */
    bool retried; /* push: the target was a directory, the name was added */
    char *base;   /* push: what to add to a directory */
    char *path;   /* of the other side: push the guest's, pull the host's */
    char *temp;   /* pull: the name of the half-written file, NULL while it has none */
} transfer;

static int io_fail(mvm_err *err, const char *path)
{
    return mvm_fail(err, MVM_EIO, "%s: %s", path, strerror(errno));
}

/* The name after the last slash; NULL when there is none that a file could have. */
static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;

    return !*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ? NULL : name;
}

static void transfer_free(transfer *t)
{
    if (t->temp)
        unlink(t->temp);
    if (t->fd >= 0)
        close(t->fd);
    if (t->file) {
        mvm__file_abort(t->file);
        mvm_file_unref(t->file);
    }
    mvm__free(t->base);
    mvm__free(t->path);
    mvm__free(t->temp);
    mvm_vm_unref(t->vm);
    mvm__free(t);
}

static void finish(transfer *t, const mvm_err *err)
{
    if (t->user)
        mvm__wait_done(t->user, err);
    transfer_free(t);
}

/* The caller's wait was cancelled or timed out. Without its file the pending step ends too, and
 * the step's callback frees the rest. */
static void on_dropped(mvm_wait *wait)
{
    transfer *t = wait->subject;

    t->user = NULL;
    mvm__file_abort(t->file);
}

static void begin(transfer *t, const mvm_waiter *waiter, const char *what)
{
    t->user = mvm__wait_new(mvm__vm_loop(t->vm), NULL, waiter, "%s", what);
    t->user->subject = t;
    t->user->dropped = on_dropped;
}

typedef mvm_wait *(*wait_fn)(mvm_stream *, const mvm_waiter *, mvm_err *);

static int step_stream(transfer *t, wait_fn wait, mvm_wait_fn fn, mvm_err *err)
{
    mvm_waiter waiter = {-1, fn, t};

    return wait(mvm_file_stream(t->file), &waiter, err) ? 0 : err->code;
}

static void step_end(transfer *t, mvm_wait_fn fn)
{
    mvm_waiter waiter = {-1, fn, t};

    mvm_file_wait(t->file, &waiter, NULL);
}

/* ---- push ---------------------------------------------------------------------------- */

static void on_push_room(void *ud, const mvm_err *err);

static int push_open(transfer *t, mvm_err *err)
{
    t->file = mvm_vm_open(t->vm, t->path, MVM_FILE_WRITE, t->perm, err);
    if (!t->file)
        return err->code;
    return step_stream(t, mvm_stream_wait_writable, on_push_room, err);
}

/* The guest's path turned out to be a directory: once more, with the name added. */
static bool push_again(transfer *t)
{
    mvm_err err;

    if (t->retried || mvm__file_errno(t->file) != GUEST_EISDIR || lseek(t->fd, 0, SEEK_SET) != 0)
        return false;
    t->retried = true;
    char *path = mvm__asprintf("%s/%s", t->path, t->base);
    mvm__free(t->path);
    t->path = path;
    mvm_file_unref(t->file);
    t->file = NULL;
    if (push_open(t, &err))
        finish(t, &err);
    return true;
}

static void on_push_end(void *ud, const mvm_err *err)
{
    transfer *t = ud;

    if (t->user && err && push_again(t))
        return;
    finish(t, err);
}

static void on_push_room(void *ud, const mvm_err *err)
{
    transfer *t = ud;
    char chunk[CHUNK];
    mvm_err why;

    if (!t->user) {
        finish(t, NULL);
        return;
    }
    if (err) {
        if (!push_again(t))
            finish(t, err);
        return;
    }
    ssize_t got;
    do {
        got = read(t->fd, chunk, sizeof(chunk));
    } while (got < 0 && errno == EINTR);
    if (got == 0) {
        mvm_stream_shutdown(mvm_file_stream(t->file));
        step_end(t, on_push_end);
        return;
    }
    if (got < 0) {
        mvm_fail(&why, MVM_EIO, "reading the file to push: %s", strerror(errno));
        finish(t, &why);
        return;
    }
    /* A file that the guest has refused by now says so when its end is waited for. */
    if (mvm_stream_write(mvm_file_stream(t->file), chunk, (size_t)got, &why) ||
        step_stream(t, mvm_stream_wait_writable, on_push_room, &why))
        step_end(t, on_push_end);
}

static int open_source(const char *path, int *perm, mvm_err *err)
{
    struct stat st;
    /* O_NONBLOCK: a pipe must be refused, not waited for. */
    MVM_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0 || fstat(fd, &st) != 0) {
        io_fail(err, path);
        return -1;
    }
    if (!S_ISREG(st.st_mode)) {
        mvm_fail(err, MVM_EIO, "%s is %s", path,
                 S_ISDIR(st.st_mode) ? "a directory" : "not a regular file");
        mvm_err_hint(err, "push copies one regular file; pack a tree into an archive");
        return -1;
    }
    *perm = (int)(st.st_mode & 0777); /* set-id bits do not travel: the owner is another one */
    return mvm__steal_fd(fd);
}

mvm_wait *mvm_vm_push(mvm_vm *vm, const char *host_path, const char *guest_path,
                      const mvm_waiter *waiter, mvm_err *err)
{
    mvm_err local;
    mvm_err *why = err ? err : &local;
    size_t len = strlen(guest_path);

    if (len == 0) {
        mvm_fail(why, MVM_ECONFIG, "the guest's path is empty");
        return NULL;
    }
    if (mvm__vm_need_agent(vm, why))
        return NULL;
    int perm;
    int fd = open_source(host_path, &perm, why);
    if (fd < 0)
        return NULL;
    const char *name = base_name(host_path);
    bool into = guest_path[len - 1] == '/';
    transfer *t = mvm__alloc(sizeof(*t));
    *t = (transfer){.vm = mvm_vm_ref(vm), .fd = fd, .perm = perm, .retried = into};
    t->base = mvm__strdup(name ? name : "file");
    t->path = into ? mvm__asprintf("%s%s", guest_path, t->base) : mvm__strdup(guest_path);
    if (push_open(t, why)) {
        transfer_free(t);
        return NULL;
    }
    char what[120];
    snprintf(what, sizeof(what), "the copy of %.40s to the guest's %.40s", t->base, t->path);
    begin(t, waiter, what);
    return t->user;
}

/* ---- pull ------------------------------------------------------------------------------ */

/* A nameless file gets its name at once where nothing has it; a link can't replace what is there,
 * so then it is first linked under a temporary one, with nothing between that and the renaming. */
static int name_nameless(transfer *t, mvm_err *err)
{
    char self[32];
    uint64_t salt = 0;

    snprintf(self, sizeof(self), "/proc/self/fd/%d", t->fd);
    if (linkat(AT_FDCWD, self, AT_FDCWD, t->path, AT_SYMLINK_FOLLOW) == 0)
        return 0;
    (void)!getentropy(&salt, sizeof(salt));
    MVM_AUTO_FREE char *temp = mvm__asprintf("%s.macvm-%016llx", t->path, (unsigned long long)salt);
    if (linkat(AT_FDCWD, self, AT_FDCWD, temp, AT_SYMLINK_FOLLOW) != 0)
        return io_fail(err, temp);
    if (rename(temp, t->path) == 0)
        return 0;
    int rc = io_fail(err, t->path);
    unlink(temp);
    return rc;
}

static int publish(transfer *t, mvm_err *err)
{
    int perm = mvm_file_perm(t->file);

    if (fchmod(t->fd, perm >= 0 ? (mode_t)(perm & 0777) : 0644) != 0)
        return io_fail(err, t->path);
    int named = t->temp ? 0 : name_nameless(t, err);
    if (named != 0)
        return named;
    int rc = close(t->fd);
    t->fd = -1;
    if (rc != 0 || (t->temp && rename(t->temp, t->path) != 0))
        return io_fail(err, t->path);
    mvm__free(t->temp);
    t->temp = NULL;
    return 0;
}

static void on_pull_end(void *ud, const mvm_err *err)
{
    transfer *t = ud;
    mvm_err why;

    if (t->user && !err && publish(t, &why))
        err = &why;
    finish(t, err);
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t put = write(fd, data, len);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -1;
        data += put;
        len -= (size_t)put;
    }
    return 0;
}

static void on_pull_data(void *ud, const mvm_err *err)
{
    transfer *t = ud;
    mvm_err why;
    size_t len;

    if (!t->user || err) {
        finish(t, err);
        return;
    }
    mvm_stream *s = mvm_file_stream(t->file);
    const char *data = mvm_stream_peek(s, &len);
    if (len == 0) { /* the end */
        step_end(t, on_pull_end);
        return;
    }
    if (write_all(t->fd, data, len) != 0) {
        io_fail(&why, t->path);
        finish(t, &why);
        return;
    }
    mvm_stream_consume(s, len);
    if (step_stream(t, mvm_stream_wait_readable, on_pull_data, &why))
        finish(t, &why);
}

/* A relative path means the directory of this moment, not that of the end. */
static char *absolute(const char *path)
{
    MVM_AUTO_FREE char *dir = path[0] == '/' ? NULL : getcwd(NULL, 0);

    return dir ? mvm__asprintf("%s/%s", dir, path) : mvm__strdup(path);
}

/* Where the bytes go: *out is the file's final path, links followed. */
static int pull_target(const char *host_path, const char *guest_path, char **out, mvm_err *err)
{
    size_t len = strlen(host_path);
    const char *name = base_name(guest_path);
    struct stat st;

    if (len == 0)
        return mvm_fail(err, MVM_ECONFIG, "the host's path is empty");
    if (!name)
        return mvm_fail(err, MVM_ECONFIG, "the guest's path \"%s\" names no file", guest_path);
    bool into = host_path[len - 1] == '/' || (stat(host_path, &st) == 0 && S_ISDIR(st.st_mode));
    MVM_AUTO_FREE char *path =
        into ? mvm__asprintf("%s%s%s", host_path, host_path[len - 1] == '/' ? "" : "/", name)
             : mvm__strdup(host_path);
    char *real = realpath(path, NULL);
    if (real && stat(real, &st) == 0 && !S_ISREG(st.st_mode)) {
        mvm_fail(err, MVM_EIO, "%s is %s", real,
                 S_ISDIR(st.st_mode) ? "a directory" : "not a regular file");
        free(real);
        return err->code;
    }
    *out = real ? real : absolute(path);
    return 0;
}

/* A file beside `path`: without a name where the system can, so that a killed macvm leaves
 * nothing; else with a temporary one. */
static int open_temp(const char *path, char **temp, mvm_err *err)
{
#ifdef O_TMPFILE
    const char *slash = strrchr(path, '/');
    MVM_AUTO_FREE char *dir =
        slash ? mvm__strndup(path, MVM_MAX((size_t)(slash - path), 1)) : mvm__strdup(".");
    if (access("/proc/self/fd", X_OK) == 0) {
        int nameless = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (nameless >= 0)
            return nameless;
    }
#endif
    char *name = mvm__asprintf("%s.macvm-XXXXXX", path);
    int fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0) {
        io_fail(err, path);
        mvm__free(name);
        return -1;
    }
    *temp = name;
    return fd;
}

mvm_wait *mvm_vm_pull(mvm_vm *vm, const char *guest_path, const char *host_path,
                      const mvm_waiter *waiter, mvm_err *err)
{
    mvm_err local;
    mvm_err *why = err ? err : &local;
    char *path = NULL;

    if (pull_target(host_path, guest_path, &path, why))
        return NULL;
    transfer *t = mvm__alloc(sizeof(*t));
    *t = (transfer){.vm = mvm_vm_ref(vm), .fd = -1, .path = path};
    if (mvm__vm_need_agent(vm, why) || (t->fd = open_temp(path, &t->temp, why)) < 0)
        goto fail;
    t->file = mvm_vm_open(vm, guest_path, MVM_FILE_READ, -1, why);
    if (!t->file || step_stream(t, mvm_stream_wait_readable, on_pull_data, why))
        goto fail;
    char what[120];
    snprintf(what, sizeof(what), "the copy of the guest's %.40s to %.40s", guest_path, path);
    begin(t, waiter, what);
    return t->user;
fail:
    transfer_free(t);
    return NULL;
}
