/* SPDX-License-Identifier: MIT */
/* What is in a disk image, and making it larger while no machine uses it. Any thread. */
#include "vm/image.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "wire/qcow2.h"

static int fail_io(const char *verb, const char *path, mvm_err *err)
{
    return mvm_fail(err, MVM_EIO, "can't %s %s: %s", verb, path, strerror(errno));
}

static bool is_qcow2(const char *format)
{
    return strcmp(format, "qcow2") == 0;
}

bool mvm__image_like_qcow2(const char *path)
{
    uint8_t head[4];
    MVM_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

    return fd >= 0 && pread(fd, head, sizeof(head), 0) == 4 && mvm_qcow2_magic(head, 4);
}

/* A file that the header names would be opened by QEMU; the script has named none. */
static int read_qcow2(int fd, const char *path, mvm_qcow2 *image, mvm_err *err)
{
    uint8_t head[MVM_QCOW2_HEADER] = {0};

    if (pread(fd, head, sizeof(head), 0) < 0)
        return fail_io("read", path, err);
    const char *wrong = mvm_qcow2_parse(head, image);
    if (wrong) {
        mvm_fail(err, MVM_ECONFIG, "%s %s", path, wrong);
        if (!mvm_qcow2_magic(head, sizeof(head)))
            mvm_err_hint(err, "format = \"raw\" takes any file as it is");
        return MVM_ECONFIG;
    }
    if (image->encrypted)
        return mvm_fail(err, MVM_ECONFIG, "%s is encrypted, which macvm has no key for", path);
    if (!image->backing && !image->external)
        return 0;
    mvm_fail(err, MVM_ECONFIG, "%s %s", path,
             image->backing ? "is laid over another image, which its header names"
                            : "keeps its data in another file, which its header names");
    mvm_err_hint(err, "`qemu-img convert -O qcow2` makes one that stands alone; "
                      "ephemeral = true lays writes over an image");
    return MVM_ECONFIG;
}

static int size_of(int fd, const char *path, const char *format, int64_t *size, mvm_err *err)
{
    mvm_qcow2 image = {0};
    struct stat st;

    if (fstat(fd, &st) != 0)
        return fail_io("read", path, err);
    if (!S_ISREG(st.st_mode))
        return mvm_fail(err, MVM_ECONFIG, "%s is not a regular file", path);
    if (!is_qcow2(format)) {
        *size = st.st_size;
        return 0;
    }
    int rc = read_qcow2(fd, path, &image, err);
    if (rc == 0)
        *size = image.size;
    return rc;
}

/* A named pipe in its place is no reason to wait. */
int mvm__image_size(const char *path, const char *format, int64_t *size, mvm_err *err)
{
    MVM_AUTO_FD int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

    return fd < 0 ? fail_io("open", path, err) : size_of(fd, path, format, size, err);
}

/* ---- growing ------------------------------------------------------------------------- */

static int write_zeros(int fd, uint64_t from, uint64_t to)
{
    static const uint8_t zeros[4096];

    while (from < to) {
        size_t n = (size_t)MVM_MIN(to - from, (uint64_t)sizeof(zeros));
        if (pwrite(fd, zeros, n, (off_t)from) != (ssize_t)n)
            return -1;
        from += n;
    }
    return fdatasync(fd);
}

/* The new entries of the first-level table are in a cluster that it has already: first they are
 * cleared, then one small write in the header makes them count. */
static int grow_qcow2(int fd, const char *path, int64_t size, mvm_err *err)
{
    mvm_qcow2 image = {0};
    uint8_t bytes[16];
    struct stat st;
    int rc = read_qcow2(fd, path, &image, err);

    if (rc != 0)
        return rc;
    if (!image.plain || size > mvm_qcow2_room(&image)) {
        mvm_fail(err, MVM_EUNSUPPORTED, "%s can't be grown so while its machine is down", path);
        mvm_err_hint(err, "disk:resize on the running machine does it, or `qemu-img resize`");
        return MVM_EUNSUPPORTED;
    }
    uint32_t entries = mvm_qcow2_resized(&image, size, bytes);
    if (fstat(fd, &st) != 0 || (uint64_t)st.st_size < image.l1_offset)
        return mvm_fail(err, MVM_ECONFIG, "%s is cut off", path);
    if (write_zeros(fd, image.l1_offset + 8 * (uint64_t)image.l1_entries,
                    image.l1_offset + 8 * (uint64_t)entries) != 0 ||
        pwrite(fd, bytes, sizeof(bytes), MVM_QCOW2_SIZE_AT) != (ssize_t)sizeof(bytes) ||
        fdatasync(fd) != 0)
        return fail_io("grow", path, err);
    return 0;
}

int mvm__image_grow(const char *path, const char *format, int64_t size, mvm_err *err)
{
    int64_t now = 0;
    MVM_AUTO_FD int fd = open(path, O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return fail_io("open", path, err);
    if (!mvm__image_lock(fd)) {
        if (mvm__image_free(path, true, err) != 0)
            return MVM_ECONFIG;
        return mvm_fail(err, MVM_ECONFIG, "%s is in use", path);
    }
    int rc = size_of(fd, path, format, &now, err);
    if (rc != 0 || now >= size)
        return rc;
    if (is_qcow2(format))
        return grow_qcow2(fd, path, size, err);
    return ftruncate(fd, size) == 0 ? 0 : fail_io("grow", path, err);
}
