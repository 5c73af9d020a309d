/* SPDX-License-Identifier: MIT */
/* What the two files of the simulated agent share: its port (sim_guest.c) and its streams
 * (sim_stream.c). */
#ifndef MVM_BACKEND_SIM_AGENT_H
#define MVM_BACKEND_SIM_AGENT_H

#include "backend/sim/sim_internal.h"

/* ---- sim_guest.c: frames to the host -------------------------------------------------- */

void mvm__sim_send(mvm__sim *sim, uint8_t type, uint8_t channel, uint32_t stream,
                   const void *payload, size_t len);
void mvm__sim_send_error(mvm__sim *sim, uint32_t stream, int error, const char *text);

/* ---- sim_stream.c --------------------------------------------------------------------- */

/* A frame of the host that is about a stream: EXEC and OPEN begin one. */
void mvm__sim_stream_frame(mvm__sim *sim, const mvm_agent_frame *frame);
/* A step of every command and file, while the port has room; true: there is more to do. */
bool mvm__sim_streams_turn(mvm__sim *sim);
void mvm__sim_streams_clear(mvm__sim *sim);

#endif
