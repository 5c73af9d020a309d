/* SPDX-License-Identifier: MIT */
/*
 * The memory file system of a simulated guest: a flat list of absolute paths, some directories and
 * devices that every guest has, and limits that give ENOSPC. Errors are Linux errno numbers. Files
 * of the image are shared with it until they are written. Loop thread only.
 */
#include "backend/sim/sim_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const g_dirs[] = {"/",     "/bin",  "/dev", "/etc", "/mnt", "/proc",
                                     "/root", "/sbin", "/sys", "/run", "/tmp", "/usr"};
static const char *const g_devices[] = {"/dev/null",    "/dev/zero",   "/dev/full",
                                        "/dev/urandom", "/dev/random", "/dev/console",
                                        "/dev/kmsg",    "/dev/ttyS0",  "/proc/sysrq-trigger"};

/* ---- content ------------------------------------------------------------------------ */

mvm__sim_blob *mvm__sim_blob_new(const void *data, size_t len)
{
    mvm__sim_blob *blob = mvm__alloc(sizeof(*blob));

    blob->refs = 1;
    mvm__buf_append(&blob->bytes, data, len);
    return blob;
}

mvm__sim_blob *mvm__sim_blob_ref(mvm__sim_blob *blob)
{
    blob->refs++;
    return blob;
}

void mvm__sim_blob_unref(mvm__sim_blob *blob)
{
    if (!blob || --blob->refs > 0)
        return;
    mvm__buf_free(&blob->bytes);
    mvm__free(blob);
}

/* ---- paths --------------------------------------------------------------------------- */

char *mvm__sim_path(const char *cwd, const char *path)
{
    MVM_AUTO_FREE char *whole = mvm__asprintf("%s/%s", path[0] == '/' ? "" : cwd, path);
    char *out = mvm__alloc(strlen(whole) + 2);
    size_t len = 0;

    for (const char *p = whole; *p;) {
        size_t n = strcspn(p, "/");
        if (n == 2 && memcmp(p, "..", 2) == 0) {
            while (len > 0 && out[--len] != '/')
                continue;
        } else if (n > 0 && !(n == 1 && *p == '.')) {
            out[len++] = '/';
            memcpy(out + len, p, n);
            len += n;
        }
        p += n + (p[n] == '/');
    }
    if (len == 0)
        out[len++] = '/';
    out[len] = '\0';
    return out;
}

static bool listed(const char *const *names, size_t n, const char *path)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], path) == 0)
            return true;
    return false;
}

static mvm__sim_node *find(const mvm__list *list, const char *path)
{
    mvm__list_each (it, list) {
        mvm__sim_node *node = mvm__container_of(it, mvm__sim_node, link);
        if (strcmp(node->path, path) == 0)
            return node;
    }
    return NULL;
}

/* Is `path` below the directory `dir`? */
static bool below(const char *path, const char *dir)
{
    size_t n = strlen(dir);

    if (n == 1)
        return path[1] != '\0';
    return strncmp(path, dir, n) == 0 && path[n] == '/';
}

static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == path ? mvm__strdup("/") : mvm__strndup(path, (size_t)(slash - path));
}

static mvm__sim_node *add(mvm__list *list, const char *path, bool dir, int perm)
{
    mvm__sim_node *node = mvm__alloc(sizeof(*node));

    node->path = mvm__strdup(path);
    node->dir = dir;
    node->perm = perm;
    if (!dir)
        node->blob = mvm__sim_blob_new("", 0);
    mvm__list_append(list, &node->link);
    return node;
}

static void drop(mvm__sim_node *node)
{
    mvm__list_remove(&node->link);
    mvm__sim_blob_unref(node->blob);
    mvm__free(node->path);
    mvm__free(node);
}

void mvm__sim_files_clear(mvm__list *list)
{
    mvm__list_each (it, list)
        drop(mvm__container_of(it, mvm__sim_node, link));
}

