/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who the peer is, and what the tables say. */
#pragma once

#include "maps.h"
#include "parse.h"

#define IDENTITY_ANY 0
#define IDENTITY_HOST 1
#define IDENTITY_WORLD 2
#define IDENTITY_POD_FIRST 256
#define IDENTITY_POD_END (1U << 30)

#define TABLE_BITS 64	/* table and identity; less specific is no entry */
#define TABLE_BITS_MAX 88

struct decision {
	__u32 identity;
	__u32 rule;
	__u16 class_port;
	__u8 verdict;
	__u8 reason;
	__u8 host;	/* exempt: the node itself began it */
	__u8 policed;	/* a table decided */
	__u8 open;	/* goes on where the proxy cannot judge it */
	__u8 silent;	/* the flag that says that this proxy is silent */
};

static __always_inline __u32 table_of(const struct endpoint *ep, __u8 direction)
{
	return direction == DIRECTION_INGRESS ? ep->ingress : ep->egress;
}

static __always_inline int is_audit(const struct endpoint *ep, __u8 direction)
{
	return ep->flags & (direction == DIRECTION_INGRESS ? ENDPOINT_AUDIT_INGRESS :
							     ENDPOINT_AUDIT_EGRESS);
}

static __always_inline __u32 identity_of(const struct addr *peer)
{
	struct address_key key = { .prefixlen = 128, .addr = *peer };
	__u32 *identity = bpf_map_lookup_elem(&addresses, &key);

	return identity ? *identity : IDENTITY_WORLD;
}

static __always_inline struct table_value *table_lookup(__u32 table, __u32 identity,
							__u8 protocol, __u16 port)
{
	struct table_key key = {
		.prefixlen = TABLE_BITS_MAX,
		.table = table,
		.identity = identity,
		.protocol = protocol,
	};

	__builtin_memcpy(key.port, &port, 2);
	return bpf_map_lookup_elem(&tables, &key);
}

/* Not known: no interface's index. */
#define RECEIVED_UNKNOWN 0xffffffff

/* What is judged: a connection of the endpoint, seen in a packet at one of its two hooks. */
struct question {
	struct endpoint ep;
	__u8 direction;	/* of the connection */
	__u8 hook;	/* of the packet */
	__u16 port;	/* the server's, big endian */
	__u32 ifindex;	/* the interface of the hook */
	__u32 received;	/* the interface that the packet came in by; 0: made here */
};

/* A packet that was not received was made in the node's own namespace: a node address on a packet that was received is translated or forged.
 * What comes out of the very interface it goes into is the pod talking to itself through a
 * service. */
static __always_inline int is_exempt(const struct question *q, int peer_is_host)
{
	if (q->direction != DIRECTION_INGRESS || q->hook != DIRECTION_INGRESS)
		return 0;
	return q->received == q->ifindex || (peer_is_host && !q->received);
}

/* The entries of the peer's own identity come first, then those of any identity, then default
 * deny (a table without it has an entry for everything). */
static __noinline int judge(const struct question *q, const struct conn_key *key,
			    struct decision *d)
{
	struct table_value *v;
	__u32 *host;
	__u32 table;

	__builtin_memset(d, 0, sizeof(*d));
	d->verdict = VERDICT_FORWARDED;
	table = table_of(&q->ep, q->direction);
	if (!table)
		return 0;
	d->policed = 1;
	host = bpf_map_lookup_elem(&hosts, &key->peer);
	if (is_exempt(q, host != NULL)) {
		d->host = 1;
		d->identity = IDENTITY_HOST;
		return 0;
	}
	if (!host)
		d->identity = identity_of(&key->peer);
	else
		d->identity = q->direction == DIRECTION_INGRESS ? IDENTITY_WORLD : *host;
	v = table_lookup(table, d->identity, key->protocol, q->port);
	if (!v)
		v = table_lookup(table, IDENTITY_ANY, key->protocol, q->port);
	if (v) {
		d->verdict = v->verdict;
		d->rule = v->rule;
		d->class_port = v->class_port;
		d->open = v->flags & VALUE_OPEN;
		d->silent = v->flags & VALUE_OWN ? NODE_OWN_SILENT : NODE_ENVOY_SILENT;
	} else {
		d->verdict = VERDICT_DENIED;
	}
	if (d->verdict == VERDICT_REDIRECTED && key->protocol != IPPROTO_TCP &&
	    key->protocol != IPPROTO_UDP) {
		d->verdict = VERDICT_DENIED;
		d->reason = REASON_UNSUPPORTED;
	} else if (d->verdict == VERDICT_DENIED) {
		d->reason = REASON_POLICY;
	}
	if (d->verdict == VERDICT_DENIED && is_audit(&q->ep, q->direction))
		d->verdict = VERDICT_AUDITED;
	else if (d->verdict == VERDICT_AUDITED)
		d->reason = REASON_POLICY;
	return 0;
}
