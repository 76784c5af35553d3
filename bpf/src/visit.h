/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* One packet at a policed pod's veth, and where it can go: on, back, to the proxy, or nowhere. */
#pragma once

#include "conntrack.h"
#include "events.h"
#include "maps.h"
#include "parse.h"
#include "pass.h"
#include "reset.h"
#include "steer.h"
#include "verdict.h"

/* One packet at one hook, and what is known of it. */
struct visit {
	struct packet p;
	struct conn_key key;
	struct question q;
	struct decision d;
	__u64 now;
	__u8 returned;	/* it came around to_pod, and out of the pod's side again */
	__u32 generation;	/* read before anything that it is the generation of */
};

static __always_inline int drop(struct visit *v, __u8 reason)
{
	v->d.verdict = VERDICT_DENIED;
	v->d.reason = reason;
	count_drop(reason);
	emit(&v->q, &v->key, &v->d);
	return TCX_DROP;
}

/* A drop that happens to whole networks' noise: counted, and no event. */
static __always_inline int drop_silently(__u8 reason)
{
	count_drop(reason);
	return TCX_DROP;
}

/* A drop that the sender is told of. The mark takes the reset past the programs here. */
static __always_inline int refuse(struct __sk_buff *skb, struct visit *v,
				  const struct node_config *cfg)
{
	if (reset(skb, &v->p))
		return TCX_DROP;
	skb->mark = cfg->mark;
	pass_judged(skb, cfg, &v->key);
	return bpf_redirect(v->q.ifindex, v->q.hook == DIRECTION_INGRESS ? BPF_F_INGRESS : 0);
}

/* Whether a packet is a reset and nothing else: what ends a connection may go on. */
static __always_inline int is_bare_reset(struct __sk_buff *skb, const struct packet *p)
{
	__u8 offset;

	return p->protocol == IPPROTO_TCP && p->tcp & TCP_RST &&
	       !bpf_skb_load_bytes(skb, p->l4 + 12, &offset, 1) &&
	       skb->len <= p->l4 + (offset >> 4) * 4;
}

static __always_inline int has_listener(const struct visit *v, __u32 family)
{
	__u32 key = listener_key(family, v->d.class_port);
	struct bpf_sock *sk = bpf_map_lookup_elem(&listeners, &key);

	if (!sk)
		return 0;
	bpf_sk_release(sk);
	return 1;
}

/* On the way to the pod its own side is told. */
static __always_inline int let_through(struct __sk_buff *skb, const struct visit *v,
				       const struct node_config *cfg)
{
	if (v->q.hook == DIRECTION_EGRESS)
		return TCX_NEXT;
	pass_judged(skb, cfg, &v->key);
	return v->returned ? into_own_pod(skb, cfg, &v->key) : TCX_NEXT;
}

static __always_inline int pass(struct __sk_buff *skb, struct visit *v,
				const struct node_config *cfg)
{
	fragment_note(&v->p, v->q.hook, 0, v->now);
	return let_through(skb, v, cfg);
}

/* Where the packet is, whichever way it goes. */
static __always_inline __u8 side_of(const struct visit *v)
{
	return v->returned ? DIRECTION_EGRESS : v->q.hook;
}

static __always_inline int redirect(struct __sk_buff *skb, struct visit *v,
				    const struct node_config *cfg, __u8 leg)
{
	fragment_note(&v->p, v->q.hook, leg, v->now);
	return to_proxy(skb, cfg, side_of(v), leg);
}

static __always_inline __u8 leg_of(__u8 direction, int down)
{
	if (direction == DIRECTION_INGRESS)
		return down ? LEG_INGRESS_DOWN : LEG_INGRESS_UP;
	return down ? LEG_EGRESS_DOWN : LEG_EGRESS_UP;
}
