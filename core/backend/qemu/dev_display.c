/* SPDX-License-Identifier: MIT */
/*
 * The display: virtio-gpu, pictures of what it shows, its VNC socket and its window. The socket is
 * made here, private, at the path that was asked for, and handed to QEMU over QMP: QEMU itself
 * would remove whatever is at that path, and leave the socket open to others. Loop thread only.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/qemu/dev.h"
#include "base/base.h"
#include "io/publish.h"
#include "io/sock.h"
#include "mvm/lab.h"
#include "vm/check.h"
#include "vm/job.h"

#define COMMAND_SECONDS 30

/* ---- pictures -------------------------------------------------------------------------- */

/* A picture that QEMU is making, in the lab's private directory, where it works. */
typedef struct picture {
    mvm__run *run;
    char name[32];
    mvm__job *job; /* a screenshot's, with the user's path */
    char *path;
    mvm__screen_size_fn fn; /* or whoever asked for the size */
    void *ud;
} picture;

static char *picture_path(const picture *p)
{
    const char *dir = mvm_lab_dir(mvm_vm_lab(p->run->vm), NULL);

    return mvm__asprintf("%s/%s", dir ? dir : ".", p->name);
}

static void picture_free(picture *p)
{
    MVM_AUTO_FREE char *path = picture_path(p);

    unlink(path);
    mvm__free(p->path);
    mvm__free(p);
}

static picture *picture_new(mvm__run *run, const char *format)
{
    static unsigned counter; /* of this process: its machines share a directory */
    picture *p = mvm__alloc(sizeof(*p));

    p->run = run;
    snprintf(p->name, sizeof(p->name), "screen%u.%s", ++counter, format);
    return p;
}

static int no_display(mvm_err *err)
{
    mvm_fail(err, MVM_ECONFIG, "the machine has no display");
    mvm_err_hint(err, "add macvm.display {} to its devices");
    return MVM_ECONFIG;
}

/* Takes the picture over, also when it fails. */
static int ask(picture *p, const char *format, mvm__qmp_reply_fn fn, mvm_err *err)
{
    const mvm__dev *dev = mvm__dev_nth(p->run, "display", 0);
    int rc = dev ? mvm__qmp_call(p->run->qmp, COMMAND_SECONDS, fn, p, err, "screendump",
                                 "{s:s, s:s, s:s}", "filename", p->name, "format", format, "device",
                                 dev->id)
                 : no_display(err);

    if (rc != 0)
        picture_free(p);
    return rc;
}

static void on_screenshot(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    picture *p = ud;
    mvm__job *job = p->job;
    mvm_err why;

    (void)value;
    if (err && strstr(err->message, "'format'")) {
        mvm_fail(&why, MVM_EUNSUPPORTED, "QEMU %s makes no PNG: 7.1 or newer does",
                 p->run->version);
        err = &why;
    } else if (!err && job->wait) {
        MVM_AUTO_FREE char *path = picture_path(p);
        err = mvm__publish(path, p->path, &why) != 0 ? &why : NULL;
    }
    picture_free(p);
    mvm__job_done(job, err);
}

int mvm__screenshot(mvm_vm *vm, const char *path, mvm__job *job, mvm_err *err)
{
    picture *p = picture_new(mvm__run_of(vm), "png");

    p->job = job;
    p->path = mvm__strdup(path);
    return ask(p, "png", on_screenshot, err);
}

/* From the head of the picture: QEMU has no command that says it. */
static void on_size(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    picture *p = ud;
    mvm__screen_size_fn fn = p->fn;
    void *fn_ud = p->ud;
    int width = 0, height = 0;
    mvm_err why;

    (void)value;
    if (!err) {
        MVM_AUTO_FREE char *path = picture_path(p);
        FILE *f = fopen(path, "re");
        if (!f || fscanf(f, "P6 %d %d", &width, &height) != 2 || width < 1 || height < 1) {
            mvm_fail(&why, MVM_EBACKEND, "QEMU does not say how large the display is");
            err = &why;
        }
        if (f)
            fclose(f);
    }
    picture_free(p);
    fn(fn_ud, width, height, err);
}

int mvm__screen_size(mvm__run *run, mvm__screen_size_fn fn, void *ud, mvm_err *err)
{
    picture *p = picture_new(run, "ppm");

    p->fn = fn;
    p->ud = ud;
    return ask(p, "ppm", on_size, err);
}

/* ---- a window ------------------------------------------------------------------------------ */

