/* SPDX-License-Identifier: MIT */
/*
 * The stopwatch of `make bench`. It starts a program and times what comes out of it, with nothing
 * of macvm between but the agent's frames. One thread; times are seconds of CLOCK_MONOTONIC.
 *
 *   probe lines -- COMMAND...      each line of its output with the time since its start; then
 *                                  "cpu SECONDS" and "maxrss KIB"
 *   probe boot -- QEMU...          time until the first bytes of the agent's port
 *   probe echo N -- QEMU...        time of one byte there and back through a second port, N times
 *   probe push BYTES FILE -- QEMU...  time until the guest's dd has written BYTES to FILE
 *   probe pull BYTES -- QEMU...    time until BYTES of the guest's dd have come out of the port
 *   probe guest SCRIPT -- QEMU...  what the guest's `sh -c SCRIPT` prints
 *   probe tcp receive|send|trips PORT COUNT   against a server at 127.0.0.1: MB/s of COUNT
 *                                  bytes, seconds of a round trip of 64 bytes (the median)
 *
 * In QEMU's arguments, @AGENT@ and @PORT@ stand for the descriptors of the two ports' sockets.
 * Called by the name qemu-system-*, it is a stand-in for QEMU: it writes the time to the file
 * $PROBE_MARK and ends, or becomes $PROBE_QEMU when it is only asked what it can do.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "wire/agent_wire.h"

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "probe: %s: %s\n", what, errno ? strerror(errno) : "unexpected end");
    exit(1);
}

/* Nothing of a machine under test takes a minute: a probe that does is stuck. */
static void read_some(int fd, char *buf, size_t cap, size_t *len)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    errno = ETIMEDOUT;
    if (poll(&p, 1, 60000) != 1)
        die("waiting for the guest");
    ssize_t n = read(fd, buf, cap);
    if (n <= 0)
        die("reading from the guest");
    *len = (size_t)n;
}

static void write_all(int fd, const void *data, size_t len)
{
    for (const char *p = data; len > 0;) {
        ssize_t n = write(fd, p, len);

        if (n < 0)
            die("writing to the guest");
        p += n;
        len -= (size_t)n;
    }
}

static char wait_byte(int fd)
{
    char c;
    size_t n;

    read_some(fd, &c, 1, &n);
    return c;
}

/* ---- starting ------------------------------------------------------------------ */

typedef struct machine {
    pid_t pid;
    int agent, port; /* our ends */
    double began;
} machine;

/* The argument with the first `mark` in it replaced by the number. */
static char *replaced(const char *arg, const char *mark, int number)
{
    const char *at = strstr(arg, mark);
    char *out = NULL;

    if (!at)
        return strdup(arg);
    if (asprintf(&out, "%.*s%d%s", (int)(at - arg), arg, number, at + strlen(mark)) < 0)
        die("memory");
    return out;
}

static machine start_qemu(char **argv)
{
    int agent[2], port[2];
    machine m = {0};

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, agent) ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, port))
        die("socketpair");
    m.agent = agent[0];
    m.port = port[0];
    m.began = now();
    m.pid = fork();
    if (m.pid < 0)
        die("fork");
    if (m.pid == 0) {
        int theirs[2] = {dup(agent[1]), dup(port[1])}; /* without close-on-exec */

        int null = open("/dev/null", O_RDWR);

        /* Its own console would mix with our figures. */
        if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0)
            die("/dev/null");
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (char **arg = argv; *arg; arg++) {
            char *once = replaced(*arg, "@AGENT@", theirs[0]);

            *arg = replaced(once, "@PORT@", theirs[1]);
        }
        execvp(argv[0], argv);
        die(argv[0]);
    }
    close(agent[1]);
    close(port[1]);
    return m;
}

static void end_qemu(machine *m)
{
    kill(m->pid, SIGKILL);
    waitpid(m->pid, NULL, 0);
}

/* ---- the agent, as little of it as is needed ------------------------------------------ */

/* Reads frames until the agent has said READY. */
static void agent_ready(const machine *m)
{
    static char buf[4 * MVM_AGENT_PAYLOAD_MAX];
    size_t have = 0;

    for (;;) {
        mvm_agent_frame frame;
        long used = mvm_agent_decode((const uint8_t *)buf, have, &frame);

        if (used > 0) {
            if (frame.type == MVM_AGENT_READY)
                return;
            have -= (size_t)used;
            memmove(buf, buf + used, have);
        } else if (used < 0) {
            errno = EPROTO;
            die("the agent");
        } else {
            size_t n;

            read_some(m->agent, buf + have, sizeof(buf) - have, &n);
            have += n;
        }
    }
}

