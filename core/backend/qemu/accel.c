/* SPDX-License-Identifier: MIT */
/*
 * KVM is used when it works, not when it is there: /dev/kvm of a nested host may accept a machine
 * and then spin for ever in it. So the answer comes from running one instruction in a machine of
 * one page, in a child process that can be killed. Loop thread only; the result is kept.
 */
#include "backend/qemu/accel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/base.h"

#ifdef __linux__
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define TRIAL_MS 2000 /* a working KVM needs about 2 */

/* ---- what the processor says ------------------------------------------------------ */

/* Is one of the words in the processor's list of flags? */
static bool cpu_has(const char *flag_a, const char *flag_b)
{
    char line[8192], needle_a[32], needle_b[32];
    FILE *f = fopen("/proc/cpuinfo", "re");
    bool found = false;

    if (!f)
        return false;
    snprintf(needle_a, sizeof(needle_a), " %s ", flag_a);
    snprintf(needle_b, sizeof(needle_b), " %s ", flag_b);
    while (!found && fgets(line, sizeof(line), f)) {
        if (strncmp(line, "flags", 5) != 0)
            continue;
        char *newline = strchr(line, '\n');
        if (newline)
            *newline = ' ';
        found = strstr(line, needle_a) || strstr(line, needle_b);
        break; /* all processors are alike here */
    }
    fclose(f);
    return found;
}

/* ---- the trial ------------------------------------------------------------------------- */

enum { TRIAL_OK, TRIAL_VM, TRIAL_MEMORY, TRIAL_CPU, TRIAL_RUN, TRIAL_EXIT };

static const char *const g_trial_words[] = {
    [TRIAL_OK] = "works",
    [TRIAL_VM] = "makes no machine",
    [TRIAL_MEMORY] = "takes no memory",
    [TRIAL_CPU] = "makes no processor",
    [TRIAL_RUN] = "can't run a processor",
    [TRIAL_EXIT] = "can't run one instruction",
};

#ifdef __x86_64__
/* One page at 0x1000 that holds HLT. Runs in the child: system calls only. */
static int trial(int kvm)
{
    int vm = ioctl(kvm, KVM_CREATE_VM, 0);
    if (vm < 0)
        return TRIAL_VM;
    uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return TRIAL_MEMORY;
    page[0] = 0xf4;
    struct kvm_userspace_memory_region region = {.guest_phys_addr = 0x1000, .memory_size = 4096};
    region.userspace_addr = (uintptr_t)page;
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) != 0)
        return TRIAL_MEMORY;
    int cpu = ioctl(vm, KVM_CREATE_VCPU, 0), size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (cpu < 0 || size < (int)sizeof(struct kvm_run))
        return TRIAL_CPU;
    struct kvm_run *run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
    struct kvm_sregs sregs;
    struct kvm_regs regs = {.rip = 0x1000, .rflags = 2};
    if (run == MAP_FAILED || ioctl(cpu, KVM_GET_SREGS, &sregs) != 0)
        return TRIAL_CPU;
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    if (ioctl(cpu, KVM_SET_SREGS, &sregs) != 0 || ioctl(cpu, KVM_SET_REGS, &regs) != 0)
        return TRIAL_CPU;
    if (ioctl(cpu, KVM_RUN, 0) != 0)
        return TRIAL_RUN;
    return run->exit_reason == KVM_EXIT_HLT ? TRIAL_OK : TRIAL_EXIT;
}
#else
static int trial(int kvm)
{
    return ioctl(kvm, KVM_CREATE_VM, 0) < 0 ? TRIAL_VM : TRIAL_OK;
}
#endif

/* The words for how the trial went; NULL: KVM works. */
static const char *run_trial(int kvm)
{
    int fds[2], status = 0;
    unsigned char result = TRIAL_RUN;

    if (pipe(fds) != 0)
        return "could not be tried";
    sigset_t all, old;
    sigfillset(&all); /* no handler of ours runs in the child */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        unsigned char answer = (unsigned char)trial(kvm);
        (void)!write(fds[1], &answer, 1);
        _exit(0);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    close(fds[1]);
    struct pollfd pfd = {.fd = fds[0], .events = POLLIN};
    bool answered = pid > 0 && poll(&pfd, 1, TRIAL_MS) == 1 && read(fds[0], &result, 1) == 1;
    close(fds[0]);
    if (pid < 0)
        return "could not be tried";
    kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (!answered)
        return "hangs when it runs one instruction";
    return result == TRIAL_OK ? NULL : g_trial_words[MVM_MIN(result, TRIAL_EXIT)];
}

static void find(mvm__accel *a)
{
    if (access("/dev/kvm", F_OK) != 0) {
        snprintf(a->reason, sizeof(a->reason), "this host has no /dev/kvm");
        return;
    }
#ifdef __x86_64__
    if (!cpu_has("vmx", "svm")) {
        snprintf(a->reason, sizeof(a->reason),
                 "/dev/kvm is there but the CPU shows neither vmx nor svm: nested virtualisation "
                 "is off");
        return;
    }
#endif
    MVM_AUTO_FD int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0) {
        snprintf(a->reason, sizeof(a->reason), "/dev/kvm can't be opened: %s", strerror(errno));
        return;
    }
    const char *why = run_trial(kvm);
    if (why) {
        snprintf(a->reason, sizeof(a->reason), "/dev/kvm is there but %s", why);
        return;
    }
    a->kvm = true;
    a->name = "kvm";
    snprintf(a->reason, sizeof(a->reason), "/dev/kvm works");
}
#else
static bool cpu_has(const char *flag_a, const char *flag_b)
{
    (void)flag_a;
    (void)flag_b;
    return false;
}

static void find(mvm__accel *a)
{
    snprintf(a->reason, sizeof(a->reason), "macvm accelerates QEMU on Linux only");
}
#endif

const mvm__accel *mvm__accel_get(void)
{
    static mvm__accel found;

    if (!found.name) {
        found.name = "tcg";
        find(&found);
    }
    return &found;
}

const mvm__accel *mvm__accel_of(const mvm__arch *arch)
{
    static const mvm__accel foreign = {
        .name = "tcg", .reason = "the machine's processor is not of the host's architecture"};

    return arch == mvm__arch_of(NULL) ? mvm__accel_get() : &foreign;
}

/* ---- the time stamp counter --------------------------------------------------------- */

#ifdef __x86_64__
typedef struct instant {
    uint64_t ns, tsc, blur;
} instant;

/* The two clocks read together, as close as five tries get. */
static instant read_both(void)
{
    instant best = {.blur = UINT64_MAX};

    for (int i = 0; i < 5; i++) {
        uint64_t before = __builtin_ia32_rdtsc(), ns = uv_hrtime(), after = __builtin_ia32_rdtsc();
        if (after - before < best.blur)
            best = (instant){ns, before + (after - before) / 2, after - before};
    }
    return best;
}

int64_t mvm__tsc_khz(void)
{
    static int64_t khz = -1;

    if (khz >= 0)
        return khz;
    khz = 0;
    if (!cpu_has("constant_tsc", "nonstop_tsc"))
        return khz;
    instant a = read_both(), b;
    do
        b = read_both();
    while (b.ns - a.ns < 1000000);
    khz = (int64_t)((b.tsc - a.tsc) * 1000000 / (b.ns - a.ns));
    return khz;
}
#else
int64_t mvm__tsc_khz(void)
{
    return 0;
}
#endif
