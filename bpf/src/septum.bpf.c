/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The programs. On allow they return TCX_NEXT, never TCX_PASS, which would end the chain
 * before the programs of the CNI. */

#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include "guard.h"
#include "podside.h"
#include "shares.h"
#include "sweep.h"
#include "shut.h"

char _license[] SEC("license") = "Dual BSD/GPL";

/* A policed pod's host-side veth, egress: what goes to the pod. */
SEC("tcx/egress")
int to_pod(struct __sk_buff *skb)
{
	return enforce(skb, DIRECTION_INGRESS);
}

/* A policed pod's host-side veth, ingress: what the pod sends. */
SEC("tcx/ingress")
int from_pod(struct __sk_buff *skb)
{
	return enforce(skb, DIRECTION_EGRESS);
}

/* The host-side veth of a pod on a bridge that no policy selects, ingress. */
SEC("tcx/ingress")
int guard_pod(struct __sk_buff *skb)
{
	return guard(skb);
}

/* A policed pod's interface that cannot be policed. */
SEC("tcx/ingress")
int shut_in(struct __sk_buff *skb)
{
	return shut(REASON_FOREIGN);
}

SEC("tcx/egress")
int shut_out(struct __sk_buff *skb)
{
	return shut(REASON_SPOOFED);
}

/* A policed pod's own interface, ingress: what comes in, by whatever way. */
SEC("tcx/ingress")
int into_pod(struct __sk_buff *skb)
{
	return enter(skb);
}

/* The proxy's veths, ingress on the node's side: what the proxy sends. Nothing of it reaches the host's own stack. */
SEC("tcx/ingress")
int proxy_host(struct __sk_buff *skb)
{
	struct node_config *cfg = config_get();
	int action = cfg ? from_proxy(skb, cfg) : TCX_DROP;

	if (action == TCX_DROP)
		count_drop(REASON_PROXY_FRAME);
	return action;
}

/* The proxy's sides, egress: the mark of Envoy's socket becomes the leg. */
SEC("tcx/egress")
int proxy_out(struct __sk_buff *skb)
{
	struct node_config *cfg = config_get();
	__u8 macs[12];

	if (!cfg)
		return TCX_DROP;
	leg_macs(macs, cfg->l7p0_mac, skb->mark & 7);
	bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0);
	return TCX_NEXT;
}

/* The class of the connection that begins, which the pod's program has noted. */
static __always_inline __u16 class_port_of(struct conn_key *key)
{
	struct conn *c = conn_get(key);

	return c && (c->flags & CONN_DOWN) ? c->class_port : 0;
}