/* Starts `sh -c script` in the guest as stream 1. */
static void agent_exec(const machine *m, const char *script)
{
    uint8_t frame[4096];
    mvm_agent_writer w = {.data = frame + MVM_AGENT_HEADER,
                          .cap = sizeof(frame) - MVM_AGENT_HEADER};

    mvm_agent_put_u32(&w, MVM_AGENT_EXEC_STDIN_NULL);
    mvm_agent_put_u16(&w, 3);
    mvm_agent_put_u16(&w, 0);
    mvm_agent_put_str(&w, "/", 1);
    mvm_agent_put_str(&w, "sh", 2);
    mvm_agent_put_str(&w, "-c", 2);
    mvm_agent_put_str(&w, script, strlen(script));
    if (w.bad) {
        errno = E2BIG;
        die("the script");
    }
    mvm_agent_header(frame, MVM_AGENT_EXEC, 0, 1, (uint32_t)w.len);
    write_all(m->agent, frame, MVM_AGENT_HEADER + w.len);
}

/* ---- the measurements -------------------------------------------------------------- */

static int bench_boot(char **argv)
{
    machine m = start_qemu(argv);

    wait_byte(m.agent);
    printf("%.6f\n", now() - m.began);
    end_qemu(&m);
    return 0;
}

/* The second port of the guest's first console device; opened once, for both directions. */
#define OPEN_PORT "exec 3<>/dev/vport0p2; printf R >&3; "

static int bench_echo(int rounds, char **argv)
{
    machine m = start_qemu(argv);

    agent_ready(&m);
    agent_exec(&m, OPEN_PORT "exec cat <&3 >&3");
    wait_byte(m.port);
    for (int i = 0; i < rounds; i++) {
        double began = now();

        write_all(m.port, "x", 1);
        wait_byte(m.port);
        printf("%.6f\n", now() - began);
    }
    end_qemu(&m);
    return 0;
}

static int bench_push(long bytes, const char *target, char **argv)
{
    static char block[65536];
    char script[512];
    machine m = start_qemu(argv);

    agent_ready(&m);
    snprintf(script, sizeof(script),
             OPEN_PORT "dd of=%s bs=%zu count=%ld iflag=fullblock <&3 2>/dev/null; printf D >&3; "
                       "sleep 60",
             target, sizeof(block), bytes / (long)sizeof(block));
    agent_exec(&m, script);
    wait_byte(m.port);
    double began = now();
    for (long left = bytes / (long)sizeof(block); left > 0; left--)
        write_all(m.port, block, sizeof(block));
    wait_byte(m.port);
    printf("%.6f\n", now() - began);
    end_qemu(&m);
    return 0;
}

static int bench_pull(long bytes, char **argv)
{
    static char block[65536];
    char script[256];
    machine m = start_qemu(argv);

    agent_ready(&m);
    snprintf(script, sizeof(script),
             OPEN_PORT "dd if=/dev/zero bs=%zu count=%ld >&3 2>/dev/null; sleep 60", sizeof(block),
             bytes / (long)sizeof(block));
    agent_exec(&m, script);
    wait_byte(m.port);
    double began = now();
    for (long left = bytes; left > 0;) {
        size_t n;
        read_some(m.port, block, sizeof(block), &n);
        left -= (long)n;
    }
    printf("%.6f\n", now() - began);
    end_qemu(&m);
    return 0;
}

/* Ends with the byte 4, which no script prints. */
static int bench_guest(const char *inner, char **argv)
{
    char buf[4096], *script = NULL;
    machine m = start_qemu(argv);

    if (asprintf(&script, OPEN_PORT "{ %s\n} >&3 2>&3; printf '\\004' >&3; sleep 60", inner) < 0)
        die("memory");
    agent_ready(&m);
    agent_exec(&m, script);
    free(script);
    wait_byte(m.port);
    for (bool ended = false; !ended;) {
        size_t n;

        read_some(m.port, buf, sizeof(buf), &n);
        ended = buf[n - 1] == 4;
        fwrite(buf, 1, n - ended, stdout);
    }
    end_qemu(&m);
    return 0;
}

/* ---- TCP to a port of the guest ------------------------------------------------------- */

static int tcp_dial(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)))
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

/* Reads to the end. */
static long tcp_drain(int fd)
{
    static char block[1 << 18];
    long count = 0;
    ssize_t n;

    while ((n = read(fd, block, sizeof(block))) > 0)
        count += n;
    return count;
}

