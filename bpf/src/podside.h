/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What happens to a packet at a policed pod's own interface. A CNI that passes packets into
 * the pod's namespace (bpf_redirect_peer) goes around the egress of the node's side. What is
 * known here to be judged goes on; all else is given back to the node's side, through the
 * veth, where from_pod treats it as if it had met to_pod. */
#pragma once

#include "pod.h"

/* The index of the node's side: each pod has its own copy of the program. */
const volatile __u32 pod_ifindex = 0;

/* A packet of a connection that is judged, and goes on as it is. The node's own connections
 * are let through on its side only, where it can be told that they are. */
static __always_inline int is_plain(const struct conn *c, const struct packet *p,
				    const struct node_config *cfg)
{
	if (c->generation != cfg->generation || p->fragment == FRAGMENT_LATER ||
	    (c->flags & (CONN_DOWN | CONN_UP | CONN_CUT | CONN_HOST)))
		return 0;
	/* A SYN begins a connection, unless the one that there is has just begun. */
	return !is_syn(p) || !(c->flags & (CONN_REPLIED | CONN_FIN_FORWARD | CONN_FIN_REPLY |
					   CONN_RST));
}

/* Packets that are let through without a connection. */
static __always_inline int is_single(const struct packet *p)
{
	return p->fragment == FRAGMENT_LATER || is_icmp(p) ||
	       (p->protocol == IPPROTO_TCP && !is_syn(p));
}

static __always_inline int give_back(struct __sk_buff *skb, const struct node_config *cfg,
				     const struct conn_key *key)
{
	__u8 mac[6];

	pass_returned_mac(mac, cfg, key);
	if (bpf_skb_store_bytes(skb, 0, mac, sizeof(mac), 0))
		return TCX_DROP;
	return bpf_redirect(skb->ifindex, 0);
}

static __always_inline int enter(struct __sk_buff *skb)
{
	struct node_config *cfg = config_get();
	struct packet p = {};
	struct conn_key key;
	struct endpoint *ep;
	enum parsed parsed;
	int own, policed;
	struct conn *c;
	__u64 now;

	if (!cfg)
		return TCX_DROP;
	/* from_pod has put it here. */
	if (cfg->mark && skb->mark == cfg->mark) {
		skb->mark = 0;
		bpf_set_hash_invalid(skb);
		return TCX_NEXT;
	}
	parsed = parse(skb, &p);
	if (parsed == PARSED_ARP || (parsed == PARSED_IP && is_neighbour_discovery(&p)))
		return TCX_NEXT;
	conn_key_from(&key, &p, DIRECTION_INGRESS);
	ep = endpoint_at(pod_ifindex, parsed == PARSED_IP ? &key.pod : NULL, &own);
	if (!ep)
		return is_arming(pod_ifindex) ? TCX_NEXT : drop_silently(REASON_NO_ENDPOINT);
	policed = table_of(ep, DIRECTION_INGRESS) != 0;
	if (parsed == PARSED_OTHER)
		return policed ? drop_silently(REASON_ETHERTYPE) : TCX_NEXT;
	if (parsed == PARSED_MALFORMED)
		return drop_silently(REASON_MALFORMED);
	if (!own)
		return policed ? drop_silently(REASON_FOREIGN) : TCX_NEXT;
	now = bpf_ktime_get_ns();
	c = conn_lookup(&key, ep->number, now);
	if (c && is_plain(c, &p, cfg)) {
		conn_touch(c, &p, c->direction == DIRECTION_INGRESS, now);
		bpf_set_hash_invalid(skb);
		return TCX_NEXT;
	}
	if ((c || is_single(&p)) && is_judged(skb, cfg, &key)) {
		bpf_set_hash_invalid(skb);
		return TCX_NEXT;
	}
	return give_back(skb, cfg, &key);
}
