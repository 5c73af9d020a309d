/* SPDX-License-Identifier: MIT */
/*
 * Shares: a directory of the host behind a vhost-user-fs device, served by a virtiofsd of its own
 * with a relay before it (device/fs_relay.h), or, where none can be used, by QEMU itself as 9p.
 * Loop thread only.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/qemu/dev.h"
#include "backend/qemu/virtiofsd.h"
#include "base/base.h"
#include "device/fs_relay.h"
#include "io/sock.h"
#include "mvm/log.h"

#define TAG_9P_MAX   31u  /* QEMU's */
#define LOST_SECONDS 0.25 /* an end of QEMU that virtiofsd was quicker to notice shows by then */

typedef struct share {
    bool virtiofs;
    mvm__virtiofsd plan;
    mvm__proc *server;
    mvm__fs_relay *relay;
    char socket[32]; /* in QEMU's working directory; "": removed */
    mvm_timer *lost; /* one of them has ended, and nobody knows yet whether QEMU has too */
    char end[640];   /* the server's, in words */
    mvm_err why;     /* the relay's */
    bool told;
} share;

/* ---- which driver ------------------------------------------------------------------------ */

static int check_tag(const mvm_record *record, mvm_err *err)
{
    const char *tag = mvm_record_str(record, "tag");

    if (strlen(tag) <= TAG_9P_MAX)
        return 0;
    mvm_fail(err, MVM_ECONFIG, "the tag \"%s\" is longer than the %u bytes of 9p", tag, TAG_9P_MAX);
    return MVM_ECONFIG;
}

/* Starts nothing, so only what can be seen is said. */
static int check(mvm_vm *vm, const mvm_record *record, const char *at, mvm_err *err)
{
    const char *driver = mvm_record_str(record, "driver");
    char program[512];
    int rc = 0;

    (void)vm;
    if (strcmp(driver, "9p") == 0) {
        rc = check_tag(record, err);
        mvm_err_field(err, "%s.tag", at);
    } else if (strcmp(driver, "virtiofs") == 0 && !mvm__virtiofsd_find(program, sizeof(program))) {
        rc = mvm_fail(err, MVM_EUNSUPPORTED, "virtiofsd is not installed");
        mvm_err_field(err, "%s.driver", at);
        mvm_err_hint(err, "install virtiofsd (Debian 12: qemu-system-common), or driver = \"9p\"");
    }
    return rc;
}

/* With "auto" what is chosen is said, and why. */
static int choose(mvm__dev *dev, share *s, mvm_err *err)
{
    const char *driver = mvm_record_str(dev->record, "driver");
    const char *vm = mvm_vm_name(dev->run->vm);
    mvm_err why;

    if (strcmp(driver, "9p") == 0)
        return 0;
    int rc = mvm__virtiofsd_plan(&s->plan, mvm_record_str(dev->record, "path"),
                                 mvm_record_bool(dev->record, "readonly"), &why);
    s->virtiofs = rc == 0;
    if (rc == 0) {
        bool open = strcmp(s->plan.sandbox, "none") == 0;
        mvm_log(open ? MVM_LOG_WARN : MVM_LOG_INFO, "%s: share %s: virtiofs by %s, sandbox %s", vm,
                dev->name, s->plan.program, s->plan.sandbox);
        return 0;
    }
    if (strcmp(driver, "auto") == 0 && rc == MVM_EUNSUPPORTED) {
        mvm_log(MVM_LOG_WARN, "%s: share %s: 9p, as virtiofs can't be used: %s", vm, dev->name,
                why.message);
        return check_tag(dev->record, err);
    }
    mvm_fail(err, rc, "share \"%s\": %s", dev->name, why.message);
    mvm_err_hint(err, "%s", why.hint);
    return rc;
}

const char *mvm__share_driver(mvm_vm *vm, const mvm_record *record)
{
    const mvm__run *run = mvm__run_of(vm);
    const mvm__dev *dev = run ? mvm__dev_of(run, record) : NULL;
    const share *s = dev ? dev->data : NULL;

    if (!s)
        return NULL;
    return s->virtiofs ? "virtiofs" : "9p";
}

const char *mvm__share_sandbox(const mvm__dev *dev)
{
    const share *s = dev->data;

    return s->virtiofs ? s->plan.sandbox : "qemu";
}

/* ---- the server ------------------------------------------------------------------------------ */

static void on_lost(void *ud)
{
    mvm__dev *dev = ud;
    share *s = dev->data;
    mvm_err err;

    s->lost = NULL;
    if (s->told || !s->end[0])
        err = s->why;
    else if (s->why.code)
        mvm_fail(&err, MVM_EBACKEND, "%s, and %s: what uses it in the guest may hang", s->end,
                 s->why.message);
    else
        mvm_fail(&err, MVM_EBACKEND, "%s%s", s->end,
                 mvm__fs_relay_fails(s->relay) ? "; what uses it in the guest fails" : "");
    s->told = true;
    mvm__vm_on_device_lost(dev->run->vm, dev->record, &err);
}

/* When QEMU ends or lets go of the device the others end too, and may be noticed first. */
static void begin_lost(mvm__dev *dev, share *s)
{
    if (!s->lost && !dev->unplugged && !dev->run->killed && !dev->run->ended[0])
        s->lost =
            mvm_timer_start(mvm_lab_loop(mvm_vm_lab(dev->run->vm)), LOST_SECONDS, on_lost, dev);
}

