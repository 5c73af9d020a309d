/* SPDX-License-Identifier: MIT */
/* Joining two streams: what one says the other hears, until both have ended. */
#ifndef MVM_IO_SPLICE_H
#define MVM_IO_SPLICE_H

#include "base/list.h"
#include "mvm/stream.h"

/* Takes over the caller's reference of each. Half-closes are passed on; an error of either closes
 * both. A join is in `list` while it lives. */
void mvm__splice(mvm__list *list, mvm_stream *a, mvm_stream *b);
/* Closes every join of the list. What they hold is freed from the loop. */
void mvm__splices_close(mvm__list *list);

#endif