static int check_window(mvm_vm *vm, const char *at, mvm_err *err)
{
    const char *why = mvm__qemu_cannot(vm, "display.window");

    if (!why)
        return 0;
    mvm_fail(err, MVM_EUNSUPPORTED, "no window here: %s", why);
    mvm_err_field(err, "%s.window", at);
    why = mvm__qemu_cure(vm, "display.window");
    mvm_err_hint(err, "%s", why ? why : "`vnc` serves the display on a private socket");
    return MVM_EUNSUPPORTED;
}

bool mvm__display_window(const mvm__run *run)
{
    const mvm__dev *dev = mvm__dev_nth(run, "display", 0);

    return dev && mvm_record_bool(dev->record, "window");
}
/* ---- VNC ----------------------------------------------------------------------------------- */

bool mvm__display_vnc(const mvm__run *run)
{
    const mvm__dev *dev = mvm__dev_nth(run, "display", 0);

    return dev && mvm_record_has(dev->record, "vnc");
}

/* A listening socket on its way to QEMU, and its file, which goes with the run. */
typedef struct vnc {
    int fd; /* -1: QEMU has it */
    dev_t dev;
    ino_t ino;
} vnc;

static int prepare(mvm__dev *dev, mvm_err *err)
{
    const char *path = mvm_record_str(dev->record, "vnc");
    struct stat st;

    if (!path)
        return 0;
    int fd = mvm__sock_listen_path(path, err);
    if (fd < 0) {
        mvm__dev_field(dev, "vnc", err);
        return err ? err->code : MVM_EIO;
    }
    vnc *v = mvm__alloc(sizeof(*v));
    v->fd = fd;
    if (lstat(path, &st) == 0) {
        v->dev = st.st_dev;
        v->ino = st.st_ino;
    }
    dev->data = v;
    return 0;
}

static void release(mvm__dev *dev)
{
    vnc *v = dev->data;
    struct stat st;

    if (!v)
        return;
    const char *path = mvm_record_str(dev->record, "vnc");
    if (lstat(path, &st) == 0 && st.st_dev == v->dev && st.st_ino == v->ino)
        unlink(path);
    if (v->fd >= 0)
        close(v->fd);
    mvm__free(v);
    dev->data = NULL;
}

/* A machine whose display can't be served as was asked for does not start. */
static void vnc_failed(mvm__dev *dev, const mvm_err *err)
{
    mvm_err why;

    if (err->code == MVM_ECANCELLED)
        return; /* the run is over */
    mvm_fail(&why, err->code, "VNC: %s", err->message);
    mvm__control_give_up(dev->run, &why);
}

static void on_served(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    mvm__dev *dev = ud;

    (void)value;
    if (err)
        vnc_failed(dev, err);
    else
        mvm__dev_settled(dev);
}

static void on_fd_given(void *ud, const mvm_qmp_value *value, const mvm_err *err)
{
    mvm__dev *dev = ud;
    vnc *v = dev->data;
    mvm_err why;

    (void)value;
    close(v->fd);
    v->fd = -1;
    if (!err && mvm__qmp_call(dev->run->qmp, COMMAND_SECONDS, on_served, dev, &why,
                              "display-update", "{s:s, s:[{s:s, s:s}]}", "type", "vnc", "addresses",
                              "type", "fd", "str", dev->id) != 0)
        err = &why;
    if (err)
        vnc_failed(dev, err);
}

static void live(mvm__dev *dev)
{
    const vnc *v = dev->data;
    mvm_err err;

    if (!v)
        return;
    dev->settling = true;
    if (mvm__qmp_give_fd(dev->run->qmp, COMMAND_SECONDS, on_fd_given, dev, &err, v->fd, dev->id) !=
        0)
        vnc_failed(dev, &err);
}

/* ---- the device -------------------------------------------------------------------------------
 */

static int check(mvm_vm *vm, const mvm_record *display, const char *at, mvm_err *err)
{
    const mvm__run *run = mvm__run_of(vm);

    if (run && !mvm__dev_of(run, display)) {
        mvm_fail(err, MVM_EUNSUPPORTED, "QEMU can't plug a display into a machine that runs");
        mvm_err_field(err, "%s", at);
        mvm_err_hint(err, "attach it before the start");
        return MVM_EUNSUPPORTED;
    }
    return mvm_record_bool(display, "window") ? check_window(vm, at, err) : 0;
}

static void parts(mvm__dev *dev, mvm_qemu_parts *p)
{
    mvm__dev_pci(dev, p, "virtio-gpu-pci");
    mvm_qemu_key_int(p, "xres", mvm_record_int(dev->record, "width"));
    mvm_qemu_key_int(p, "yres", mvm_record_int(dev->record, "height"));
}

const mvm__dev_ops mvm__dev_display = {
    .kind = "display",
    .check = check,
    .prepare = prepare,
    .parts = parts,
    .live = live,
    .release = release,
};
