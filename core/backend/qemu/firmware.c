/* SPDX-License-Identifier: MIT */
/*
 * EFI firmware is two flash memories: its code, which all machines read, and its variables, a file
 * of the machine's own. Variables that a configuration names are made once, from the firmware's
 * template, and kept; others are a private copy that goes with the run, and so outlive a reboot but
 * not a stop. QEMU lets two machines write to one file, so it is locked here, against those of
 * other processes too. Loop thread only.
 */
#include "backend/qemu/firmware.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/qemu/run.h"
#include "base/base.h"
#include "mvm/lab.h"

/* ---- finding -------------------------------------------------------------------------- */

/* Where this QEMU keeps its own data: beside the program. */
static void data_path(const char *name, char *path, size_t cap)
{
    char binary[4096] = "";

    (void)mvm__proc_which(mvm__arch_of(NULL)->binary, binary, sizeof(binary));
    const char *slash = strrchr(binary, '/');
    snprintf(path, cap, "%.*s/../share/qemu/%s", slash ? (int)(slash - binary) : 1,
             slash ? binary : ".", name);
}

static bool find_file(const char *place, char path[MVM__FIRMWARE_PATH])
{
    if (place[0] == '+')
        data_path(place + 2, path, MVM__FIRMWARE_PATH);
    else
        snprintf(path, MVM__FIRMWARE_PATH, "%s", place);
    return access(path, R_OK) == 0;
}

int mvm__firmware_find(const mvm__arch *arch, mvm__firmware *out, mvm_err *err)
{
    for (size_t i = 0; arch->efi[i][0]; i++)
        if (find_file(arch->efi[i][0], out->code) && find_file(arch->efi[i][1], out->template))
            return 0;
    mvm_fail(err, MVM_EUNSUPPORTED, "there is no EFI firmware for %s on this host", arch->name);
    mvm_err_hint(err, "apt-get install %s", arch->efi_package);
    return MVM_EUNSUPPORTED;
}

/*
 * The small firmware that comes with QEMU: it gets to the kernel a little sooner than SeaBIOS, and
 * it survives a reset: with SeaBIOS 1.16 one reboot of such a machine was followed by 20 to 90
 * further resets before the kernel ran again.
 */
bool mvm__firmware_qboot(char *path, size_t cap)
{
    data_path("qboot.rom", path, cap);
    if (access(path, R_OK) == 0)
        return true;
    snprintf(path, cap, "/usr/share/qboot/qboot.rom");
    return access(path, R_OK) == 0;
}

/* ---- the variables ------------------------------------------------------------------------ */

static const char *wanted(mvm_vm *vm)
{
    const mvm_record *boot = mvm_record_peek(mvm_vm_config(vm), "boot");

    return boot ? mvm_record_str(boot, "variables") : NULL;
}

static int bad(mvm_err *err, const char *path, const char *why, const char *hint)
{
    mvm_fail(err, MVM_ECONFIG, "%s: %s", path, why);
    mvm_err_field(err, "boot.variables");
    mvm_err_hint(err, "%s", hint);
    return MVM_ECONFIG;
}

/* A flash memory has the size of the file, and the firmware wants its own. */
static int check_store(const char *path, const char *template, mvm_err *err)
{
    struct stat st, fresh;

    if (stat(path, &st) != 0)
        return bad(err, path, strerror(errno), "a file that you may write");
    if (!S_ISREG(st.st_mode))
        return bad(err, path, S_ISDIR(st.st_mode) ? "is a directory" : "is not a regular file",
                   "the file that keeps the variables");
    if (access(path, W_OK) != 0)
        return bad(err, path, strerror(errno), "a file that you may write");
    if (stat(template, &fresh) != 0 || fresh.st_size == st.st_size)
        return 0;
    mvm_fail(err, MVM_ECONFIG, "%s: has %lld bytes, the variables of this firmware have %lld", path,
             (long long)st.st_size, (long long)fresh.st_size);
    mvm_err_field(err, "boot.variables");
    mvm_err_hint(err, "a file that is not there is made");
    return MVM_ECONFIG;
}

