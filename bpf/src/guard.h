/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a pod that no policy selects may not do to those that one does: send in another pod's
 * name. On a bridge, where a packet that its gateway has passed on does not show by whose
 * interface it came. */
#pragma once

#include "events.h"
#include "parse.h"

static __always_inline int guard(struct __sk_buff *skb)
{
	struct owner_key key = { .ifindex = skb->ifindex };
	struct packet p = {};
	__u32 identity;

	if (parse(skb, &p) != PARSED_IP)
		return TCX_NEXT;
	key.addr = p.src;
	if (bpf_map_lookup_elem(&owners, &key))
		return TCX_NEXT;
	identity = identity_of(&p.src);
	if (identity < IDENTITY_POD_FIRST || identity >= IDENTITY_POD_END)
		return TCX_NEXT;
	count_drop(REASON_SPOOFED);
	return TCX_DROP;
}
