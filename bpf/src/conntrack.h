/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Connections: their verdict is remembered, so that replies go on and only the first packet
 * is judged, and again after each change of policy. */
#pragma once

#include "maps.h"
#include "parse.h"
#include "verdict.h"

#define SECOND 1000000000ULL
#define DATAGRAM_IDLE (120 * SECOND)
#define CLOSED_IDLE (120 * SECOND)
#define FRAGMENT_IDLE (30 * SECOND)

static __always_inline void conn_key_from(struct conn_key *k, const struct packet *p,
					  __u8 direction)
{
	__builtin_memset(k, 0, sizeof(*k));
	k->protocol = p->protocol;
	if (direction == DIRECTION_INGRESS) {
		k->pod = p->dst;
		k->peer = p->src;
		k->pod_port = p->dst_port;
		k->peer_port = p->src_port;
	} else {
		k->pod = p->src;
		k->peer = p->dst;
		k->pod_port = p->src_port;
		k->peer_port = p->dst_port;
	}
}

/* The port that a verdict is about. */
static __always_inline __u16 server_port(const struct conn_key *k, __u8 direction)
{
	return direction == DIRECTION_INGRESS ? k->pod_port : k->peer_port;
}

static __always_inline __u16 judged_port(const struct conn_key *k, const struct packet *p,
					 __u8 direction)
{
	return is_icmp(p) ? bpf_htons(p->icmp << 8) : server_port(k, direction);
}

static __always_inline int is_closed(const struct conn *c)
{
	const enum conn_flags both = CONN_FIN_FORWARD | CONN_FIN_REPLY;

	return c->flags & CONN_RST || (c->flags & both) == both;
}

/* Legs of proxied TCP connections never run out: their other end is the proxy's kernel, which
 * answers what it does not know with a reset. */
static __always_inline int conn_expired(const struct conn *c, __u8 protocol, __u64 now)
{
	__u64 idle = now - c->seen;

	if (protocol != IPPROTO_TCP)
		return idle > DATAGRAM_IDLE;
	if (c->flags & (CONN_DOWN | CONN_UP))
		return 0;
	if (c->flags & CONN_CUT || !(c->flags & CONN_REPLIED) || is_closed(c))
		return idle > CLOSED_IDLE;
	return 0;
}

static __always_inline struct conn *conn_get(const struct conn_key *k)
{
	if (k->protocol == IPPROTO_TCP)
		return bpf_map_lookup_elem(&conns, k);
	return bpf_map_lookup_elem(&datagrams, k);
}

static __always_inline long conn_put(const struct conn_key *k, const struct conn *c)
{
	if (k->protocol == IPPROTO_TCP)
		return bpf_map_update_elem(&conns, k, c, BPF_ANY);
	return bpf_map_update_elem(&datagrams, k, c, BPF_ANY);
}

/* Puts an entry where there is none; fails where another processor was first. */
static __always_inline long conn_add(const struct conn_key *k, const struct conn *c)
{
	if (k->protocol == IPPROTO_TCP)
		return bpf_map_update_elem(&conns, k, c, BPF_NOEXIST);
	return bpf_map_update_elem(&datagrams, k, c, BPF_NOEXIST);
}

static __always_inline void conn_forget(const struct conn_key *k)
{
	if (k->protocol == IPPROTO_TCP)
		bpf_map_delete_elem(&conns, k);
	else
		bpf_map_delete_elem(&datagrams, k);
}

static __always_inline struct conn *conn_lookup(const struct conn_key *k, __u32 endpoint,
						__u64 now)
{
	struct conn *c = conn_get(k);

	if (!c || c->endpoint != endpoint || conn_expired(c, k->protocol, now))
		return NULL;
	return c;
}

/* Whether a connection that the proxy answers may go on in its class. */
static __always_inline int class_stands(const struct conn *c, const struct decision *d)
{
	__u32 port = c->class_port, now, *successor;

	now = d->verdict == VERDICT_REDIRECTED ? d->class_port : 0;
	if (now == port)
		return 1;
	successor = bpf_map_lookup_elem(&successors, &port);
	return successor && *successor == now;
}

/* Why a connection may not go on as it is under a new verdict; REASON_NONE if it may. */
static __always_inline __u8 objection(const struct conn *c, const struct decision *d, int audit)
{
	if (d->verdict == VERDICT_DENIED)
		return REASON_CUT;
	if (audit)
		return REASON_NONE;
	if (c->flags & CONN_DOWN)
		return class_stands(c, d) ? REASON_NONE : REASON_RECLASSED;
	/* One that began unjudged ends so, while its policy allows that. */
	if (c->flags & CONN_UNJUDGED && d->open)
		return REASON_NONE;
	return d->verdict == VERDICT_REDIRECTED ? REASON_CUT : REASON_NONE;
}

static __always_inline void conn_touch(struct conn *c, const struct packet *p, int forward,
				       __u64 now)
{
	enum conn_flags flags = c->flags;

	if (!forward)
		flags |= CONN_REPLIED;
	if (p->tcp & TCP_FIN)
		flags |= forward ? CONN_FIN_FORWARD : CONN_FIN_REPLY;
	if (p->tcp & TCP_RST)
		flags |= CONN_RST;
	if (flags != c->flags)
		c->flags = flags;
	if (now - c->seen > SECOND / 2)
		c->seen = now;
}

static __always_inline void fragment_key_from(struct fragment_key *k, const struct packet *p,
					      __u8 direction)
{
	__builtin_memset(k, 0, sizeof(*k));
	k->src = p->src;
	k->dst = p->dst;
	k->id = p->fragment_id;
	k->protocol = p->ipv6 ? 0 : p->protocol;
	k->direction = direction;
}

/* Remembers where the first fragment went, for those after it. */
static __always_inline void fragment_note(const struct packet *p, __u8 direction, __u8 leg,
					  __u64 now)
{
	struct fragment_key key;
	struct fragment f = { .seen = now, .leg = leg };

	if (p->fragment != FRAGMENT_FIRST)
		return;
	fragment_key_from(&key, p, direction);
	bpf_map_update_elem(&fragments, &key, &f, BPF_ANY);
}

static __always_inline struct fragment *fragment_lookup(const struct packet *p,
							__u8 direction, __u64 now)
{
	struct fragment_key key;
	struct fragment *f;

	fragment_key_from(&key, p, direction);
	f = bpf_map_lookup_elem(&fragments, &key);
	return f && now - f->seen < FRAGMENT_IDLE ? f : NULL;
}