/* Files that the kernel makes up. */
static bool special(mvm__sim *sim, const char *path, char *out, size_t cap)
{
    if (strcmp(path, "/etc/hostname") == 0 || strcmp(path, "/proc/sys/kernel/hostname") == 0) {
        snprintf(out, cap, "%s\n", mvm__sim_hostname(sim));
    } else if (strcmp(path, "/proc/uptime") == 0) {
        double now = mvm__sim_clock_now(&sim->clock);
        snprintf(out, cap, "%.2f %.2f\n", now, now);
    } else if (strcmp(path, "/proc/version") == 0) {
        snprintf(out, cap, "Linux version 6.1.0-sim (macvm sim)\n");
    } else if (strcmp(path, "/proc/sys/kernel/random/uuid") == 0) {
        uint64_t a = mvm__sim_random(sim), b = mvm__sim_random(sim);
        snprintf(out, cap, "%08x-%04x-4%03x-8%03x-%012llx\n", (unsigned)(a >> 32),
                 (unsigned)(a >> 16) & 0xffff, (unsigned)a & 0xfff, (unsigned)(b >> 52),
                 (unsigned long long)b & 0xffffffffffff);
    } else {
        return false;
    }
    return true;
}

int mvm__sim_kind(mvm__sim *sim, const char *path)
{
    char text[128];
    const mvm__sim_node *node = find(&sim->files, path);

    if (node)
        return node->dir ? 'd' : 'f';
    if (listed(g_dirs, MVM_COUNT(g_dirs), path))
        return 'd';
    if (listed(g_devices, MVM_COUNT(g_devices), path))
        return 'c';
    return special(sim, path, text, sizeof(text)) ? 'f' : 0;
}

int mvm__sim_perm(mvm__sim *sim, const char *path)
{
    const mvm__sim_node *node = find(&sim->files, path);

    if (node)
        return node->perm;
    return mvm__sim_kind(sim, path) == 'd' ? 0755 : mvm__sim_kind(sim, path) == 'c' ? 0666 : 0444;
}

int mvm__sim_chmod(mvm__sim *sim, const char *path, int perm)
{
    mvm__sim_node *node = find(&sim->files, path);

    if (!node)
        return mvm__sim_kind(sim, path) ? EPERM : ENOENT;
    node->perm = perm & 07777;
    return 0;
}

/* ---- reading --------------------------------------------------------------------------- */

int mvm__sim_open(mvm__sim *sim, const char *path, mvm__sim_source *source)
{
    const mvm__sim_node *node = find(&sim->files, path);
    char text[128];

    *source = (mvm__sim_source){.kind = MVM__SIM_BLOB};
    if (node && !node->dir)
        source->blob = mvm__sim_blob_ref(node->blob);
    else if (mvm__sim_kind(sim, path) == 'd')
        return EISDIR;
    else if (strcmp(path, "/dev/zero") == 0 || strcmp(path, "/dev/full") == 0)
        source->kind = MVM__SIM_ZERO;
    else if (strcmp(path, "/dev/urandom") == 0 || strcmp(path, "/dev/random") == 0)
        source->kind = MVM__SIM_RANDOM;
    else if (special(sim, path, text, sizeof(text)))
        source->blob = mvm__sim_blob_new(text, strlen(text));
    else if (strcmp(path, "/dev/null") == 0)
        source->blob = mvm__sim_blob_new("", 0);
    else
        return mvm__sim_kind(sim, path) == 'c' ? EACCES : ENOENT;
    return 0;
}

size_t mvm__sim_read(mvm__sim *sim, mvm__sim_source *source, char *out, size_t len)
{
    if (source->kind == MVM__SIM_ZERO) {
        memset(out, 0, len);
        return len;
    }
    if (source->kind == MVM__SIM_RANDOM) {
        for (size_t i = 0; i < len; i++)
            out[i] = (char)mvm__sim_random(sim);
        return len;
    }
    size_t n = MVM_MIN(len, mvm__buf_len(&source->blob->bytes) - source->pos);
    if (n > 0)
        memcpy(out, mvm__buf_ptr(&source->blob->bytes) + source->pos, n);
    source->pos += n;
    return n;
}

