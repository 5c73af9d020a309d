/* SPDX-License-Identifier: MIT */
/*
 * virtiofsd: which of the two it is, in which sandbox it can run for this user, and its command
 * line. One process serves one share and dies with this process. Loop thread only.
 */
#include "backend/qemu/virtiofsd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "base/buf.h"

#define HELP_SECONDS 10
/* The one in C gives its groups away before anything else, even before it prints its help, which an
 * ordinary user may not. */
#define OLD_FOR_ROOT "QEMU's old virtiofsd runs for root only"

bool mvm__virtiofsd_find(char *path, size_t cap)
{
    /* Debian 13 and Fedora; Debian 12; Arch; built by hand. */
    static const char *const places[] = {"virtiofsd", "/usr/libexec/virtiofsd",
                                         "/usr/lib/qemu/virtiofsd", "/usr/lib/virtiofsd",
                                         "/usr/local/libexec/virtiofsd"};

    for (size_t i = 0; i < MVM_COUNT(places); i++)
        if (mvm__proc_which(places[i], path, cap))
            return true;
    return false;
}

/* ---- which one -------------------------------------------------------------------------- */

static int unsupported(mvm_err *err, const char *why)
{
    mvm_fail(err, MVM_EUNSUPPORTED, "%s", why);
    mvm_err_hint(err, "install virtiofsd (Debian 13, Fedora), or use driver = \"9p\"");
    return MVM_EUNSUPPORTED;
}

/* By its help, read once: versions count differently, and options came one by one. */
static int identify(mvm__virtiofsd *plan, mvm_err *err)
{
    static char known[sizeof(plan->program)];
    static bool rust, readonly;
    char help[32768];
    int status = 0;

    if (strcmp(known, plan->program) != 0) {
        const char *argv[] = {plan->program, "--help", NULL};
        int rc = mvm__proc_output(argv, HELP_SECONDS, help, sizeof(help), &status, err);
        if (rc != 0)
            return rc;
        rust = strstr(help, "--shared-dir") != NULL;
        readonly = strstr(help, "--readonly") != NULL;
        if (!help[0] && geteuid() != 0)
            return unsupported(err, OLD_FOR_ROOT);
        if (!rust && !strstr(help, "-o source=")) {
            mvm_fail(err, MVM_EUNSUPPORTED, "%s is not a virtiofsd that macvm knows",
                     plan->program);
            return MVM_EUNSUPPORTED;
        }
        snprintf(known, sizeof(known), "%s", plan->program);
    }
    plan->rust = rust;
    plan->has_readonly = readonly;
    return 0;
}

/* ---- which sandbox ------------------------------------------------------------------------ */

static bool try_jail(mvm__virtiofsd *plan, bool readonly)
{
    mvm__jail_init(&plan->jail, plan->path, readonly);
    plan->jailed = plan->jail.own_user || readonly;
    switch (mvm__jail_probe(&plan->jail)) {
    case MVM__JAIL_NAMESPACE:
        plan->sandbox = "namespace";
        return true;
    case MVM__JAIL_CHROOT:
        plan->sandbox = "chroot";
        return true;
    default:
        return false;
    }
}

/* In a user namespace of an ordinary user the kernel refuses what the one in C does first: whoever
 * is in a group could lose rights that it withholds. */
static bool groups_stand_in_the_way(const mvm__virtiofsd *plan)
{
    return !plan->rust && geteuid() != 0 && getgroups(0, NULL) > 0;
}

static int choose_sandbox(mvm__virtiofsd *plan, bool readonly, mvm_err *err)
{
    if (groups_stand_in_the_way(plan))
        return unsupported(err, OLD_FOR_ROOT);
    if (try_jail(plan, readonly))
        return 0;
    plan->tell_readonly = readonly;
    if (readonly && !plan->has_readonly)
        return unsupported(err, "the host allows no mount namespace, which a readonly share needs");
    if (readonly && try_jail(plan, false))
        return 0;
    if (!plan->rust)
        return unsupported(err, "the host allows virtiofsd neither namespaces nor chroot");
    plan->jailed = false;
    plan->sandbox = "none";
    return 0;
}

