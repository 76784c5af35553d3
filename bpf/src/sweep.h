/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* All connections are judged at once, so that both sides of one that has to end can be told
 * whether they speak or wait. */
#pragma once

#include "conntrack.h"
#include "maps.h"
#include "verdict.h"

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key;
	void *value;
};

/* A function of its own, so that the type is in the object's BTF for the Go side. */
static __noinline long write_down(struct seq_file *seq, struct ended *e)
{
	return bpf_seq_write(seq, e, sizeof(*e));
}

/* Writes the connection down if it has to end. */
static __always_inline int judge_known(struct seq_file *seq, const struct node_config *cfg,
				       const struct conn_key *at, struct conn *c)
{
	struct ended e = {};
	struct question q = {};
	struct endpoint *ep;
	struct decision d;
	__u8 reason;

	__builtin_memcpy(&e.key, at, sizeof(e.key));
	if (c->flags & (CONN_HOST | CONN_SWEPT) || e.key.protocol != IPPROTO_TCP ||
	    c->generation == cfg->generation)
		return 0;
	if (c->flags & CONN_UP && !(c->flags & CONN_DOWN))
		return 0;
	if (is_closed(c))
		return 0;
	if (c->flags & CONN_CUT) {
		e.flags = c->flags;
		e.direction = c->direction;
		if (!write_down(seq, &e))
			c->flags |= CONN_SWEPT;
		return 0;
	}
	ep = bpf_map_lookup_elem(&endpoints, &e.key.pod);
	if (!ep || ep->number != c->endpoint)
		return 0;
	q.ep = *ep;
	q.direction = c->direction;
	q.hook = !c->direction; /* nobody's own, which CONN_HOST says */
	q.port = server_port(&e.key, c->direction);
	judge(&q, &e.key, &d);
	reason = objection(c, &d, is_audit(&q.ep, q.direction));
	if (reason == REASON_NONE) {
		c->generation = cfg->generation;
		c->rule = d.rule;
		return 0;
	}
	e.flags = c->flags;
	e.direction = c->direction;
	/* What does not fit is come to again. */
	if (write_down(seq, &e))
		return 0;
	count_drop(reason);
	c->flags |= CONN_CUT | CONN_SWEPT;
	c->seen = bpf_ktime_get_ns();
	return 0;
}
