/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What becomes of a packet by the connection that it begins or belongs to. */
#pragma once

#include "conntrack.h"
#include "refusal.h"
#include "shares.h"
#include "visit.h"

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
