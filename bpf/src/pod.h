/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What happens to a packet at a policed pod's veth. */
#pragma once

#include "conntrack.h"
#include "events.h"
#include "maps.h"
#include "parse.h"
#include "pass.h"
#include "refusal.h"
#include "reset.h"
#include "shares.h"
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

static __always_inline struct conn conn_of(const struct visit *v, enum conn_flags flags)
{
	struct conn c = {
		.seen = v->now,
		.generation = v->generation,
		.endpoint = v->q.ep.number,
		.rule = v->d.rule,
		.class_port = v->d.class_port,
		.verdict = v->d.verdict,
		.direction = v->q.direction,
		.flags = flags,
	};

	return c;
}

static __always_inline int conn_begin(const struct visit *v, enum conn_flags flags)
{
	struct conn c = conn_of(v, flags);

	return conn_put(&v->key, &c);
}

/* The proxy's own connection may have the same ports, and begin right now on another
 * processor: what is known of it stays known. */
static __always_inline int conn_redirect(const struct visit *v, const struct conn *old)
{
	struct conn c = conn_of(v, CONN_DOWN);

	if (!old) {
		if (!conn_add(&v->key, &c))
			return 0;
		old = conn_get(&v->key);
	}
	if (old && old->endpoint == c.endpoint)
		c.flags |= old->flags & CONN_UP;
	return conn_put(&v->key, &c);
}

/* A TCP packet of no known connection may be a server's reply. It may only be taken for a
 * client's, and open the way back, if the other direction would let that pass too. */
static __always_inline int is_adoptable(struct visit *v)
{
	struct question reverse = v->q;
	struct decision d;

	if (v->p.protocol != IPPROTO_TCP || is_syn(&v->p))
		return 1;
	reverse.direction = !v->q.direction;
	reverse.port = server_port(&v->key, reverse.direction);
	judge(&reverse, &v->key, &d);
	return d.verdict == VERDICT_FORWARDED && !d.host;
}

static __always_inline __u8 redirect_obstacle(const struct visit *v,
					      const struct node_config *cfg, int begins)
{
	if (!begins)
		return REASON_MIDSTREAM;
	if (!has_proxy(cfg) || (v->d.open && cfg->flags & v->d.silent))
		return REASON_NO_PROXY;
	if (!has_listener(v, v->p.ipv6 ? AF_INET6 : AF_INET))
		return REASON_NO_LISTENER;
	return share_obstacle(cfg, &v->key, v->q.direction, v->d.class_port);
}

/* failurePolicy: Open. A class that the proxy serves over the other family only is served. */
static __always_inline int goes_unjudged(const struct visit *v, __u8 obstacle)
{
	if (!v->d.open)
		return 0;
	return obstacle == REASON_NO_PROXY ||
	       (obstacle == REASON_NO_LISTENER &&
		!has_listener(v, v->p.ipv6 ? AF_INET : AF_INET6));
}

/* What the policy allows and cannot be done is answered with a reset, so that its sender tries
 * again at once. What it denies is not answered. */
static __always_inline int is_refused(__u8 reason)
{
	return reason == REASON_MIDSTREAM || reason == REASON_NO_PROXY ||
	       reason == REASON_NO_LISTENER || reason == REASON_CLIENT_LIMIT ||
	       reason == REASON_CLASS_LIMIT;
}

/* The first packet of a connection, or one of a connection that is not known. */
static __always_inline int first_packet(struct __sk_buff *skb, struct visit *v,
					const struct node_config *cfg, struct conn *old)
{
	int begins = v->p.protocol != IPPROTO_TCP || is_syn(&v->p);
	int refused, again, unjudged = 0;
	__u8 reason;

	judge(&v->q, &v->key, &v->d);
	if (v->d.verdict == VERDICT_REDIRECTED) {
		reason = redirect_obstacle(v, cfg, begins);
		if (reason != REASON_NONE) {
			v->d.verdict = is_audit(&v->q.ep, v->q.direction) ? VERDICT_AUDITED :
									    VERDICT_DENIED;
			v->d.reason = reason;
			unjudged = goes_unjudged(v, reason);
			if (unjudged)
				v->d.verdict = VERDICT_FORWARDED;
		}
	}
	refused = v->d.verdict == VERDICT_DENIED || v->d.verdict == VERDICT_AUDITED;
	again = refused && refused_before(skb, &v->p, &v->key, &v->q);
	if (v->d.policed && begins && !again)
		count_rule(&v->d);
	switch (v->d.verdict) {
	case VERDICT_DENIED:
		reason = v->d.reason;
		/* The end of a connection that is older than the policy: the other side waits. */
		if (reason == REASON_MIDSTREAM && is_bare_reset(skb, &v->p))
			return pass(skb, v, cfg);
		if (again)
			count_drop(reason);
		else
			drop(v, reason);
		if (is_refused(reason) && v->p.protocol == IPPROTO_TCP)
			return refuse(skb, v, cfg);
		return TCX_DROP;
	case VERDICT_REDIRECTED:
		if (conn_redirect(v, old))
			return drop(v, REASON_MIDSTREAM);
		neighbour_note(skb, &v->key, v->q.direction);
		emit(&v->q, &v->key, &v->d);
		return redirect(skb, v, cfg, leg_of(v->q.direction, 1));
	}
	/* ICMP but echo requests has no replies to remember it for. */
	if (is_icmp(&v->p) && !(v->p.echo && v->p.icmp != ICMP_ECHOREPLY &&
				v->p.icmp != ICMPV6_ECHO_REPLY)) {
		if (v->d.verdict == VERDICT_AUDITED && !again)
			emit(&v->q, &v->key, &v->d);
		return pass(skb, v, cfg);
	}
	if (unjudged)
		conn_begin(v, CONN_UNJUDGED);
	else if (is_adoptable(v))
		conn_begin(v, v->d.host ? CONN_HOST : 0);
	if (v->d.policed && !again && (begins || v->d.verdict == VERDICT_AUDITED))
		emit(&v->q, &v->key, &v->d);
	return pass(skb, v, cfg);
}

