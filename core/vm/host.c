/* SPDX-License-Identifier: MIT */
/* Facts about this host, gathered from the system and from every back end. Any thread, except
 * mvm_host_findings, which may run programs and belongs to the loop's thread. */
#include "mvm/host.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/base.h"
#include "mvm/backend.h"

const char *mvm_version(void)
{
    return "0.1.0";
}

int mvm_host_cpus(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n > 0 ? (int)n : 1;
}

int64_t mvm_host_memory(void)
{
    return (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
}

const char *mvm_host_arch(void)
{
    struct utsname host;

    if (uname(&host) != 0)
        return "x86_64";
    return strcmp(host.machine, "arm64") == 0 || strcmp(host.machine, "aarch64") == 0 ? "aarch64"
                                                                                      : "x86_64";
}

/* ---- macvm's own guests --------------------------------------------------------------- */

static void guests_dir(char *out, size_t cap)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    bool given = cache && cache[0] == '/';

    snprintf(out, cap, "%s%s/macvm/guest",
             given  ? cache
             : home ? home
                    : "",
             given ? "" : "/.cache");
}

bool mvm_guest_find(const char *arch, const char *name, char *kernel, char *initrd, size_t cap)
{
    char dir[512];

    guests_dir(dir, sizeof(dir));
    const char *dash = name ? "-" : "";
    snprintf(kernel, cap, "%s/%s%s%s/vmlinux", dir, arch, dash, name ? name : "");
    snprintf(initrd, cap, "%s/%s%s%s/initrd", dir, arch, dash, name ? name : "");
    return access(kernel, R_OK) == 0 && access(initrd, R_OK) == 0;
}

/* Of what the builder leaves, only the guests themselves are links: "ARCH" or "ARCH-NAME". */
static bool guest_of(const char *entry, mvm_guest *guest)
{
    static const char *const arches[] = {"aarch64", "x86_64"};
    char kernel[512], initrd[512];

    for (size_t i = 0; i < MVM_COUNT(arches); i++) {
        size_t n = strlen(arches[i]);
        if (strncmp(entry, arches[i], n) != 0 || entry[n] != '-' || !entry[n + 1] ||
            strchr(entry, '@') || strlen(entry + n + 1) >= sizeof(guest->name))
            continue;
        snprintf(guest->arch, sizeof(guest->arch), "%s", arches[i]);
        snprintf(guest->name, sizeof(guest->name), "%s", entry + n + 1);
        return mvm_guest_find(guest->arch, guest->name, kernel, initrd, sizeof(kernel));
    }
    return false;
}

bool mvm_guest_at(size_t i, mvm_guest *guest)
{
    char dir[512];
    struct dirent **entries;

    guests_dir(dir, sizeof(dir));
    int n = scandir(dir, &entries, NULL, alphasort);
    bool found = false;
    for (int k = 0; k < n; k++) {
        mvm_guest at;
        if (!found && entries[k]->d_type != DT_DIR && guest_of(entries[k]->d_name, &at) &&
            i-- == 0) {
            *guest = at;
            found = true;
        }
        free(entries[k]);
    }
    if (n >= 0)
        free(entries);
    return found;
}

bool mvm_guest_owns(const char *kernel)
{
    char dir[512];

    guests_dir(dir, sizeof(dir));
    size_t n = strlen(dir);
    return strncmp(kernel, dir, n) == 0 && kernel[n] == '/';
}

static mvm_finding guest_image(void)
{
    char kernel[512], initrd[512];
    mvm_finding f = {.what = "guest image"};

    f.ok = mvm_guest_find(mvm_host_arch(), NULL, kernel, initrd, sizeof(kernel));
    if (f.ok) {
        char *slash = strrchr(kernel, '/');
        snprintf(f.detail, sizeof(f.detail), "%.*s", (int)MVM_MIN(slash - kernel, 250), kernel);
    } else {
        snprintf(f.detail, sizeof(f.detail), "macvm's own Linux guest is not built");
        snprintf(f.cure, sizeof(f.cure), "run: macvm guest build");
    }
    return f;
}

static mvm_finding processors(void)
{
    mvm_finding f = {.what = "cpus", .ok = true};

    snprintf(f.detail, sizeof(f.detail), "%d, %s", mvm_host_cpus(), mvm_host_arch());
    return f;
}

static mvm_finding memory(void)
{
    mvm_finding f = {.what = "memory", .ok = true};

    snprintf(f.detail, sizeof(f.detail), "%lld MiB", (long long)(mvm_host_memory() >> 20));
    return f;
}

size_t mvm_host_findings(mvm_finding *out, size_t cap)
{
    mvm_finding all[32];
    size_t n = 0;
    const mvm_backend_ops *ops;

    for (size_t i = 0; (ops = mvm__backend_at(i)) != NULL; i++)
        if (ops->findings)
            n += ops->findings(all + n, MVM_COUNT(all) - 3 - n);
    all[n++] = guest_image();
    all[n++] = processors();
    all[n++] = memory();
    memcpy(out, all, MVM_MIN(n, cap) * sizeof(*out));
    return n;
}
