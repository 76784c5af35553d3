/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A policed pod's interface on which no policy can be enforced, in its own namespace: nothing
 * comes in or goes out. */
#pragma once

#include "events.h"

static __always_inline int shut(__u32 reason)
{
	count_drop(reason);
	return TCX_DROP;
}