int mvm__virtiofsd_plan(mvm__virtiofsd *plan, const char *dir, bool readonly, mvm_err *err)
{
    char buffer[PATH_MAX];

    *plan = (mvm__virtiofsd){0};
    if (!mvm__virtiofsd_find(plan->program, sizeof(plan->program)))
        return unsupported(err, "virtiofsd is not installed");
    if (!realpath(dir, buffer) || strlen(buffer) >= sizeof(plan->path))
        return mvm_fail(err, MVM_ECONFIG, "%s: %s", dir, strerror(errno));
    snprintf(plan->path, sizeof(plan->path), "%s", buffer);
    int rc = identify(plan, err);
    return rc == 0 ? choose_sandbox(plan, readonly, err) : rc;
}

/* ---- running ------------------------------------------------------------------------------- */

/* Commas part the options of the one in C; it takes a backslash before one as it is. */
static char *source_option(const char *path)
{
    mvm__buf out = {0};

    mvm__buf_printf(&out, "source=");
    for (; *path; path++)
        mvm__buf_printf(&out, *path == ',' || *path == '\\' ? "\\%c" : "%c", *path);
    char *text = mvm__strdup(mvm__buf_str(&out));
    mvm__buf_free(&out);
    return text;
}

/*
 * cache=auto: what the host changes is seen within a second, and what is read twice comes from the
 * guest's memory. Extended attributes stay off: the guest asks for one at every write. The number
 * of threads stays its own choice: one.
 */
char **mvm__virtiofsd_argv(const mvm__virtiofsd *plan)
{
    char **argv = mvm__alloc(16 * sizeof(*argv));
    size_t n = 0;

    argv[n++] = mvm__strdup(plan->program);
    argv[n++] = mvm__strdup("--fd=3");
    if (plan->rust) {
        argv[n++] = mvm__asprintf("--shared-dir=%s", plan->path);
        argv[n++] = mvm__asprintf("--sandbox=%s", plan->sandbox);
        argv[n++] = mvm__strdup("--cache=auto");
        argv[n++] = mvm__strdup("--log-level=error");
        if (plan->tell_readonly)
            argv[n++] = mvm__strdup("--readonly");
    } else {
        argv[n++] = mvm__strdup("-o");
        argv[n++] = source_option(plan->path);
        argv[n++] = mvm__strdup("-o");
        argv[n++] =
            mvm__asprintf("sandbox=%s,cache=auto,announce_submounts,log_level=warn", plan->sandbox);
    }
    return argv;
}

void mvm__virtiofsd_argv_free(char **argv)
{
    for (char **word = argv; *word; word++)
        mvm__free(*word);
    mvm__free(argv);
}

mvm__proc *mvm__virtiofsd_start(const mvm__virtiofsd *plan, mvm_loop *loop, int listen_fd,
                                mvm__proc_exit_fn on_exit, void *ud, mvm_err *err)
{
    char **argv = mvm__virtiofsd_argv(plan);

    /* It waits in accept(), and takes an empty queue for an error. */
    fcntl(listen_fd, F_SETFL, fcntl(listen_fd, F_GETFL) & ~O_NONBLOCK);
    mvm__proc *proc = mvm__proc_spawn(loop,
                                      &(mvm__proc_spec){
                                          .argv = (const char *const *)argv,
                                          .cwd = "/",
                                          .fds = &listen_fd,
                                          .nfds = 1,
                                          .enter = plan->jailed ? mvm__jail_enter : NULL,
                                          .enter_arg = &plan->jail,
                                          .on_exit = on_exit,
                                          .ud = ud,
                                      },
                                      err);
    mvm__virtiofsd_argv_free(argv);
    return proc;
}
