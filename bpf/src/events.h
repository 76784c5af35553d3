/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What is told to the Go side: events for new connections and drops, and counters. */
#pragma once

#include "maps.h"
#include "verdict.h"

static __always_inline void count_drop(__u32 reason)
{
	__u64 *n = bpf_map_lookup_elem(&drops, &reason);

	if (n)
		(*n)++;
}

static __always_inline void count_rule(const struct decision *d)
{
	struct counter *c = bpf_map_lookup_elem(&counters, &d->rule);

	if (!c) {
		struct counter zero = {};
		__u32 rule = d->rule;

		bpf_map_update_elem(&counters, &rule, &zero, BPF_NOEXIST);
		c = bpf_map_lookup_elem(&counters, &rule);
		if (!c)
			return;
	}
	switch (d->verdict) {
	case VERDICT_FORWARDED:
		if (d->reason == REASON_NONE)
			c->forwarded++;
		else
			c->unjudged++;
		break;
	case VERDICT_REDIRECTED:
		c->redirected++;
		break;
	case VERDICT_AUDITED:
		c->audited++;
		break;
	default:
		c->denied++;
	}
}

static __noinline int emit(const struct question *q, const struct conn_key *key,
			   const struct decision *d)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e) {
		count_drop(REASON_EVENT_LOST);
		return 0;
	}
	e->time = bpf_ktime_get_ns();
	if (q->direction == DIRECTION_INGRESS) {
		e->src = key->peer;
		e->dst = key->pod;
		e->src_port = key->peer_port;
	} else {
		e->src = key->pod;
		e->dst = key->peer;
		e->src_port = key->pod_port;
	}
	e->dst_port = q->port;
	e->ifindex = q->ifindex;
	e->endpoint = q->ep.number;
	e->identity = d->identity;
	e->rule = d->rule;
	e->class_port = d->class_port;
	e->protocol = key->protocol;
	e->direction = q->direction;
	e->verdict = d->verdict;
	e->reason = d->reason;
	__builtin_memset(e->pad, 0, sizeof(e->pad));
	bpf_ringbuf_submit(e, 0);
	return 0;
}
