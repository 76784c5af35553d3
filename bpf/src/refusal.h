/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What was denied is counted and told once: a sender that is not answered tries again by
 * itself, and its user has asked for one connection. */
#pragma once

#include <linux/tcp.h>
#include <stddef.h>
#include "conntrack.h"
#include "maps.h"
#include "parse.h"
#include "verdict.h"

/* A kernel gives a connection attempt up after two minutes; a datagram's sender counts as
 * asking anew after some seconds. */
#define ATTEMPT (150 * SECOND)
#define DATAGRAMS (10 * SECOND)

/* Whether this packet of a denied flow only says again what has been counted. A SYN is sent
 * again with the same sequence number, a new attempt has another. Where the map has
 * forgotten a flow, it counts again. */
static __noinline int refused_before(struct __sk_buff *skb, const struct packet *p,
				     const struct conn_key *conn, const struct question *q)
{
	struct refusal_key key = {
		.conn = *conn,
		.endpoint = q->ep.number,
		.direction = q->direction,
	};
	struct refusal r = { .counted = bpf_ktime_get_ns() }, *old;
	int attempt = p->protocol == IPPROTO_TCP && is_syn(p);

	if (attempt && bpf_skb_load_bytes(skb, p->l4 + offsetof(struct tcphdr, seq),
					  &r.sequence, sizeof(r.sequence)))
		return 0;
	old = bpf_map_lookup_elem(&refusals, &key);
	if (old && r.counted - old->counted < (attempt ? ATTEMPT : DATAGRAMS) &&
	    (!attempt || old->sequence == r.sequence))
		return 1;
	bpf_map_update_elem(&refusals, &key, &r, BPF_ANY);
	return 0;
}