/* The policy has changed since the connection was judged: judge it again, whichever side the
 * packet comes from. Returns a reason, and REASON_NONE if the connection lives on. */
static __always_inline __u8 judge_again(struct visit *v, struct conn *c)
{
	__u8 reason;

	if (c->generation == v->generation || (c->flags & (CONN_HOST | CONN_CUT)))
		return REASON_NONE;
	if (c->flags & CONN_UP && !(c->flags & CONN_DOWN))
		return REASON_NONE;
	judge(&v->q, &v->key, &v->d);
	reason = objection(c, &v->d, is_audit(&v->q.ep, v->q.direction));
	if (reason != REASON_NONE)
		return reason;
	c->generation = v->generation;
	c->rule = v->d.rule;
	if (!(c->flags & CONN_DOWN))
		c->verdict = v->d.verdict;
	return REASON_NONE;
}

/* A packet of a connection that has to end. A reset for its sender alone would leave the
 * receiver waiting, so the Go side has a second to end the sockets, which tells both. The
 * reset that ends a direct connection goes on, once; that of a proxied one is for the proxy. */
static __always_inline int cut(struct __sk_buff *skb, struct visit *v,
			       const struct node_config *cfg, struct conn *c, int forward)
{
	if (!is_bare_reset(skb, &v->p)) {
		__u64 grace = c->flags & CONN_SWEPT ? SECOND / 10 : SECOND;

		/* Who has got a reset for a packet that was dropped asks whether it is meant
		 * (RFC 5961): then no time is left to wait for. */
		return c->flags & CONN_RST || v->now - c->seen > grace ? refuse(skb, v, cfg) :
									 TCX_DROP;
	}
	if (c->flags & CONN_DOWN)
		return forward && has_proxy(cfg) ?
			       redirect(skb, v, cfg, leg_of(c->direction, 1)) : TCX_DROP;
	if (c->flags & CONN_RST)
		return TCX_DROP;
	c->flags |= CONN_RST;
	return pass(skb, v, cfg);
}

/* A packet of a known connection. */
static __always_inline int next_packet(struct __sk_buff *skb, struct visit *v,
				       const struct node_config *cfg, struct conn *c)
{
	int forward = c->direction == v->q.hook;
	__u8 reason;

	v->q.direction = c->direction;
	v->q.port = server_port(&v->key, c->direction);
	if (is_icmp(&v->p))
		v->q.port = bpf_htons((v->p.ipv6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO) << 8);
	reason = judge_again(v, c);
	if (reason != REASON_NONE) {
		drop(v, reason);
		if (v->p.protocol != IPPROTO_TCP) {
			conn_forget(&v->key);
			return TCX_DROP;
		}
		c->flags |= CONN_CUT;
		c->seen = v->now;
		return cut(skb, v, cfg, c, forward);
	}
	/* The proxy's own connection may have the same ports. */
	if (c->flags & CONN_CUT && (forward || !(c->flags & CONN_UP))) {
		count_drop(REASON_CUT);
		return cut(skb, v, cfg, c, forward);
	}
	conn_touch(c, &v->p, forward, v->now);
	if (c->flags & (forward ? CONN_DOWN : CONN_UP)) {
		if (!has_proxy(cfg))
			return drop(v, REASON_NO_PROXY);
		return redirect(skb, v, cfg, leg_of(c->direction, forward));
	}
	/* The pod or its peer speaks where only the proxy does. */
	if (c->flags & (CONN_DOWN | CONN_UP))
		return drop_silently(REASON_MIDSTREAM);
	return pass(skb, v, cfg);
}

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
 * another class, or anywhere, without being lost. */
static __always_inline int is_new_question(const struct visit *v, const struct node_config *cfg,
					   const struct conn *c)
{
	return v->p.protocol == IPPROTO_UDP && (c->flags & CONN_DOWN) &&
	       c->direction == v->q.hook && c->generation != cfg->generation;
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
