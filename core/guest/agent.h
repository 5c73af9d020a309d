/* SPDX-License-Identifier: MIT */
/*
 * What the files of the guest's agent share. One process, one thread, one
 * epoll loop: descriptors are watched edge-triggered, and what a descriptor has
 * left is remembered in a flag until it says EAGAIN, so that nothing polls and
 * nothing is asked twice.
 */
#ifndef MVM_GUEST_AGENT_H
#define MVM_GUEST_AGENT_H

#include <spawn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/base.h"
#include "base/list.h"
#include "wire/agent_wire.h"

#ifndef MVM_AGENT_RELEASE
#define MVM_AGENT_RELEASE "0.1.0"
#endif

/* A watched descriptor. `ready` gets the epoll events; it may end its own stream. */
typedef struct mvm__source {
    int fd; /* -1: none */
    void (*ready)(struct mvm__source *source, uint32_t events);
} mvm__source;

int mvm__loop_init(void);
/* 0, or -errno. EPERM: this kind of file is always ready. */
int mvm__loop_watch(mvm__source *source, int fd, uint32_t events,
                    void (*ready)(mvm__source *source, uint32_t events));
void mvm__loop_close(mvm__source *source); /* closes the descriptor too; no-op for -1 */
/* Waits for events and serves them; `busy`: only looks. */
void mvm__loop_turn(bool busy);

/* ---- the session on the port (session.c, output.c) ------------------------------ */

enum { MVM__PORT_SOCKET, MVM__PORT_DEVICE };

/* Takes the descriptor over. A DEVICE has no end of file: its host comes and goes. */
int mvm__session_open(int fd, int kind);
bool mvm__session_is_open(void);
bool mvm__session_serve(void); /* one turn: input, streams, output; true: there is more to do now */
void mvm__session_sent_all(void); /* writes what is queued, waiting up to a second for the host */

/* Output is a bounded queue of whole frames in the order of the calls. There is always room for
 * what the rules in output.c allow: DATA and EOF only after mvm__out_has_room(), input only while
 * it is not choked. */
uint8_t *mvm__out_frame(size_t len); /* place of a payload of up to `len`, until the next call */
void mvm__out_commit(uint8_t type, uint8_t channel, uint32_t stream, size_t len);
void mvm__out_error(uint32_t stream, int errnum, const char *what); /* "what: strerror" */
void mvm__out_refuse(uint32_t stream, int errnum, const char *text);
bool mvm__out_has_room(void);  /* for another DATA frame */
bool mvm__out_is_choked(void); /* so full that no input should be taken */
int mvm__out_flush(int fd);    /* 0 all written, 1 the port is full, -errno */
void mvm__out_reset(
    bool whole); /* drops what is queued, but for the rest of a frame in the midst */

/* ---- streams (stream.c) --------------------------------------------------------- */

#define MVM__GRANT (MVM_AGENT_WINDOW / 4) /* the host is told of so many consumed bytes at once */

typedef struct mvm__stream mvm__stream;

/* Bytes towards the host: a pipe of a command, or a file. */
typedef struct mvm__tap {
    mvm__source source;
    mvm__link ready; /* in the list of those that have bytes, credit and a turn to wait for */
    mvm__stream *stream;
    uint64_t credit;
    uint8_t channel;
    bool open, readable;
} mvm__tap;

/* Bytes from the host: a command's stdin, or a file. */
typedef struct mvm__sink {
    mvm__source source;
    mvm__stream *stream;
    uint8_t *queue; /* what the descriptor has not taken: at most a window */
    size_t off, len, cap;
    uint32_t window;   /* what the host may still send */
    uint32_t consumed; /* what it has not been told of */
    bool open, eof, discard;
} mvm__sink;

enum mvm__kind { MVM__EXEC, MVM__READ, MVM__WRITE, MVM__MOUNT };

struct mvm__stream {
    mvm__link all;  /* by id */
    mvm__link dead; /* ended, to be freed after the turn */
    uint32_t id;
    enum mvm__kind kind;
    pid_t pid;
    bool exited;     /* EXIT was said; the taps may have more to tell */
    mvm__tap tap[2]; /* channels 1 and 2 */
    mvm__sink sink;
    char *target, *temp; /* of a WRITE: temp is NULL when it writes in place */
    int perm;
    struct mvm__mount *mount; /* of a MOUNT */
};

