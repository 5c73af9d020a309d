/* SPDX-License-Identifier: MIT */
/*
 * Shares of the host: MOUNT frames. Each is worked on by a child, since a mount
 * whose server is dead holds whoever touches it, and the agent must not be that
 * one. A share may be asked for before the kernel has found its device: such a
 * MOUNT waits for the device's event. One thread.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "guest/agent.h"

#define DEVICE_NS  (5 * UINT64_C(1000000000)) /* so long a device may take to come */
#define TAG_MAX    255u
#define OPTIONS_9P "trans=virtio,version=9p2000.L,msize=262144,cache=none"

enum { DO_MOUNT, DO_UNMOUNT };

/* What the child says before it ends; a pipe takes it at once. */
typedef struct answer {
    int errnum;  /* 0: done */
    bool absent; /* the kernel knows of no such tag */
    char text[TAG_MAX + 64];
} answer;

struct mvm__mount {
    mvm__stream *stream;
    mvm__link link; /* in `all` */
    uint8_t what;
    bool readonly;
    char type[16], tag[TAG_MAX + 1], path[PATH_MAX];
    int pipe;       /* the child's answer; -1: no child, it waits for its device */
    bool again;     /* a device came while the child was at work */
    uint64_t until; /* when the device will not come any more; 0: not asked for yet */
};

static mvm__list all = {&all, &all};
static mvm__source timer = {.fd = -1};

/* ---- in the child ------------------------------------------------------------------------ */

static void say(answer *a, int errnum, const char *fmt, const char *more)
{
    a->errnum = errnum;
    snprintf(a->text, sizeof a->text, fmt, more);
}

/* Is a share mounted at `path`? Its tag, then: of the uppermost, if there are several. */
static bool share_at(const char *path, char tag[TAG_MAX + 1])
{
    FILE *f = setmntent("/proc/self/mounts", "re");
    bool found = false;

    for (struct mntent *m; f && (m = getmntent(f)) != NULL;) {
        if (strcmp(m->mnt_dir, path) != 0)
            continue;
        found = strcmp(m->mnt_type, "virtiofs") == 0 || strcmp(m->mnt_type, "9p") == 0;
        snprintf(tag, TAG_MAX + 1, "%.*s", (int)TAG_MAX, m->mnt_fsname);
    }
    if (f)
        endmntent(f);
    return found;
}

/* 0, or an errno. */
static int make_dirs(char *path)
{
    struct stat st;

    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int rc = mkdir(path, 0755) && errno != EEXIST ? errno : 0;
        *slash = '/';
        if (rc)
            return rc;
    }
    if (mkdir(path, 0755) && errno != EEXIST)
        return errno;
    return stat(path, &st) ? errno : S_ISDIR(st.st_mode) ? 0 : ENOTDIR;
}

static void mount_share(struct mvm__mount *m, answer *a)
{
    char real[PATH_MAX], tag[TAG_MAX + 1];

    if (share_at(m->path, tag) && strcmp(tag, m->tag) == 0)
        return;
    int rc = make_dirs(m->path);
    if (rc == 0 && !realpath(m->path, real))
        rc = errno;
    if (rc) {
        say(a, rc, "the directory can't be made: %s", strerror(rc));
        return;
    }
    if (share_at(real, tag)) {
        if (strcmp(tag, m->tag) != 0)
            say(a, EBUSY, "share \"%s\" is mounted there", tag);
        return;
    }
    bool is_9p = strcmp(m->type, "9p") == 0;
    if (mount(m->tag, real, m->type, m->readonly ? MS_RDONLY : 0, is_9p ? OPTIONS_9P : NULL) == 0)
        return;
    a->absent = errno == (is_9p ? ENOENT : EINVAL);
    if (errno == ENODEV)
        say(a, ENODEV, "the guest's kernel has no %s", m->type);
    else if (is_9p && errno == EBUSY)
        say(a, EBUSY, "%s", "it is mounted in another place");
    else
        say(a, errno, "%s", strerror(errno));
}

/* Does a link of /proc lead to the directory or below it? */
static bool leads_to(const char *link, const char *dir)
{
    char target[PATH_MAX];
    size_t len = strlen(dir);
    ssize_t n = readlink(link, target, sizeof target - 1);

    target[n < 0 ? 0 : n] = '\0';
    return strncmp(target, dir, len) == 0 && (target[len] == '/' || target[len] == '\0');
}

