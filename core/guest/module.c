/* SPDX-License-Identifier: MIT */
/*
 * Kernel modules of our own guest. The image builder resolves all of it and
 * writes a table, so that nothing is searched at boot:
 *
 *   module NAME PATH [DEPENDENCY...]   dependencies in the order of loading
 *   alias PATTERN NAME                 '*' and '?' in the pattern
 *   boot NAME                          loaded first: the way to the agent's port
 *   late NAME                          loaded after READY
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest/agent.h"

#define TABLE       "/lib/modules/macvm.table"
#define MODULES_MAX 256
#define TABLE_MAX   (1024 * 1024)

typedef struct module {
    char *name, *path, *deps;
    bool loaded;
} module;

static module modules[MODULES_MAX];
static size_t module_count;
static char *table, *table_end;

/* The first word of *text, terminated; *text moves behind it. */
static char *word(char **text)
{
    char *w = *text + strspn(*text, " ");
    size_t n = strcspn(w, " ");

    *text = w + n + (w[n] != '\0');
    w[n] = '\0';
    return w;
}

/* Calls fn for each line of the table that begins with `kind` and a space. */
static void each_line(const char *kind, void (*fn)(char *line, void *ud), void *ud)
{
    size_t n = strlen(kind);

    for (char *line = table; line < table_end; line += strlen(line) + 1)
        if (strncmp(line, kind, n) == 0 && line[n] == ' ')
            fn(line + n + 1, ud);
}

static void add_module(char *line, void *ud)
{
    (void)ud;
    if (module_count == MODULES_MAX)
        return;
    module *m = &modules[module_count++];
    m->name = word(&line);
    m->path = word(&line);
    m->deps = line;
}

static bool read_table(void)
{
    struct stat st;
    int fd = open(TABLE, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) || st.st_size > TABLE_MAX ||
        !(table = calloc(1, (size_t)st.st_size + 1)) ||
        read(fd, table, (size_t)st.st_size) != st.st_size) {
        mvm__log(TABLE, strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    close(fd);
    table_end = table + st.st_size;
    for (char *c = table; c < table_end; c++)
        if (*c == '\n')
            *c = '\0';
    each_line("module", add_module, NULL);
    return true;
}

static module *find(const char *name)
{
    for (size_t i = 0; i < module_count; i++)
        if (strcmp(modules[i].name, name) == 0)
            return &modules[i];
    return NULL;
}

static void load_file(module *m)
{
    if (m->loaded)
        return;
    m->loaded = true; /* once, whatever comes of it */
    int fd = open(m->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
        mvm__log(m->path, strerror(errno));
    if (fd >= 0)
        close(fd);
}

static void load(const char *name)
{
    module *m = find(name);
    char dep[64];

    if (!m || m->loaded)
        return;
    for (const char *d = m->deps; *(d += strspn(d, " "));) {
        size_t n = strcspn(d, " ");
        snprintf(dep, sizeof dep, "%.*s", (int)n, d);
        module *on = find(dep);
        if (on)
            load_file(on);
        d += n;
    }
    load_file(m);
}

void mvm__modules_load(const char *name)
{
    load(name);
}

static void load_line(char *line, void *ud)
{
    (void)ud;
    load(line);
}

static void load_match(char *line, void *ud)
{
    const char *modalias = ud;
    char *gap = strchr(line, ' ');

    if (!gap)
        return;
    *gap = '\0';
    bool match = fnmatch(line, modalias, 0) == 0;
    *gap = ' ';
    if (match)
        load(gap + 1);
}

void mvm__modules_for(const char *modalias)
{
    each_line("alias", load_match, (void *)(uintptr_t)modalias);
}

void mvm__modules_boot(void)
{
    if (read_table())
        each_line("boot", load_line, NULL);
}

void mvm__modules_late(void)
{
    each_line("late", load_line, NULL);
}

static void scan_bus(const char *bus)
{
    char path[320], modalias[512];

    snprintf(path, sizeof path, "/sys/bus/%s/devices", bus);
    DIR *dir = opendir(path);
    if (!dir)
        return;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/sys/bus/%s/devices/%s/modalias", bus, e->d_name);
        if (mvm__read_small(path, modalias, sizeof modalias) > 0)
            mvm__modules_for(modalias);
    }
    closedir(dir);
}

void mvm__modules_scan(void)
{
    /* In this order: the transports bring the devices of the virtio bus. */
    scan_bus("platform");
    scan_bus("pci");
    scan_bus("virtio");
}
