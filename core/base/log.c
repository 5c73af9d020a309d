/* SPDX-License-Identifier: MIT */
/* The process's log. The level and sink are the only process-wide state of libmacvm. */
#include "mvm/log.h"

#include <stdarg.h>
#include <stdio.h>

static int g_level = MVM_LOG_WARN;
static mvm_log_fn g_sink;
static void *g_sink_ud;

void mvm_log_level(int level)
{
    g_level = level;
}

void mvm_log_sink(mvm_log_fn fn, void *ud)
{
    g_sink = fn;
    g_sink_ud = ud;
}

void mvm_log(int level, const char *fmt, ...)
{
    char line[2048];
    va_list args;

    if (level > g_level)
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    if (g_sink)
        g_sink(g_sink_ud, level, line);
    else
        fprintf(stderr, "macvm: %s\n", line);
}