static double tcp_stream(int port, bool send, long bytes)
{
    static char block[1 << 18];
    double began = now();
    int fd = tcp_dial(port);

    for (long left = send ? bytes : 0; left > 0; left -= (long)sizeof(block))
        write_all(fd, block, sizeof(block));
    if (send)
        shutdown(fd, SHUT_WR);
    long got = tcp_drain(fd);
    if (!send && got != bytes)
        die("the guest's bytes");
    return (double)bytes / 1e6 / (now() - began);
}

#define TRIPS_MAX 10000

static int by_size(const void *a, const void *b)
{
    double d = *(const double *)a - *(const double *)b;

    return (d > 0) - (d < 0);
}

/* The median. */
static double tcp_trips(int port, long count)
{
    static double took[TRIPS_MAX];
    char message[64] = {0};
    int fd = tcp_dial(port);

    count = count < TRIPS_MAX ? count : TRIPS_MAX;
    for (long i = 0; i < count; i++) {
        double began = now();
        write_all(fd, message, sizeof(message));
        for (size_t have = 0, n; have < sizeof(message); have += n)
            read_some(fd, message + have, sizeof(message) - have, &n);
        took[i] = now() - began;
    }
    qsort(took, (size_t)count, sizeof(took[0]), by_size);
    return took[count / 2];
}

static int bench_tcp(const char *verb, int port, long count)
{
    double figure = strcmp(verb, "receive") == 0 ? tcp_stream(port, false, count)
                    : strcmp(verb, "send") == 0  ? tcp_stream(port, true, count)
                                                 : tcp_trips(port, count);

    return printf("%.6g\n", figure) < 0;
}

static int bench_lines(char **argv)
{
    int out[2], status;
    struct rusage use;
    char *line = NULL;
    size_t cap = 0;

    if (pipe(out))
        die("pipe");
    double began = now();
    printf("%.6f began\n", began);
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        dup2(out[1], 1);
        close(out[0]);
        close(out[1]);
        execvp(argv[0], argv);
        die(argv[0]);
    }
    close(out[1]);
    FILE *from = fdopen(out[0], "r");
    if (!from)
        die("fdopen");
    while (getline(&line, &cap, from) > 0)
        printf("%.6f %s", now() - began, line);
    free(line);
    fclose(from);
    if (wait4(pid, &status, 0, &use) != pid)
        die("wait4");
    printf("cpu %.6f\nmaxrss %ld\n",
           (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
               (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6,
           use.ru_maxrss);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static int stand_in(char **argv)
{
    const char *mark = getenv("PROBE_MARK"), *qemu = getenv("PROBE_QEMU");
    double t = now();

    for (char **arg = argv + 1; *arg; arg++) {
        if (strcmp(*arg, "-chardev") != 0)
            continue;
        FILE *file = mark ? fopen(mark, "w") : NULL;
        if (!file)
            die("PROBE_MARK");
        fprintf(file, "%.6f\n", t);
        fclose(file);
        return 1;
    }
    if (qemu)
        execv(qemu, argv);
    die("PROBE_QEMU");
}

int main(int argc, char **argv)
{
    const char *name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
    int dashes = 1;

    if (strncmp(name, "qemu-system-", 12) == 0)
        return stand_in(argv);
    signal(SIGPIPE, SIG_IGN);
    while (dashes < argc && strcmp(argv[dashes], "--") != 0)
        dashes++;
    char **command = argv + dashes + 1;
    if (argc == 5 && strcmp(argv[1], "tcp") == 0)
        return bench_tcp(argv[2], atoi(argv[3]), atol(argv[4]));
    if (argc >= 2 && dashes + 1 < argc) {
        if (strcmp(argv[1], "lines") == 0)
            return bench_lines(command);
        if (strcmp(argv[1], "boot") == 0)
            return bench_boot(command);
        if (strcmp(argv[1], "echo") == 0 && dashes == 3)
            return bench_echo(atoi(argv[2]), command);
        if (strcmp(argv[1], "push") == 0 && dashes == 4)
            return bench_push(atol(argv[2]), argv[3], command);
        if (strcmp(argv[1], "pull") == 0 && dashes == 3)
            return bench_pull(atol(argv[2]), command);
        if (strcmp(argv[1], "guest") == 0 && dashes == 3)
            return bench_guest(argv[2], command);
    }
    fputs("usage: probe lines|boot|echo N|push BYTES FILE|pull BYTES|guest SCRIPT -- COMMAND...\n"
          "       probe tcp receive|send|trips PORT COUNT\n",
          stderr);
    return 2;
}