void mvm__streams_init(void);
mvm__stream *mvm__stream_new(uint32_t id, enum mvm__kind kind); /* NULL: no memory */
mvm__stream *mvm__stream_find(uint32_t id);
mvm__stream *mvm__stream_of_pid(pid_t pid);
bool mvm__streams_full(void);
/* Lets go of everything; frees it after the turn. Kills nothing. */
void mvm__stream_end(mvm__stream *s);
void mvm__stream_drop(
    mvm__stream *s); /* of no more interest: kill the group, remove the temporary */
void mvm__stream_fail(mvm__stream *s, int errnum, const char *what); /* ERROR, then drop */
void mvm__streams_drop_all(void);
void mvm__streams_bury(void); /* frees what has ended */
/* The command or the file has ended: EXIT. The stream goes on until its taps have ended too. */
void mvm__stream_exit(mvm__stream *s, int status, int signum);

int mvm__tap_open(mvm__stream *s, int channel, int fd);
void mvm__tap_credit(mvm__tap *tap, uint32_t more);
bool mvm__taps_pump(void); /* round-robin while there is room; true: some wait for room only */

int mvm__sink_open(mvm__stream *s, int fd);
void mvm__sink_data(mvm__sink *sink, const uint8_t *data, size_t len);
void mvm__sink_eof(mvm__sink *sink);

/* ---- what frames ask for --------------------------------------------------------- */

void mvm__exec(const mvm_agent_frame *f);
void mvm__exec_signal(mvm__stream *s, int signum);
void mvm__exec_ended(pid_t pid, int wait_status);
void mvm__exec_env(bool init); /* the environment that commands begin with */
void mvm__exec_limits(void);
void mvm__open(const mvm_agent_frame *f);
void mvm__file_end(mvm__stream *s); /* all bytes of a WRITE have come */
void mvm__mount(const mvm_agent_frame *f);
void mvm__mount_ended(mvm__stream *s);      /* its child has ended */
void mvm__mount_over(struct mvm__mount *m); /* its stream has ended; NULL is fine */
void mvm__mounts_retry(void);               /* a device has come: is it one that is waited for? */
void mvm__power(bool restart);

/* ---- the machine ------------------------------------------------------------------ */

extern bool mvm__is_init;   /* pid 1 of the machine */
extern bool mvm__may_power; /* not when serving a test's descriptor */
extern uint64_t mvm__began_ns;
uint64_t mvm__now_ns(void);
void mvm__log(const char *what, const char *why); /* one line to stderr, or the kernel's log */

int mvm__port_find(const char *path); /* opens it, or -1 with errno (ENOENT: not there yet) */
/* The kernel's device events, of the actions add, change, bind and remove. */
typedef struct mvm__uevent {
    const char *action;
    const char *subsystem; /* "": events were lost, anything may have happened */
    const char *modalias;  /* NULL: none */
    const char *interface; /* of the network; NULL: none */
} mvm__uevent;
int mvm__uevents_open(void (*seen)(const mvm__uevent *event));

void mvm__init_early(void); /* mounts and modules, up to where READY is honest */
void mvm__init_late(void);  /* what nobody waits for */
void mvm__init_device(const mvm__uevent *event);
/* The word `key` for the nth time, from 0. NULL: not given so often. */
const char *mvm__cmdline(const char *key, size_t nth, char *value, size_t cap);
void mvm__modules_boot(void);
void mvm__modules_load(const char *name); /* once; no-op for one that is not in the image */
void mvm__modules_scan(void);             /* loads for every device that is there */
void mvm__modules_for(const char *modalias);
void mvm__modules_late(void);
void mvm__net_setup(void);
void mvm__net_late(void); /* DHCP on the interfaces that were given no address */
/* An interface came or has gone; NULL: look at all. */
void mvm__net_device(const char *name, bool removed);
void mvm__net_child(pid_t pid);
void mvm__terminals_start(void);
void mvm__terminals_scan(void);
void mvm__terminal_child(pid_t pid);
void mvm__button_scan(void);

/* vsock.c: the command `vsock`; argv[0] is its name. */
int mvm__vsock_command(int argc, char **argv);

/* Copies of a file of a few kilobytes; the length, or -1. Terminated, a final newline removed. */
long mvm__read_small(const char *path, char *out, size_t cap);
int mvm__write_small(const char *path, const char *text);

/* exec.c: how everything that the agent starts begins: leader of a session, no signal blocked or
 * ignored. For posix_spawnattr_destroy. */
void mvm__spawn_attr(posix_spawnattr_t *attr);

#endif