/* A socket that the proxy has bound to its loopback address, for datagrams of a class. */
static __always_inline struct bpf_sock *datagram_socket(struct __sk_buff *skb,
							const struct packet *p, __u16 class_port)
{
	struct bpf_sock_tuple t = {};

	if (p->ipv6) {
		t.ipv6.daddr[3] = bpf_htonl(1);
		t.ipv6.dport = bpf_htons(class_port);
		return bpf_sk_lookup_udp(skb, &t, sizeof(t.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	t.ipv4.daddr = bpf_htonl(INADDR_LOOPBACK);
	t.ipv4.dport = bpf_htons(class_port);
	return bpf_sk_lookup_udp(skb, &t, sizeof(t.ipv4), BPF_F_CURRENT_NETNS, 0);
}

/* The sides of legs 1 and 3, ingress: a client's datagram → its class's socket. Nothing listens for a datagram that
 * sk_lookup could be told of, as sock_ops does for TCP. A question in fragments is dropped:
 * what is put together again has no class. */
static __always_inline int datagram_in(struct __sk_buff *skb)
{
	struct packet p = {};
	struct conn_key key;
	struct bpf_sock *sk;
	struct conn *c;
	__u8 leg = 0;
	long err;

	if (parse(skb, &p) != PARSED_IP || p.protocol != IPPROTO_UDP ||
	    bpf_skb_load_bytes(skb, 11, &leg, 1))
		return TCX_NEXT;
	if (leg != LEG_INGRESS_DOWN && leg != LEG_EGRESS_DOWN)
		return TCX_NEXT;
	if (p.fragment != FRAGMENT_NONE) {
		count_drop(REASON_FRAGMENT);
		return TCX_DROP;
	}
	conn_key_from(&key, &p, leg == LEG_INGRESS_DOWN ? DIRECTION_INGRESS : DIRECTION_EGRESS);
	c = conn_get(&key);
	sk = c && (c->flags & CONN_DOWN) ? datagram_socket(skb, &p, c->class_port) : NULL;
	if (!sk) {
		count_drop(REASON_NO_LISTENER);
		return TCX_DROP;
	}
	err = bpf_sk_assign(skb, sk, 0);
	bpf_sk_release(sk);
	return err ? TCX_DROP : TCX_NEXT;
}

SEC("tcx/ingress")
int proxy_in(struct __sk_buff *skb)
{
	return datagram_in(skb);
}

static __always_inline int is_loopback(const struct addr *a)
{
	struct addr mapped, ipv6 = {};

	addr_from_ipv4(&mapped, bpf_htonl(INADDR_LOOPBACK));
	ipv6.b[15] = 1;
	return !__builtin_memcmp(a, &mapped, sizeof(*a)) ||
	       !__builtin_memcmp(a, &ipv6, sizeof(*a));
}

/* The leg whose veth ends in the interface, 0 for none. */
static __always_inline __u8 leg_at(const struct node_config *cfg, __u32 ifindex)
{
	__u8 i;

	for (i = 0; i < LEGS; i++)
		if (ifindex && ifindex == cfg->l7p1_ifindex[i])
			return i + 1;
	return 0;
}

/* The proxy's namespace: a packet of a client that no socket owns → its class's listener. */
SEC("sk_lookup")
int steer(struct bpf_sk_lookup *ctx)
{
	struct node_config *cfg = config_get();
	struct conn_key key = { .protocol = IPPROTO_TCP };
	struct addr local, remote;
	__u32 listener, ifindex;
	struct bpf_sock *sk;
	__u8 leg;
	__u16 port;
	long err;

	if (!cfg)
		return SK_PASS;
	ifindex = ctx->ingress_ifindex;
	leg = leg_at(cfg, ifindex);
	if (!leg)
		return SK_PASS;
	ADDRS_FROM_CTX(ctx, &local, &remote);
	/* An answer to no connected socket, or a datagram that proxy_in has not seen. What is
	 * addressed to loopback is proxy_in's own look-up, and cannot come over the veth. */
	if (ctx->protocol != IPPROTO_TCP)
		return is_loopback(&local) ? SK_PASS : SK_DROP;
	/* The pod is the server on ingress, and the client on egress. */
	if (leg == LEG_INGRESS_DOWN) {
		key.pod = local;
		key.peer = remote;
		key.pod_port = bpf_htons(ctx->local_port);
		key.peer_port = ctx->remote_port;
	} else if (leg == LEG_EGRESS_DOWN) {
		key.pod = remote;
		key.peer = local;
		key.pod_port = ctx->remote_port;
		key.peer_port = bpf_htons(ctx->local_port);
	} else {
		return SK_DROP; /* a server's, of a connection that the proxy has no more */
	}
	port = class_port_of(&key);
	if (!port)
		return SK_DROP;
	listener = listener_key(ctx->family, port);
	sk = bpf_map_lookup_elem(&listeners, &listener);
	if (!sk)
		return SK_DROP;
	err = bpf_sk_assign(ctx, sk, 0);
	bpf_sk_release(sk);
	return err ? SK_DROP : SK_PASS;
}

/* The root of the cgroups: every listener that the proxy's namespace opens is kept by its
 * port, and every client's socket is counted. What has been counted is taken off again wherever
 * the proxy is by then. */
SEC("sockops")
int on_socket(struct bpf_sock_ops *ctx)
{
	struct node_config *cfg;
	__u32 key;

	if (ctx->op == BPF_SOCK_OPS_STATE_CB) {
		if (ctx->args[1] == BPF_TCP_CLOSE)
			client_went(ctx);
		return 1;
	}
	if (ctx->op != BPF_SOCK_OPS_TCP_LISTEN_CB &&
	    ctx->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return 1;
	cfg = config_get();
	if (!cfg || !cfg->netns_cookie || bpf_get_netns_cookie(ctx) != cfg->netns_cookie)
		return 1;
	if (ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB) {
		client_came(ctx, cfg);
		return 1;
	}
	key = listener_key(ctx->family, ctx->local_port);
	bpf_sock_hash_update(ctx, &listeners, &key, BPF_ANY);
	return 1;
}

/* Each connection, after a change of policy: those that may not go on are marked, and told of. */
SEC("iter/bpf_map_elem")
int sweep(struct bpf_iter__bpf_map_elem *ctx)
{
	struct conn_key *key = ctx->key;
	struct conn *c = ctx->value;
	struct node_config *cfg = config_get();

	if (!key || !c || !cfg)
		return 0;
	return judge_known(ctx->meta->seq, cfg, key, c);
}