/* Has the process its working directory, its root, its program or an open file there? */
static bool is_user(const char *pid, const char *dir)
{
    static const char *const links[] = {"cwd", "root", "exe"};
    char path[640];
    bool is = false;

    for (size_t i = 0; i < MVM_COUNT(links) && !is; i++) {
        snprintf(path, sizeof path, "/proc/%s/%s", pid, links[i]);
        is = leads_to(path, dir);
    }
    snprintf(path, sizeof path, "/proc/%s/fd", pid);
    DIR *files = is ? NULL : opendir(path);
    for (struct dirent *e; files && !is && (e = readdir(files)) != NULL;) {
        snprintf(path, sizeof path, "/proc/%s/fd/%s", pid, e->d_name);
        is = leads_to(path, dir);
    }
    if (files)
        closedir(files);
    return is;
}

/* The kernel says only "busy": the name of one who keeps it so is what helps. */
static void say_busy(answer *a, const char *dir)
{
    DIR *proc = opendir("/proc");
    char path[300], name[64], user[160] = "";

    for (struct dirent *e; proc && !user[0] && (e = readdir(proc)) != NULL;) {
        if (e->d_name[0] < '1' || e->d_name[0] > '9' || !is_user(e->d_name, dir))
            continue;
        snprintf(path, sizeof path, "/proc/%s/comm", e->d_name);
        mvm__read_small(path, name, sizeof name);
        snprintf(user, sizeof user, " by process %.20s (%s)", e->d_name, name);
    }
    if (proc)
        closedir(proc);
    say(a, EBUSY, "it is in use%s", user);
}

/*
 * What is in use stays mounted. Detaching it (MNT_DETACH) would answer "done" while processes go on
 * writing into a share whose device is about to be taken away.
 */
static void unmount_share(struct mvm__mount *m, answer *a)
{
    char real[PATH_MAX], tag[TAG_MAX + 1];
    const char *dir = m->path;

    if (!share_at(dir, tag)) {
        if (!realpath(m->path, real) || !share_at(real, tag))
            return;
        dir = real;
    }
    if (strcmp(tag, m->tag) != 0 || umount2(dir, UMOUNT_NOFOLLOW) == 0)
        return;
    if (errno == EBUSY)
        say_busy(a, dir);
    else
        say(a, errno, "%s", strerror(errno));
}

static void work(struct mvm__mount *m, int fd)
{
    answer a = {0};
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (m->what == DO_MOUNT)
        mount_share(m, &a);
    else
        unmount_share(m, &a);
    _exit(write(fd, &a, sizeof a) == (ssize_t)sizeof a ? 0 : 1);
}

/* ---- in the agent -------------------------------------------------------------------------- */

static int begin(struct mvm__mount *m)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC))
        return errno;
    m->again = false;
    pid_t pid = fork();
    if (pid == 0)
        work(m, fds[1]);
    int rc = pid < 0 ? errno : 0;
    close(fds[1]);
    if (rc) {
        close(fds[0]);
        return rc;
    }
    m->stream->pid = pid;
    m->pipe = fds[0];
    return 0;
}

static void begin_or_fail(struct mvm__mount *m)
{
    int rc = begin(m);

    if (rc)
        mvm__stream_fail(m->stream, rc, "the agent can't fork");
}

