/* SPDX-License-Identifier: MIT */
/*
 * Empty disk images. A raw one is a hole; an empty qcow2 is a header, a table of reference counts
 * and an empty first-level table, simple enough to be written here, so that making one needs no
 * program and takes no time. The file gets its name when it is complete (where the file system can
 * do that), so a crash leaves nothing half made. Overlays never get a name there. Any thread.
 */
#include "backend/qemu/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"

#define CLUSTER_BITS 16
#define CLUSTER      (1u << CLUSTER_BITS)
#define L2_SPAN      ((uint64_t)CLUSTER * (CLUSTER / 8)) /* disk bytes behind one L1 entry */

static void be16(uint8_t *at, uint16_t v)
{
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
}

static void be32(uint8_t *at, uint32_t v)
{
    be16(at, (uint16_t)(v >> 16));
    be16(at + 2, (uint16_t)v);
}

static void be64(uint8_t *at, uint64_t v)
{
    be32(at, (uint32_t)(v >> 32));
    be32(at + 4, (uint32_t)v);
}

/* Clusters: 0 header, 1 reference count table, 2 reference count block, from 3 on the L1 table. The
 * fields are those of QEMU's docs/interop/qcow2.txt, version 3. */
static int write_qcow2(int fd, uint64_t size)
{
    uint64_t l1_entries = (size + L2_SPAN - 1) / L2_SPAN;
    uint64_t clusters = 3 + (l1_entries * 8 + CLUSTER - 1) / CLUSTER;
    uint8_t head[112] = {0}, table[8] = {0};
    uint8_t *counts = mvm__alloc(CLUSTER);

    be32(head, 0x514649fb); /* "QFI\xfb" */
    be32(head + 4, 3);
    be32(head + 20, CLUSTER_BITS);
    be64(head + 24, size);
    be32(head + 36, (uint32_t)l1_entries);
    be64(head + 40, 3 * (uint64_t)CLUSTER); /* L1 table */
    be64(head + 48, CLUSTER);               /* reference count table */
    be32(head + 56, 1);                     /* its clusters */
    be32(head + 96, 4);                     /* 16-bit reference counts */
    be32(head + 100, 104);                  /* length of the header; an end mark follows */
    be64(table, 2 * (uint64_t)CLUSTER);
    for (uint64_t i = 0; i < clusters; i++)
        be16(counts + 2 * i, 1);
    bool ok = ftruncate(fd, (off_t)(clusters * CLUSTER)) == 0 &&
              pwrite(fd, head, sizeof(head), 0) == (ssize_t)sizeof(head) &&
              pwrite(fd, table, sizeof(table), CLUSTER) == (ssize_t)sizeof(table) &&
              pwrite(fd, counts, CLUSTER, 2 * CLUSTER) == (ssize_t)CLUSTER;
    mvm__free(counts);
    return ok ? 0 : -1;
}

static int fill(int fd, const char *format, int64_t size)
{
    return strcmp(format, "qcow2") == 0 ? write_qcow2(fd, (uint64_t)size) : ftruncate(fd, size);
}

static int failed(const char *path, mvm_err *err)
{
    return mvm_fail(err, MVM_EIO, "can't create %s: %s", path, strerror(errno));
}

#ifdef O_TMPFILE
/* 1: this file system has no nameless files. */
static int create_nameless(const char *path, const char *format, int64_t size, mvm_err *err)
{
    char dir[4096], self[64];
    const char *slash = strrchr(path, '/');

    snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
    MVM_AUTO_FD int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
    if (fd < 0)
        return 1;
    if (fill(fd, format, size) != 0)
        return failed(path, err);
    snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0 || errno == EEXIST)
        return 0;
    return 1;
}
#else
static int create_nameless(const char *path, const char *format, int64_t size, mvm_err *err)
{
    (void)path;
    (void)format;
    (void)size;
    (void)err;
    return 1;
}
#endif

int mvm__disk_create(const char *path, const char *format, int64_t size, mvm_err *err)
{
    if (access(path, F_OK) == 0)
        return 0;
    int rc = create_nameless(path, format, size, err);
    if (rc <= 0)
        return rc;
    MVM_AUTO_FD int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);
    if (fd < 0)
        return errno == EEXIST ? 0 : failed(path, err);
    if (fill(fd, format, size) != 0) {
        rc = failed(path, err);
        unlink(path);
        return rc;
    }
    return 0;
}

/* ---- overlays ---------------------------------------------------------------------- */

#ifdef O_TMPFILE
/* In the first place of: $TMPDIR, /var/tmp, which outlives a reboot and so is seldom in memory, and
 * the private directory. QEMU, a child of ours, opens it by our descriptor's name in /proc. */
static int overlay_nameless(mvm__overlay *overlay, const char *dir)
{
    const char *const places[] = {getenv("TMPDIR"), "/var/tmp", dir};

    for (size_t i = 0; i < MVM_COUNT(places); i++) {
        if (!places[i] || places[i][0] != '/')
            continue;
        overlay->fd = open(places[i], O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
        if (overlay->fd < 0)
            continue;
        overlay->path = mvm__asprintf("/proc/%ld/fd/%d", (long)getpid(), overlay->fd);
        return 0;
    }
    return -1;
}
#else
static int overlay_nameless(mvm__overlay *overlay, const char *dir)
{
    (void)overlay;
    (void)dir;
    return -1;
}
#endif

/* Without nameless files: one in the private directory, with which it goes. */
static int overlay_named(mvm__overlay *overlay, const char *dir, mvm_err *err)
{
    overlay->path = mvm__asprintf("%s/overlay-XXXXXX", dir);
    overlay->fd = mkstemp(overlay->path);
    overlay->named = overlay->fd >= 0;
    return overlay->fd >= 0 ? 0 : failed(overlay->path, err);
}

/* The guest sees whole blocks: of a raw image that ends within one, the rest reads as zeros. */
int mvm__overlay_make(const char *dir, int64_t size, mvm__overlay *out, mvm_err *err)
{
    size = (size + 511) / 512 * 512;
    *out = (mvm__overlay){.fd = -1};
    int rc = overlay_nameless(out, dir) == 0 ? 0 : overlay_named(out, dir, err);
    if (rc == 0 && write_qcow2(out->fd, (uint64_t)size) != 0)
        rc = failed("an overlay", err);
    if (rc != 0)
        mvm__overlay_free(out);
    return rc;
}

void mvm__overlay_free(mvm__overlay *overlay)
{
    if (overlay->named)
        unlink(overlay->path);
    if (overlay->fd >= 0)
        close(overlay->fd);
    mvm__free(overlay->path);
    *overlay = (mvm__overlay){.fd = -1};
}
