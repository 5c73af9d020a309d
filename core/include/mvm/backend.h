/* SPDX-License-Identifier: MIT */
/*
 * The two-way contract of a back end. Above: what a hypervisor must implement
 * (mvm_backend_ops). Below: what it must tell the machine (mvm__vm_on_*).
 *
 * Rules:
 *  1. Everything happens on the loop thread. A back end with threads of its own copies plain
 *     data and uses mvm_loop_post().
 *  2. An op only begins; it returns 0 and reports the end by an mvm__vm_on_* call, from the loop,
 *     never from inside the op. When it returns an error, nothing is reported.
 *  3. vm.c calls an op only in a state that allows it (the table in core/vm/lifecycle.c), so a back
 *     end keeps no state machine of its own.
 *  4. start may take any time, but kill may come at any moment after start returned 0, and must
 *     lead to on_exit. After on_exit the back end makes no further call for this run and has let
 *     go of every process, descriptor and file of it.
 *  5. on_exit is reported exactly once a run, whatever ended it.
 *  6. Bytes of the guest go up as they are; bounding and checking them is done above, except for
 *     what the back end itself parses.
 */
#ifndef MVM_BACKEND_H
#define MVM_BACKEND_H

#include <stdbool.h>
#include <stddef.h>

#include "mvm/device.h"
#include "mvm/host.h"
#include "mvm/lab.h"
#include "mvm/vm.h"

/* A verb under way. Whoever took one ends it by mvm__job_done, exactly once, from the loop, and
 * before on_exit. Nobody may wait for it any more by then: that is not the taker's business. */