/* The one timer fires when the next of those that wait for a device has waited too long. */
static void set_timer(void)
{
    struct itimerspec at = {0};
    uint64_t next = 0;

    mvm__list_each (l, &all) {
        struct mvm__mount *m = mvm__container_of(l, struct mvm__mount, link);
        if (m->pipe < 0 && (next == 0 || m->until < next))
            next = m->until;
    }
    at.it_value.tv_sec = (time_t)(next / 1000000000u);
    at.it_value.tv_nsec = (long)(next % 1000000000u);
    timerfd_settime(timer.fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void on_timer(mvm__source *source, uint32_t events)
{
    uint64_t count;

    (void)events;
    while (read(source->fd, &count, sizeof count) > 0)
        continue;
    mvm__list_each (l, &all) {
        struct mvm__mount *m = mvm__container_of(l, struct mvm__mount, link);
        if (m->pipe < 0 && m->until <= mvm__now_ns()) {
            mvm__out_refuse(m->stream->id, ENODEV, "no such device has come to the guest");
            mvm__stream_drop(m->stream);
        }
    }
    set_timer();
}

/* The device is not there, or not yet: its event will tell. */
static bool wait_for_device(struct mvm__mount *m)
{
    if (m->until == 0)
        m->until = mvm__now_ns() + DEVICE_NS;
    if (timer.fd < 0) {
        int fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
        if (fd < 0 || mvm__loop_watch(&timer, fd, EPOLLIN, on_timer)) {
            mvm__loop_close(&timer);
            return false;
        }
    }
    set_timer();
    return true;
}

void mvm__mounts_retry(void)
{
    mvm__list_each (l, &all) {
        struct mvm__mount *m = mvm__container_of(l, struct mvm__mount, link);
        if (m->pipe < 0)
            begin_or_fail(m);
        else
            m->again = true;
    }
}

void mvm__mount_ended(mvm__stream *s)
{
    struct mvm__mount *m = s->mount;
    answer a = {.errnum = EINTR, .text = "it was killed"};
    ssize_t n = read(m->pipe, &a, sizeof a);

    close(m->pipe);
    m->pipe = -1;
    s->pid = 0;
    if (n == (ssize_t)sizeof a && a.errnum == 0) {
        mvm__stream_exit(s, 0, 0);
    } else if (n == (ssize_t)sizeof a && a.absent && m->again) {
        begin_or_fail(m);
    } else if (n != (ssize_t)sizeof a || !a.absent || !wait_for_device(m)) {
        mvm__out_refuse(s->id, a.errnum, a.text);
        mvm__stream_drop(s);
    }
}

void mvm__mount_over(struct mvm__mount *m)
{
    if (!m)
        return;
    mvm__list_remove(&m->link);
    if (m->pipe >= 0)
        close(m->pipe);
    m->pipe = -1;
}

/* ---- the frame ------------------------------------------------------------------------ */

static bool get_text(mvm_agent_reader *r, char *out, size_t cap)
{
    size_t len;
    const char *text = mvm_agent_get_str(r, &len);
    bool fits = !r->bad && len > 0 && len < cap;

    memcpy(out, text, fits ? len : 0);
    out[fits ? len : 0] = '\0';
    return fits;
}

/* 0, or an errno; *why says what is wrong. */
static int parse(struct mvm__mount *m, const mvm_agent_frame *f, const char **why)
{
    mvm_agent_reader r = {.data = f->payload, .len = f->len};

    *why = "bad MOUNT";
    m->what = mvm_agent_get_u8(&r);
    m->readonly = (mvm_agent_get_u8(&r) & MVM_AGENT_MOUNT_READONLY) != 0;
    bool type = get_text(&r, m->type, sizeof m->type);
    bool tag = get_text(&r, m->tag, sizeof m->tag);
    bool path = get_text(&r, m->path, sizeof m->path);
    if (r.bad || r.pos != r.len || m->what > DO_UNMOUNT)
        return EPROTO;
    *why = "its file system is neither virtiofs nor 9p";
    if (!type || (strcmp(m->type, "virtiofs") != 0 && strcmp(m->type, "9p") != 0))
        return EINVAL;
    *why = "its tag is empty or too long";
    if (!tag)
        return EINVAL;
    *why = "the path is not absolute";
    for (size_t n = strlen(m->path); n > 1 && m->path[n - 1] == '/'; n--)
        m->path[n - 1] = '\0';
    return path && m->path[0] == '/' && m->path[1] ? 0 : EINVAL;
}

/* Elsewhere the kernel asks modprobe for it. */
static void load_module(const struct mvm__mount *m)
{
    if (!mvm__is_init || m->what != DO_MOUNT)
        return;
    mvm__modules_load(m->type);
    if (strcmp(m->type, "9p") == 0)
        mvm__modules_load("9pnet_virtio");
}

void mvm__mount(const mvm_agent_frame *f)
{
    struct mvm__mount *m = calloc(1, sizeof *m);
    const char *why;
    int rc = m ? parse(m, f, &why) : ENOMEM;
    mvm__stream *s = rc ? NULL : mvm__stream_new(f->stream, MVM__MOUNT);

    if (!s) {
        mvm__out_refuse(f->stream, rc ? rc : ENOMEM, m && rc ? why : strerror(ENOMEM));
        free(m);
        return;
    }
    m->pipe = -1;
    m->stream = s;
    s->mount = m;
    mvm__list_append(&all, &m->link);
    load_module(m);
    begin_or_fail(m);
}
