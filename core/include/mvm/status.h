/* SPDX-License-Identifier: MIT */
/*
 * Status codes and the error record. Every fallible function of libmacvm
 * returns 0 or one of these negative codes and fills a caller-owned mvm_err.
 *
 * One rule holds for every function that takes a callback: when it returns an
 * error, the callback is never called; otherwise it is called exactly once,
 * from the loop, never from inside the call that took it.
 */
#ifndef MVM_STATUS_H
#define MVM_STATUS_H

/* X(enum suffix, the word Lua scripts see as `err.code`, what it means) */
#define MVM_CODE_MAP(X)                                                                            \
    X(CONFIG, "config", "the configuration or an argument is wrong")                               \
    X(STATE, "state", "the machine is not in a state that allows this")                            \
    X(TIMEOUT, "timeout", "the deadline passed")                                                   \
    X(UNSUPPORTED, "unsupported", "this host or back end can't do it")                             \
    X(AGENT, "agent", "the agent in the guest went away or broke protocol")                        \
    X(GUEST, "guest", "the guest refused or failed what was asked")                                \
    X(BACKEND, "backend", "the hypervisor failed")                                                 \
    X(IO, "io", "an input or output operation on the host failed")                                 \
    X(CANCELLED, "cancelled", "the wait was cancelled")

enum mvm_code {
    MVM_OK = 0,
    MVM__BASE = -100,
#define X(name, word, meaning) MVM_E##name,
    MVM_CODE_MAP(X)
#undef X
};

/* Plain data: copy it freely. Every string is terminated; a longer text is cut. */
typedef struct mvm_err {
    int code;
    char message[1024]; /* what went wrong, no trailing full stop or newline */
    char field[128];    /* path of the configuration field, or "" */
    char hint[256];     /* what would be right, or "" */
    char vm[72];        /* name of the machine, or "" */
} mvm_err;

/* The word for a code ("config", ...); "ok" for 0, "unknown" for anything else. */
const char *mvm_code_word(int code);

/* Fills *err (which may be NULL) and returns code, so `return mvm_fail(...)` reads well.
 * Clears field, hint and vm. */
int mvm_fail(mvm_err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Add to an error that mvm_fail has made. err may be NULL. */
void mvm_err_field(mvm_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void mvm_err_hint(mvm_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void mvm_err_vm(mvm_err *err, const char *name);

#endif