void mvm__sim_source_close(mvm__sim_source *source)
{
    mvm__sim_blob_unref(source->blob);
    source->blob = NULL;
}

/* ---- writing ---------------------------------------------------------------------------- */

int mvm__sim_may_write(mvm__sim *sim, const char *path)
{
    MVM_AUTO_FREE char *parent = parent_of(path);
    int kind = mvm__sim_kind(sim, parent);

    if (kind != 'd')
        return kind ? ENOTDIR : ENOENT;
    kind = mvm__sim_kind(sim, path);
    if (kind == 'd')
        return EISDIR;
    if (kind == 'c' || below(path, "/proc") || below(path, "/sys"))
        return EACCES;
    return 0;
}

int mvm__sim_room(mvm__sim *sim, const char *path, size_t more)
{
    const mvm__sim_node *mount = NULL;
    size_t used = more;

    mvm__list_each (it, &sim->files) {
        const mvm__sim_node *node = mvm__container_of(it, mvm__sim_node, link);
        if (node->limit > 0 && below(path, node->path) &&
            (!mount || strlen(node->path) > strlen(mount->path)))
            mount = node;
    }
    mvm__list_each (it, &sim->files) {
        const mvm__sim_node *node = mvm__container_of(it, mvm__sim_node, link);
        if (!node->dir && (!mount || below(node->path, mount->path)))
            used += mvm__buf_len(&node->blob->bytes);
    }
    /* Half of its memory, as a root file system in RAM has it. */
    size_t limit =
        mount ? mount->limit : (size_t)mvm_record_int(mvm_vm_config(sim->vm), "memory") / 2;
    return used > limit ? ENOSPC : 0;
}

int mvm__sim_store(mvm__sim *sim, const char *path, mvm__sim_blob *blob, int perm)
{
    int error = mvm__sim_may_write(sim, path);

    if (error == 0)
        error = mvm__sim_room(sim, path, mvm__buf_len(&blob->bytes));
    if (error != 0) {
        mvm__sim_blob_unref(blob);
        return error;
    }
    mvm__sim_node *node = find(&sim->files, path);
    if (!node)
        node = add(&sim->files, path, false, perm >= 0 ? perm : 0644);
    if (perm >= 0)
        node->perm = perm;
    mvm__sim_blob_unref(node->blob);
    node->blob = blob;
    return 0;
}

int mvm__sim_truncate(mvm__sim *sim, const char *path, bool append)
{
    if (mvm__sim_kind(sim, path) == 'c')
        return 0;
    int error = mvm__sim_may_write(sim, path);
    if (error != 0 || (append && find(&sim->files, path)))
        return error;
    return mvm__sim_store(sim, path, mvm__sim_blob_new("", 0), -1);
}

static int device_write(mvm__sim *sim, const char *path, const char *data, size_t len)
{
    if (strcmp(path, "/dev/full") == 0)
        return ENOSPC;
    if (strcmp(path, "/dev/kmsg") == 0)
        mvm__sim_kmsg(sim, "%.*s", (int)strcspn(data, "\n"), data);
    else if (strcmp(path, "/dev/console") == 0 || strcmp(path, "/dev/ttyS0") == 0)
        mvm__sim_console_print(sim, data, len);
    else if (strcmp(path, "/proc/sysrq-trigger") == 0 && len > 0) {
        if (data[0] == 'c')
            mvm__sim_panic(sim, "sysrq triggered crash");
        else if (data[0] == 'b' || data[0] == 'o')
            mvm__sim_power(sim, data[0] == 'b');
    }
    return 0;
}

int mvm__sim_append(mvm__sim *sim, const char *path, const void *data, size_t len)
{
    mvm__sim_node *node = find(&sim->files, path);

    if (!node) {
        MVM_AUTO_FREE char *text = mvm__strndup(data, len);
        return mvm__sim_kind(sim, path) == 'c' ? device_write(sim, path, text, len) : ENOENT;
    }
    int error = mvm__sim_room(sim, path, len);
    if (error != 0)
        return error;
    if (node->blob->refs > 1) {
        mvm__sim_blob *own =
            mvm__sim_blob_new(mvm__buf_ptr(&node->blob->bytes), mvm__buf_len(&node->blob->bytes));
        mvm__sim_blob_unref(node->blob);
        node->blob = own;
    }
    mvm__buf_append(&node->blob->bytes, data, len);
    return 0;
}

