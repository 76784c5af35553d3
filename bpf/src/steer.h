/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The way to the proxy and back. Marks do not cross namespaces, so a frame's source address
 * carries the leg over the proxy's veths, both ways. Each leg has a veth of its own, to which
 * the proxy's sockets are bound: so no two sockets of different legs have the same tuple. */
#pragma once

#include <linux/if_packet.h>
#include "conntrack.h"
#include "maps.h"
#include "pass.h"

static __always_inline void leg_macs(__u8 *macs, const __u8 *dst, __u8 leg)
{
	__builtin_memcpy(macs, dst, 6);
	macs[6] = 0x02;	/* locally administered */
	macs[7] = 0x73;
	macs[8] = 0x65;
	macs[9] = 0x70;
	macs[10] = 0x74;
	macs[11] = leg;
}

/* On a bridge the pod addresses the peer itself, else its gateway: what a packet shows is
 * what frames in the pod's or the peer's name must have. */
static __always_inline void neighbour_note(struct __sk_buff *skb, const struct conn_key *key,
					   __u8 direction)
{
	struct neighbour_key k = { .pod = key->pod, .peer = key->peer };
	struct neighbour n = {}, *old;
	__u32 off = direction == DIRECTION_INGRESS ? 6 : 0;

	if (bpf_skb_load_bytes(skb, off, n.mac, 6))
		return;
	old = bpf_map_lookup_elem(&neighbours, &k);
	if (!old || __builtin_memcmp(old->mac, n.mac, 6))
		bpf_map_update_elem(&neighbours, &k, &n, BPF_ANY);
}

static __always_inline void neighbour_mac(__u8 *mac, const struct pod *pod,
					  const struct addr *pod_addr, const struct addr *peer)
{
	struct neighbour_key k = { .pod = *pod_addr, .peer = *peer };
	struct neighbour *n = bpf_map_lookup_elem(&neighbours, &k);

	__builtin_memcpy(mac, n ? n->mac : pod->host_mac, 6);
}

static __always_inline int has_proxy(const struct node_config *cfg)
{
	return cfg->l7p0_ifindex[0] != 0;
}

/* direction is the hook's: a packet from the pod can be put into the proxy's namespace at
 * once. On a bridge it may have been received as another host's, which kernels before 6.16
 * leave so. */
static __always_inline int to_proxy(struct __sk_buff *skb, const struct node_config *cfg,
				    __u8 direction, __u8 leg)
{
	__u32 ifindex = cfg->l7p0_ifindex[(leg - 1) & (LEGS - 1)];
	__u8 macs[12];

	leg_macs(macs, cfg->l7p1_mac, leg);
	if (bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0))
		return TCX_DROP;
	if (direction == DIRECTION_INGRESS)
		return bpf_redirect(ifindex, 0);
	bpf_skb_change_type(skb, PACKET_HOST);
	return bpf_redirect_peer(ifindex, 0);
}

/* A packet that the pod's own program gave back, after it was let through. */
static __always_inline int into_own_pod(struct __sk_buff *skb, const struct node_config *cfg,
					const struct conn_key *key)
{
	struct pod *pod = bpf_map_lookup_elem(&pods, &key->pod);

	if (!pod || bpf_skb_store_bytes(skb, 0, pod->mac, sizeof(pod->mac), 0))
		return TCX_DROP;
	bpf_skb_change_type(skb, PACKET_HOST);
	skb->mark = cfg->mark;
	return bpf_redirect_peer(pod->ifindex, 0);
}

/* The connection of the proxy to the server, in the client's name: its replies are steered
 * back. The client's own connection may have the same ports. */
static __always_inline void upstream_note(const struct node_config *cfg, const struct conn_key *key,
					  __u32 endpoint, __u8 direction, __u8 leg)
{
	__u64 now = bpf_ktime_get_ns();
	struct conn c = {
		.seen = now,
		.generation = cfg->generation,
		.endpoint = endpoint,
		.verdict = VERDICT_REDIRECTED,
		.direction = direction,
		.flags = CONN_UP,
	};
	struct conn *old = conn_get(key);

	/* A client's connection with these ports may begin right now, on another processor: its
	 * entry must not be replaced by one that does not know of it. */
	if (!old) {
		if (!conn_add(key, &c))
			return;
		old = conn_get(key);
		if (!old)
			return;
	}
	if (old->endpoint != endpoint || !(old->flags & (CONN_DOWN | CONN_UP))) {
		conn_put(key, &c);
		return;
	}
	if (old->flags & CONN_DOWN) {
		old->flags |= CONN_UP;
	} else {
		old->generation = c.generation;
		old->direction = direction;
		old->flags = CONN_UP;
	}
	old->seen = now;
}

/* What the proxy sends: TCP, which it never cuts into fragments, and datagrams, which may be
 * longer than a frame. */
static __always_inline int is_proxied(const struct packet *p)
{
	if (p->protocol == IPPROTO_TCP)
		return p->fragment == FRAGMENT_NONE;
	return p->protocol == IPPROTO_UDP;
}

/* A frame from the proxy → the pod's own veth: to the pod, or as if the pod had sent it. */
static __always_inline int from_proxy(struct __sk_buff *skb, const struct node_config *cfg)
{
	struct packet p = {};
	struct conn_key key;
	struct endpoint *ep;
	struct pod *pod;
	__u8 macs[12], leg = 0, direction;
	int as_pod;

	if (bpf_skb_load_bytes(skb, 11, &leg, 1) || parse(skb, &p) != PARSED_IP ||
	    !is_proxied(&p) ||
	    leg < LEG_INGRESS_DOWN || leg > LEG_EGRESS_UP)
		return TCX_DROP;
	as_pod = leg == LEG_INGRESS_DOWN || leg == LEG_EGRESS_UP;
	direction = leg <= LEG_INGRESS_UP ? DIRECTION_INGRESS : DIRECTION_EGRESS;
	conn_key_from(&key, &p, as_pod ? DIRECTION_EGRESS : DIRECTION_INGRESS);
	pod = bpf_map_lookup_elem(&pods, &key.pod);
	ep = bpf_map_lookup_elem(&endpoints, &key.pod);
	if (!pod || !ep)
		return TCX_DROP;
	if ((leg == LEG_INGRESS_UP || leg == LEG_EGRESS_UP) && !(p.tcp & TCP_RST) &&
	    p.fragment != FRAGMENT_LATER) {
		struct conn *c = NULL;

		if (!is_syn(&p))
			c = conn_lookup(&key, ep->number, 0);
		if (!c || !(c->flags & CONN_UP))
			upstream_note(cfg, &key, ep->number, direction, leg);
	}
	if (as_pod) {
		neighbour_mac(macs, pod, &key.pod, &key.peer);
		__builtin_memcpy(macs + 6, pod->mac, 6);
	} else {
		__builtin_memcpy(macs, pod->mac, 6);
		neighbour_mac(macs + 6, pod, &key.pod, &key.peer);
	}
	if (bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0))
		return TCX_DROP;
	skb->mark = cfg->mark;
	if (!as_pod)
		pass_judged(skb, cfg, &key);
	return bpf_redirect(pod->ifindex, as_pod ? BPF_F_INGRESS : 0);
}
