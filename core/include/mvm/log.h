/* SPDX-License-Identifier: MIT */
/*
 * The process's log: leveled lines on standard error. `macvm -v` raises the
 * level to INFO, `-vv` to DEBUG. Loop thread only.
 */
#ifndef MVM_LOG_H
#define MVM_LOG_H

enum mvm_log_level { MVM_LOG_ERROR, MVM_LOG_WARN, MVM_LOG_INFO, MVM_LOG_DEBUG };

/* Receives one finished line without a newline. */
typedef void (*mvm_log_fn)(void *ud, int level, const char *line);

void mvm_log_level(int level);              /* default: MVM_LOG_WARN */
void mvm_log_sink(mvm_log_fn fn, void *ud); /* fn NULL: back to standard error */
void mvm_log(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