int mvm__sim_mkdir(mvm__sim *sim, const char *path, size_t limit)
{
    mvm__sim_node *node = find(&sim->files, path);

    if (limit > 0 && node && node->dir) {
        node->limit = limit; /* mounted over */
        return 0;
    }
    if (mvm__sim_kind(sim, path))
        return EEXIST;
    int error = mvm__sim_may_write(sim, path);
    if (error == 0)
        add(&sim->files, path, true, 0755)->limit = limit;
    return error;
}

int mvm__sim_remove(mvm__sim *sim, const char *path, bool recursive)
{
    mvm__sim_node *node = find(&sim->files, path);

    if (!node)
        return mvm__sim_kind(sim, path) ? EBUSY : ENOENT;
    if (node->dir && !recursive)
        return EISDIR;
    if (node->dir)
        mvm__list_each (it, &sim->files) {
            mvm__sim_node *inner = mvm__container_of(it, mvm__sim_node, link);
            if (below(inner->path, path))
                drop(inner);
        }
    drop(node);
    return 0;
}

/* ---- the image and listing ------------------------------------------------------------------ */

void mvm__sim_image_add(mvm__sim *sim, const char *path, const void *data, size_t len)
{
    MVM_AUTO_FREE char *parent = parent_of(path);

    if (!listed(g_dirs, MVM_COUNT(g_dirs), parent) && !find(&sim->image, parent)) {
        mvm__sim_image_add(sim, parent, NULL, 0);
        mvm__sim_node *dir = find(&sim->image, parent);
        mvm__sim_blob_unref(dir->blob);
        dir->blob = NULL;
        dir->dir = true;
        dir->perm = 0755;
    }
    mvm__sim_node *node = find(&sim->image, path);
    if (!node)
        node = add(&sim->image, path, false, 0644);
    mvm__sim_blob_unref(node->blob);
    node->blob = mvm__sim_blob_new(data, len);
}

void mvm__sim_files_boot(mvm__sim *sim)
{
    mvm__list_each (it, &sim->image) {
        const mvm__sim_node *from = mvm__container_of(it, mvm__sim_node, link);
        mvm__sim_node *to = mvm__alloc(sizeof(*to));
        to->path = mvm__strdup(from->path);
        to->perm = from->perm;
        to->dir = from->dir;
        to->blob = from->blob ? mvm__sim_blob_ref(from->blob) : NULL;
        mvm__list_append(&sim->files, &to->link);
    }
}

/* Takes the name of `path` as *best when it is directly below dir, after `last` and before *best.
 */
static void consider(const char *path, const char *dir, const char *last, const char **best)
{
    if (!below(path, dir))
        return;
    const char *name = path + strlen(dir) + (dir[1] != '\0');
    if (!strchr(name, '/') && strcmp(name, last) > 0 && (!*best || strcmp(name, *best) < 0))
        *best = name;
}

/* The next name below dir after `last` in the order of bytes; NULL past the end. */
static const char *next_name(mvm__sim *sim, const char *dir, const char *last)
{
    const char *best = NULL;

    for (size_t i = 0; i < MVM_COUNT(g_dirs); i++)
        consider(g_dirs[i], dir, last, &best);
    for (size_t i = 0; i < MVM_COUNT(g_devices); i++)
        consider(g_devices[i], dir, last, &best);
    mvm__list_each (it, &sim->files)
        consider(mvm__container_of(it, mvm__sim_node, link)->path, dir, last, &best);
    return best;
}

void mvm__sim_list(mvm__sim *sim, const char *path, mvm__buf *out)
{
    for (const char *name = ""; (name = next_name(sim, path, name)) != NULL;)
        mvm__buf_printf(out, "%s\n", name);
}
