/* SPDX-License-Identifier: MIT */
/*
 * The agent's entry: init of macvm's own guest when it is pid 1, an ordinary
 * service elsewhere, or the server of one descriptor for tests.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/agent.h"

bool mvm__is_init;
bool mvm__may_power = true;
uint64_t mvm__began_ns;

static mvm__source signals = {.fd = -1};
static const char *port_path;
static bool ended;
static int exit_code;

static void reap(void)
{
    int status;

    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        mvm__exec_ended(pid, status);
        mvm__terminal_child(pid);
        mvm__net_child(pid);
    }
}

/* What busybox's poweroff, halt and reboot, and ctrl-alt-del, tell an init. */
static void on_signal(int signum)
{
    if (!mvm__is_init)
        ended = true;
    else
        mvm__power(signum == SIGTERM || signum == SIGINT);
}

static void on_signals(mvm__source *source, uint32_t events)
{
    struct signalfd_siginfo info;

    (void)events;
    while (read(source->fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            continue; /* one signal may stand for many children */
        on_signal((int)info.ssi_signo);
    }
    reap();
}

static int watch_signals(void)
{
    static const int wanted[] = {SIGCHLD, SIGTERM, SIGINT};
    static const int of_init[] = {SIGUSR1, SIGUSR2};
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < MVM_COUNT(wanted); i++)
        sigaddset(&set, wanted[i]);
    for (size_t i = 0; mvm__is_init && i < MVM_COUNT(of_init); i++)
        sigaddset(&set, of_init[i]);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL))
        return -errno;
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : mvm__loop_watch(&signals, fd, EPOLLIN, on_signals);
}

/* Opens the port if it is there; true: the session is on, or never will be. */
static bool try_port(void)
{
    int fd = mvm__port_find(port_path);

    if (fd < 0 && (errno == ENOENT || errno == ENODEV || errno == ENXIO))
        return false; /* the kernel will tell when it comes */
    int rc = fd < 0 ? -errno : mvm__session_open(fd, MVM__PORT_DEVICE);
    if (rc == 0)
        return true;
    mvm__log(rc == -EBUSY ? "the port is in use by another agent" : "the port can't be opened",
             strerror(-rc));
    if (fd >= 0)
        close(fd);
    ended = !mvm__is_init;
    exit_code = 3;
    return true;
}

static void on_device(const mvm__uevent *event)
{
    bool bound = strcmp(event->action, "bind") == 0, all = !*event->subsystem;

    if (mvm__is_init && !bound)
        mvm__init_device(event);
    if (all || (bound && strcmp(event->subsystem, "virtio") == 0))
        mvm__mounts_retry();
    if (!mvm__session_is_open() && (all || strcmp(event->subsystem, "virtio-ports") == 0))
        try_port();
}

static int serve(bool until_lost)
{
    bool busy = false;

    while (!ended) {
        mvm__loop_turn(busy);
        busy = mvm__session_serve();
        mvm__streams_bury();
        if (until_lost && !mvm__session_is_open())
            break;
    }
    mvm__streams_drop_all();
    mvm__streams_bury();
    return exit_code;
}

static int fail(const char *what, int rc)
{
    mvm__log(what, strerror(-rc));
    return 3;
}

static int run_fd(int fd)
{
    mvm__may_power = false;
    int rc = mvm__session_open(fd, MVM__PORT_SOCKET);

    return rc ? fail("the descriptor given by --fd", rc) : serve(true);
}

static int run_machine(void)
{
    int rc = mvm__uevents_open(on_device);

    if (rc)
        return fail("kernel device events", rc);
    if (mvm__is_init)
        mvm__init_early();
    bool on = try_port();
    if (!on && !mvm__is_init)
        mvm__log("waiting for the port", MVM_AGENT_PORT);
    mvm__session_serve(); /* READY goes out before anything else is done */
    if (mvm__is_init)
        mvm__init_late();
    return serve(false);
}

static int usage(void)
{
    static const char text[] = "usage: macvm-agent [--port PATH] [--fd N] [--version]\n";

    return write(STDERR_FILENO, text, sizeof text - 1) < 0 ? 3 : 2;
}

int main(int argc, char **argv)
{
    int fd = -1;

    mvm__began_ns = mvm__now_ns();
    mvm__is_init = getpid() == 1;
    const char *slash = strrchr(argv[0], '/');
    if (strcmp(slash ? slash + 1 : argv[0], "vsock") == 0)
        return mvm__vsock_command(argc, argv);
    for (int i = 1; i < argc && !mvm__is_init; i++) {
        if (strcmp(argv[i], "--port") == 0 && i + 1 < argc) {
            port_path = argv[++i];
        } else if (strcmp(argv[i], "--fd") == 0 && i + 1 < argc) {
            char *end;
            long n = strtol(argv[++i], &end, 10);
            if (*end || end == argv[i] || n < 0 || n > 65535)
                return usage();
            fd = (int)n;
        } else if (strcmp(argv[i], "--version") == 0) {
            return puts("macvm-agent " MVM_AGENT_RELEASE) < 0 ? 3 : 0;
        } else {
            return usage();
        }
    }
    /* Pipes must not land on the numbers of the standard streams. */
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (null >= 0 && null <= 2)
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null > 2)
        close(null);
    int rc = mvm__loop_init();
    if (rc == 0)
        rc = watch_signals();
    if (rc)
        return fail("event loop", rc);
    mvm__streams_init();
    mvm__exec_env(mvm__is_init);
    mvm__exec_limits();
    return fd >= 0 ? run_fd(fd) : run_machine();
}