static int check_directory(const char *path, mvm_err *err)
{
    const char *slash = strrchr(path, '/');
    MVM_AUTO_FREE char *dir =
        slash ? mvm__asprintf("%.*s", (int)MVM_MAX(slash - path, 1), path) : mvm__strdup(".");

    if (access(dir, W_OK | X_OK) != 0)
        return bad(err, dir, strerror(errno), "a directory in which the file can be made");
    return 0;
}

int mvm__firmware_check(mvm_vm *vm, mvm_err *err)
{
    const char *path = wanted(vm);
    mvm__firmware found;
    int rc = mvm__firmware_find(mvm__arch_of(vm), &found, err);

    if (rc != 0) {
        mvm_err_field(err, "guest");
        return rc;
    }
    if (!path)
        return 0;
    return access(path, F_OK) == 0 ? check_store(path, found.template, err)
                                   : check_directory(path, err);
}

/* Of a template that is mostly empty only what is in it: elsewhere the copy has holes. */
static bool copy(int from, int to)
{
    static const char zeros[65536];
    char block[sizeof(zeros)];
    off_t size = 0;
    ssize_t n;

    while ((n = read(from, block, sizeof(block))) > 0) {
        if (memcmp(block, zeros, (size_t)n) != 0 && pwrite(to, block, (size_t)n, size) != n)
            return false;
        size += n;
    }
    return n == 0 && ftruncate(to, size) == 0;
}

/* Under its name only when it is whole; one that somebody else made meanwhile counts. */
static int make_store(const char *template, const char *path, mvm_err *err)
{
    MVM_AUTO_FREE char *part = mvm__asprintf("%s.%ld", path, (long)getpid());
    MVM_AUTO_FD int from = open(template, O_RDONLY | O_CLOEXEC);
    MVM_AUTO_FD int to = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    bool done =
        from >= 0 && to >= 0 && copy(from, to) && (link(part, path) == 0 || errno == EEXIST);
    int why = errno;
    if (to >= 0)
        unlink(part);
    return done ? 0
                : mvm_fail(err, MVM_EIO, "can't make the firmware's variables %s: %s", path,
                           strerror(why));
}

static int lock_store(mvm__run *run, mvm_err *err)
{
    run->variables_fd = open(run->variables, O_RDWR | O_CLOEXEC);
    if (run->variables_fd < 0)
        return mvm_fail(err, MVM_EIO, "%s: %s", run->variables, strerror(errno));
    if (flock(run->variables_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    return bad(err, run->variables, "another machine that is up has these variables",
               "a machine has a file of its own");
}

int mvm__firmware_prepare(mvm__run *run, mvm_err *err)
{
    static unsigned counter; /* of this process: its machines share a directory */
    const char *path = wanted(run->vm), *dir = mvm_lab_dir(mvm_vm_lab(run->vm), err);
    mvm__firmware found;
    int rc = mvm__firmware_find(mvm__arch_of(run->vm), &found, err);

    if (rc != 0)
        return rc;
    if (!dir)
        return err ? err->code : MVM_EIO;
    run->variables_fd = -1;
    run->variables = path ? mvm__strdup(path) : mvm__asprintf("%s/vars%u.fd", dir, ++counter);
    run->own_variables = !path;
    if (access(run->variables, F_OK) != 0)
        rc = make_store(found.template, run->variables, err);
    return rc == 0 ? lock_store(run, err) : rc;
}

void mvm__firmware_release(mvm__run *run)
{
    if (!run->variables)
        return;
    if (run->own_variables)
        unlink(run->variables);
    if (run->variables_fd >= 0)
        close(run->variables_fd);
    mvm__free(run->variables);
    run->variables = NULL;
}