static void on_server_exit(void *ud, int status, int signum)
{
    mvm__dev *dev = ud;
    share *s = dev->data;
    char words[512], how[64];

    mvm__proc_errors(s->server, words, sizeof(words));
    if (signum > 0)
        snprintf(how, sizeof(how), "was killed by signal %d", signum);
    else
        snprintf(how, sizeof(how), "ended with status %d", status);
    snprintf(s->end, sizeof(s->end), "virtiofsd %s%s%s", how, words[0] ? ": " : "", words);
    if (!s->told)
        begin_lost(dev, s);
}

static void on_relay_lost(void *ud, const mvm_err *err)
{
    mvm__dev *dev = ud;
    share *s = dev->data;

    s->why = *err;
    begin_lost(dev, s);
}

/* virtiofsd takes one connection, which is there before it is. */
static int connect_server(mvm__dev *dev, share *s, mvm_err *err)
{
    const char *dir = mvm_lab_dir(mvm_vm_lab(dev->run->vm), err);
    char name[32];
    MVM_AUTO_FD int fd = dir ? mvm__dev_listen(dev, name, err) : -1;

    if (fd < 0)
        return -1;
    MVM_AUTO_FREE char *path = mvm__asprintf("%s/%s", dir, name);
    MVM_AUTO_FD int connection = mvm__sock_dial(path, err);
    mvm__dev_unlink(dev, name);
    if (connection < 0)
        return -1;
    s->server = mvm__virtiofsd_start(&s->plan, mvm_lab_loop(mvm_vm_lab(dev->run->vm)), fd,
                                     on_server_exit, dev, err);
    return s->server ? mvm__steal_fd(connection) : -1;
}

static int start_server(mvm__dev *dev, share *s, mvm_err *err)
{
    MVM_AUTO_FD int connection = connect_server(dev, s, err);
    int fd = connection < 0 ? -1 : mvm__dev_listen(dev, s->socket, err);

    if (fd < 0)
        return err ? err->code : MVM_EIO;
    s->relay = mvm__fs_relay_new(mvm_lab_loop(mvm_vm_lab(dev->run->vm)), fd,
                                 mvm__steal_fd(connection), on_relay_lost, dev, err);
    return s->relay ? 0 : err ? err->code : MVM_EIO;
}

/* ---- the device ------------------------------------------------------------------------------ */

static int prepare(mvm__dev *dev, mvm_err *err)
{
    share *s = mvm__alloc(sizeof(*s));

    dev->data = s;
    int rc = choose(dev, s, err);
    if (rc != 0)
        return rc;
    if (s->virtiofs)
        return start_server(dev, s, err);
    if (!dev->hot)
        return 0;
    mvm_fail(err, MVM_EUNSUPPORTED,
             "share \"%s\": QEMU can't be given a 9p share while the machine runs", dev->name);
    mvm_err_hint(err, "attach it before the start, or install virtiofsd");
    return MVM_EUNSUPPORTED;
}

static void parts_virtiofs(mvm__dev *dev, const share *s, mvm_qemu_parts *p)
{
    char socket[32];

    snprintf(socket, sizeof(socket), "%s-socket", dev->id);
    mvm_qemu_part_add(p, MVM_QEMU_CHARDEV, "socket", socket);
    mvm_qemu_key_text(p, "path", s->socket);
    mvm__dev_removable(dev);
    mvm__dev_pci(dev, p, "vhost-user-fs-pci");
    mvm_qemu_key_text(p, "chardev", socket);
    mvm_qemu_key_text(p, "tag", mvm_record_str(dev->record, "tag"));
    /* The most that the device takes: a large read is many pages, each a descriptor. */
    mvm_qemu_key_int(p, "queue-size", 1024);
}

/* Files get their owner and mode as virtiofs gives them, as far as this user may: mapped-xattr
 * would hide both in attributes, and make plain files of symbolic links. */
static void parts_9p(mvm__dev *dev, mvm_qemu_parts *p)
{
    char fsdev[32];

    snprintf(fsdev, sizeof(fsdev), "%s-files", dev->id);
    mvm_qemu_part_add(p, MVM_QEMU_FSDEV, "local", fsdev);
    mvm_qemu_key_text(p, "path", mvm_record_str(dev->record, "path"));
    mvm_qemu_key_text(p, "security_model", "none");
    mvm_qemu_key_text(p, "multidevs", "remap");
    mvm_qemu_key_bool(p, "readonly", mvm_record_bool(dev->record, "readonly"));
    mvm__dev_removable(dev);
    mvm__dev_pci(dev, p, "virtio-9p-pci");
    mvm_qemu_key_text(p, "fsdev", fsdev);
    mvm_qemu_key_text(p, "mount_tag", mvm_record_str(dev->record, "tag"));
}

static void parts(mvm__dev *dev, mvm_qemu_parts *p)
{
    const share *s = dev->data;

    if (s->virtiofs)
        parts_virtiofs(dev, s, p);
    else
        parts_9p(dev, p);
}

/* QEMU is connected: nobody else shall be. */
static void live(mvm__dev *dev)
{
    share *s = dev->data;

    if (s->socket[0])
        mvm__dev_unlink(dev, s->socket);
    s->socket[0] = '\0';
}

static void release(mvm__dev *dev)
{
    share *s = dev->data;

    live(dev);
    mvm_timer_cancel(s->lost);
    mvm__fs_relay_free(s->relay);
    mvm__proc_free(s->server);
    mvm__free(s);
}

const mvm__dev_ops mvm__dev_share = {
    .kind = "share",
    .check = check,
    .prepare = prepare,
    .parts = parts,
    .live = live,
    .release = release,
};
