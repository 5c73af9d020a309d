/* SPDX-License-Identifier: MIT */
/* Facts about this host, gathered from the system and from every back end. Any thread, except
 * mvm_host_findings, which may run programs and belongs to the loop's thread. */
#include "mvm/host.h"

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

bool mvm_guest_find(const char *arch, char *kernel, char *initrd, size_t cap)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    const char *below = "";

    if (!cache || cache[0] != '/') {
        cache = home ? home : "/";
        below = "/.cache";
    }
    snprintf(kernel, cap, "%s%s/macvm/guest/%s/vmlinux", cache, below, arch);
    snprintf(initrd, cap, "%s%s/macvm/guest/%s/initrd", cache, below, arch);
    return access(kernel, R_OK) == 0 && access(initrd, R_OK) == 0;
}

static mvm_finding guest_image(void)
{
    char kernel[512], initrd[512];
    mvm_finding f = {.what = "guest image"};

    f.ok = mvm_guest_find(mvm_host_arch(), kernel, initrd, sizeof(kernel));
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
