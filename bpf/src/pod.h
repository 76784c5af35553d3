/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Whose packet it is at a policed pod's veth, and whether a connection decides on it. */
#pragma once

#include "judge.h"
#include "visit.h"

static __always_inline int icmp_error(struct __sk_buff *skb, struct visit *v,
				      struct conn **related)
{
	struct packet inner = {};
	struct conn_key key;

	/* The inner packet went the other way. */
	if (parse_inner(skb, &v->p, &inner))
		return 0;
	conn_key_from(&key, &inner, !v->q.hook);
	if (__builtin_memcmp(&key.pod, &v->key.pod, sizeof(key.pod)))
		return 0;
	*related = conn_lookup(&key, v->q.ep.number, v->now);
	return *related != NULL;
}

/* The endpoint behind the interface, and whether the packet bears its address. */
static __always_inline struct endpoint *endpoint_at(__u32 ifindex, const struct addr *addr,
						    int *own)
{
	struct pod *pod = addr ? bpf_map_lookup_elem(&pods, addr) : NULL;

	*own = pod && pod->ifindex == ifindex;
	if (!*own) {
		addr = bpf_map_lookup_elem(&links, &ifindex);
		if (!addr)
			return NULL;
	}
	return bpf_map_lookup_elem(&endpoints, addr);
}

/* A frame from the pod's own interface that its program has sent: judged as one to the pod. What
 * gave it to the pod is not known. */
static __always_inline int turn(struct __sk_buff *skb, struct visit *v,
				const struct node_config *cfg)
{
	struct conn_key key;
	struct endpoint *ep;
	__u8 want[6], got[6];
	int own;

	conn_key_from(&key, &v->p, DIRECTION_INGRESS);
	ep = endpoint_at(v->q.ifindex, &key.pod, &own);
	if (!ep || !own || bpf_skb_load_bytes(skb, 0, got, sizeof(got)))
		return -1;
	pass_returned_mac(want, cfg, &key);
	if (__builtin_memcmp(want, got, sizeof(want)))
		return -1;
	v->key = key;
	v->q.ep = *ep;
	v->q.hook = v->q.direction = DIRECTION_INGRESS;
	v->q.port = judged_port(&v->key, &v->p, DIRECTION_INGRESS);
	v->q.received = RECEIVED_UNKNOWN;
	v->returned = 1;
	return 0;
}

/* A pod whose programs are being attached, one after the other: they begin together. */
static __always_inline int is_arming(__u32 ifindex)
{
	struct addr none = {}, *addr = bpf_map_lookup_elem(&links, &ifindex);

	return addr && !__builtin_memcmp(addr, &none, sizeof(none));
}

static __always_inline int later_fragment(struct __sk_buff *skb, struct visit *v,
					  const struct node_config *cfg)
{
	struct fragment *f = fragment_lookup(&v->p, v->q.hook, v->now);

	if (f && f->leg)
		return has_proxy(cfg) ? to_proxy(skb, cfg, side_of(v), f->leg) :
					   drop_silently(REASON_NO_PROXY);
	if (f || !table_of(&v->q.ep, v->q.hook))
		return let_through(skb, v, cfg);
	return drop(v, REASON_FRAGMENT);
}

/* A packet that another pod of this node sent with a third one's address: pods that no policy
 * selects have no program that keeps them from it. What was translated for a service has the
 * service's address or the node's, which are no pod's. */
static __always_inline int is_borrowed(const struct visit *v)
{
	struct owner_key key = { .ifindex = v->q.received, .addr = v->key.peer };
	__u32 identity;

	if (!v->q.received || bpf_map_lookup_elem(&owners, &key))
		return 0;
	__builtin_memset(&key.addr, 0, sizeof(key.addr));
	if (!bpf_map_lookup_elem(&owners, &key))
		return 0;
	identity = identity_of(&v->key.peer);
	return identity >= IDENTITY_POD_FIRST && identity < IDENTITY_POD_END;
}

/* A datagram for the proxy belongs to nothing that began before: after a change it may go to
 * another class, or anywhere, without being lost. Nor does one from a port that the proxy has
 * asked from, in the pod's name. */
static __always_inline int is_new_question(const struct visit *v, const struct node_config *cfg,
					   const struct conn *c)
{
	if (v->p.protocol != IPPROTO_UDP || c->direction != v->q.hook)
		return 0;
	if (!(c->flags & CONN_DOWN))
		return (c->flags & CONN_UP) != 0;
	return c->generation != cfg->generation;
}

static __always_inline int enforce(struct __sk_buff *skb, __u8 hook)
{
	struct node_config *cfg = config_get();
	struct visit v = {};
	struct conn *c = NULL;
	struct endpoint *ep;
	enum parsed parsed;
	int own, policed;

	if (!cfg)
		return TCX_DROP;
	/* Frames of the proxy, which from_proxy has put here. A pod's own marks do not
	 * leave its namespace, and this one is random. */
	if (cfg->mark && skb->mark == cfg->mark) {
		skb->mark = 0;
		return TCX_NEXT;
	}
	parsed = parse(skb, &v.p);
	if (parsed == PARSED_ARP)
		return TCX_NEXT;
	v.generation = *(volatile __u32 *)&cfg->generation;
	v.q.hook = v.q.direction = hook;
	v.q.ifindex = skb->ifindex;
	v.q.received = skb->ingress_ifindex;
	conn_key_from(&v.key, &v.p, hook);
	v.q.port = judged_port(&v.key, &v.p, hook);
	ep = endpoint_at(v.q.ifindex, parsed == PARSED_IP ? &v.key.pod : NULL, &own);
	if (!ep)
		return is_arming(v.q.ifindex) ? TCX_NEXT : drop(&v, REASON_NO_ENDPOINT);
	v.q.ep = *ep;
	policed = table_of(&v.q.ep, hook) != 0;
	if (parsed == PARSED_OTHER)
		return policed ? drop_silently(REASON_ETHERTYPE) : TCX_NEXT;
	if (parsed == PARSED_MALFORMED)
		return drop_silently(REASON_MALFORMED);
	if (is_neighbour_discovery(&v.p))
		return TCX_NEXT;
	if (!own) {
		if (hook == DIRECTION_INGRESS)
			return policed ? drop_silently(REASON_FOREIGN) : TCX_NEXT;
		if (turn(skb, &v, cfg))
			return drop(&v, REASON_SPOOFED);
	}
	if (hook == DIRECTION_INGRESS && policed && is_borrowed(&v))
		return drop(&v, REASON_SPOOFED);
	v.now = bpf_ktime_get_ns();
	if (v.p.fragment == FRAGMENT_LATER)
		return later_fragment(skb, &v, cfg);
	if (is_icmp_error(&v.p) && icmp_error(skb, &v, &c)) {
		if (!(c->flags & (CONN_DOWN | CONN_UP)))
			return let_through(skb, &v, cfg);
		if (!has_proxy(cfg))
			return drop_silently(REASON_NO_PROXY);
		return to_proxy(skb, cfg, side_of(&v),
				leg_of(c->direction, c->direction == v.q.hook));
	}
	c = conn_lookup(&v.key, v.q.ep.number, v.now);
	if (!c || is_syn(&v.p) || is_new_question(&v, cfg, c))
		return first_packet(skb, &v, cfg, c);
	return next_packet(skb, &v, cfg, c);
}