typedef struct mvm__job mvm__job;
void mvm__job_done(mvm__job *job, const mvm_err *err);
/* Somebody still does. */
bool mvm__job_waited(const mvm__job *job);
/* How far it has come: what now completes "timed out after 5 s waiting for ...". */
void mvm__job_tell(mvm__job *job, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

typedef struct mvm_backend_ops {
    const char *name; /* "qemu" | "vz" | "sim" */
    bool real;        /* runs on this host's processors and memory, so their limits hold */

    /* Is this hypervisor usable here? MVM_EUNSUPPORTED with what is missing and a hint what to
     * install. Cheap: no process is started. */
    int (*probe)(mvm_err *err);

    /* What `macvm doctor` says of this hypervisor; may run programs. Returns how many were filled.
     */
    size_t (*findings)(mvm_finding *out, size_t cap);

    /* Checks a configuration that vm.c has checked already for what this hypervisor can't do.
     * Starts and creates nothing. */
    int (*check)(mvm_vm *vm, mvm_err *err);

    /* The same for one device, whose field path is `at`; also of one that is to be plugged in. May
     * be NULL. */
    int (*check_device)(mvm_vm *vm, const mvm_record *device, const char *at, mvm_err *err);

    /* NULL: can. Else the reason why not. Asked in any state. */
    const char *(*cannot)(mvm_vm *vm, const char *what);
    /* What to do about that; NULL: nothing helps. May be NULL. A back end that is `real` is asked
     * both with a NULL machine too: of one that says nothing. */
    const char *(*cure)(mvm_vm *vm, const char *what);

    /* state STARTING: ends with on_running or on_exit. Allocates the run's private data. */
    int (*start)(mvm_vm *vm, mvm_err *err);
    int (*pause)(mvm_vm *vm, mvm_err *err);  /* PAUSING: ends with on_paused or on_failed */
    int (*resume)(mvm_vm *vm, mvm_err *err); /* RESUMING: ends with on_running or on_failed */
    int (*reset)(mvm_vm *vm,
                 mvm_err *err); /* RUNNING: hard reset; ends with on_reset or on_failed */
    int (*power_button)(mvm_vm *vm,
                        mvm_err *err); /* STOPPING: tells the guest; no report of its own */
    void (*kill)(mvm_vm *vm);          /* any state but STOPPED and ERROR: ends with on_exit */

    /* Collects figures by mvm__vm_stat_add, ends with on_stats. */
    int (*stats)(mvm_vm *vm, mvm_err *err);

    /* Bytes to the agent's port and to the serial console. Return how many were taken now (0: none,
     * on_*_writable follows). Only while up. */
    size_t (*agent_write)(mvm_vm *vm, const void *data, size_t len);
    size_t (*console_write)(mvm_vm *vm, const void *data, size_t len);
    /* Stop (false) or go on (true) delivering on_agent_data: the machine above is full. */
    void (*agent_read)(mvm_vm *vm, bool on);

    /* Verbs of devices, in RUNNING and PAUSED only; each takes the job, or returns an error. NULL:
     * `cannot` says why. The device is one of the machine's, but for plug, and stays alive until
     * the job is done. */
    int (*plug)(mvm_vm *vm, mvm_record *device, mvm__job *job, mvm_err *err);
    int (*unplug)(mvm_vm *vm, mvm_record *device, mvm__job *job, mvm_err *err);
    int (*balloon)(mvm_vm *vm, int64_t bytes, mvm__job *job, mvm_err *err);
    int (*resize)(mvm_vm *vm, mvm_record *disk, int64_t bytes, mvm__job *job, mvm_err *err);
    int (*set_link)(mvm_vm *vm, mvm_record *net, bool up, mvm__job *job, mvm_err *err);
    int (*screenshot)(mvm_vm *vm, const char *path, mvm__job *job, mvm_err *err);
    int (*input)(mvm_vm *vm, const mvm_input *events, size_t n, mvm__job *job, mvm_err *err);

    /* Host addresses that lead into the guest, with the ports that were picked. Only while up. */
    bool (*forward)(mvm_vm *vm, size_t i, mvm_forward *out);
    /* "virtiofs" | "9p": what a share of the running machine is. */
    const char *(*share_driver)(mvm_vm *vm, const mvm_record *share);

    /* The same as agent_write and agent_read for the port of a device: a further console, the
     * clipboard. */
    size_t (*port_write)(mvm_vm *vm, mvm_record *device, const void *data, size_t len);
    void (*port_read)(mvm_vm *vm, mvm_record *device, bool on);

    /* The machine is being freed; no run is active. Frees what outlives runs. May be NULL. */
    void (*release)(mvm_vm *vm);
} mvm_backend_ops;

/* The back ends of this build, best first; NULL past the end. Defined by core/backend/registry.c.
 */
const mvm_backend_ops *mvm__backend_at(size_t i);

/* ---- reports of a back end ------------------------------------------------------ */

void mvm__vm_on_running(mvm_vm *vm);
void mvm__vm_on_paused(mvm_vm *vm);
void mvm__vm_on_reset(mvm_vm *vm);
/* The op in flight (pause, resume, reset) failed; the machine is as it was before. */
void mvm__vm_on_failed(mvm_vm *vm, const mvm_err *err);
/* The run is over. `err` NULL: the guest powered off or kill was asked. Else why it died. */
void mvm__vm_on_exit(mvm_vm *vm, const mvm_err *err);
/* The guest has begun to shut down, reset itself or crashed: "shutdown", "reset", "panic". */
void mvm__vm_on_guest_shutdown(mvm_vm *vm, const char *reason);
/* The agent's port was opened or closed by the guest (its agent began or died). */
void mvm__vm_on_agent_port(mvm_vm *vm, bool open);
void mvm__vm_on_agent_data(mvm_vm *vm, const void *data, size_t len);
void mvm__vm_on_agent_writable(mvm_vm *vm);
void mvm__vm_on_console_data(mvm_vm *vm, const void *data, size_t len);
void mvm__vm_on_console_writable(mvm_vm *vm);
void mvm__vm_on_stats(mvm_vm *vm, const mvm_err *err);
/* The port of a device: opened or closed by the guest, bytes from it, room for more. */
void mvm__vm_on_port(mvm_vm *vm, mvm_record *device, bool open);
void mvm__vm_on_port_data(mvm_vm *vm, mvm_record *device, const void *data, size_t len);
void mvm__vm_on_port_writable(mvm_vm *vm, mvm_record *device);
/* A device is lost though the machine runs (its server died): an "error" event. The device stays
 * attached, and its I/O fails. */
void mvm__vm_on_device_lost(mvm_vm *vm, mvm_record *device, const mvm_err *err);
/* The guest has let go of a device that it was not asked for: an "error" event. It is attached no
 * more. No-op when it has been taken out already. */
void mvm__vm_on_device_gone(mvm_vm *vm, mvm_record *device);
/* Any other event of MVM_EVENT_MAP. */
void mvm__vm_emit(mvm_vm *vm, const mvm_event *event);

/* Services for back ends. */
void mvm__vm_mark(mvm_vm *vm,
                  const char *name); /* a point of the timeline, now; the first one counts */
void mvm__vm_stat_add(mvm_vm *vm, const mvm_value *value, const char *name_fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Serves a vsock device: takes listen_fd, a listening socket that the hypervisor connects to as
 * vhost-user front end (also on failure). Ended by close, or with the run. */
int mvm__vm_vsock_open(mvm_vm *vm, mvm_record *device, int listen_fd, mvm_err *err);
/* The same for one that the host's kernel serves under this CID. */
int mvm__vm_vsock_open_kernel(mvm_vm *vm, mvm_record *device, uint32_t cid, mvm_err *err);
void mvm__vm_vsock_close(mvm_vm *vm, mvm_record *device);
/* The name of a device in figures, events and messages: its `id` or `tag`, else its kind with its
 * place among those ("disk1", "net2"). out of at least 48 bytes; returned. */
const char *mvm__vm_device_name(mvm_vm *vm, const mvm_record *device, char out[48]);
void *mvm__vm_data(const mvm_vm *vm); /* the back end's private data of this machine */
void mvm__vm_set_data(mvm_vm *vm, void *data);

#endif
