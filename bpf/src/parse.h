/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A frame → struct packet. All reads are copies, so that a non-linear skb needs no pull. */
#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "types.h"

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define ICMP_ECHOREPLY 0
#define ICMP_DEST_UNREACH 3
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12
#define ICMPV6_DEST_UNREACH 1
#define ICMPV6_PARAMPROB 4
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY 129

#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_FRAGMENT_OFFSET 0x1fff
#define IPV6_EXTENSIONS_MAX 6

enum parsed {
	PARSED_IP,
	PARSED_ARP,
	PARSED_OTHER,
	PARSED_MALFORMED,
};

enum fragment_kind {
	FRAGMENT_NONE,
	FRAGMENT_FIRST,
	FRAGMENT_LATER,	/* has no ports */
};

struct packet {
	struct addr src;
	struct addr dst;
	__u16 src_port;		/* big endian; the id of an ICMP echo in both ports */
	__u16 dst_port;
	__u32 l4;		/* offset from the frame's start */
	__u32 fragment_id;
	__u8 protocol;
	__u8 ipv6;
	__u8 hops;
	__u8 fragment;
	__u8 tcp;		/* TCP's flags */
	__u8 icmp;		/* ICMP's type */
	__u8 echo;		/* an echo request or reply */
};

static __always_inline void addr_from_ipv4(struct addr *a, __be32 ip)
{
	__builtin_memset(a->b, 0, 10);
	a->b[10] = 0xff;
	a->b[11] = 0xff;
	__builtin_memcpy(a->b + 12, &ip, 4);
}

/* The addresses of a struct bpf_sk_lookup or bpf_sock_ops, whose fields have the same names. The
 * verifier wants them read at fixed offsets: the barrier keeps the compiler from folding the
 * two families into one read. */
#define ADDRS_FROM_CTX(ctx, local, remote)						\
do {											\
	__u32 *l_ = (__u32 *)(local)->b, *r_ = (__u32 *)(remote)->b;			\
											\
	if ((ctx)->family == AF_INET) {							\
		__be32 local_ip_ = (ctx)->local_ip4, remote_ip_ = (ctx)->remote_ip4;	\
											\
		asm volatile("" : "+r"(local_ip_), "+r"(remote_ip_));			\
		addr_from_ipv4(local, local_ip_);					\
		addr_from_ipv4(remote, remote_ip_);					\
		break;									\
	}										\
	l_[0] = (ctx)->local_ip6[0];							\
	l_[1] = (ctx)->local_ip6[1];							\
	l_[2] = (ctx)->local_ip6[2];							\
	l_[3] = (ctx)->local_ip6[3];							\
	r_[0] = (ctx)->remote_ip6[0];							\
	r_[1] = (ctx)->remote_ip6[1];							\
	r_[2] = (ctx)->remote_ip6[2];							\
	r_[3] = (ctx)->remote_ip6[3];							\
} while (0)

static __always_inline int addr_is_mapped(const struct addr *a)
{
	const __u32 *w = (const __u32 *)a->b;

	return w[0] == 0 && w[1] == 0 && w[2] == bpf_htonl(0xffff);
}

static __always_inline int parse_ipv4(struct __sk_buff *skb, __u32 off, struct packet *p)
{
	struct iphdr ip;
	__u16 frag;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5)
		return -1;
	addr_from_ipv4(&p->src, ip.saddr);
	addr_from_ipv4(&p->dst, ip.daddr);
	p->protocol = ip.protocol;
	p->hops = ip.ttl;
	p->l4 = off + ip.ihl * 4;
	frag = bpf_ntohs(ip.frag_off);
	if (frag & (IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET)) {
		p->fragment = frag & IPV4_FRAGMENT_OFFSET ? FRAGMENT_LATER : FRAGMENT_FIRST;
		p->fragment_id = ip.id;
	}
	return 0;
}

/* An address of the IPv4-mapped range never stands in a real IPv6 packet: here it would take
 * an IPv4 address's identity. */
static __always_inline int parse_ipv6(struct __sk_buff *skb, __u32 off, struct packet *p)
{
	struct ipv6hdr ip;
	__u8 next;
	int i;

	if (bpf_skb_load_bytes(skb, off, &ip, sizeof(ip)) || ip.version != 6)
		return -1;
	__builtin_memcpy(p->src.b, &ip.saddr, 16);
	__builtin_memcpy(p->dst.b, &ip.daddr, 16);
	if (addr_is_mapped(&p->src) || addr_is_mapped(&p->dst))
		return -1;
	p->ipv6 = 1;
	p->hops = ip.hop_limit;
	next = ip.nexthdr;
	off += sizeof(ip);
	for (i = 0; i < IPV6_EXTENSIONS_MAX; i++) {
		__u8 ext[8];

		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING &&
		    next != IPPROTO_DSTOPTS && next != IPPROTO_FRAGMENT)
			break;
		if (bpf_skb_load_bytes(skb, off, ext, sizeof(ext)))
			return -1;
		/* Segments left: the destination is not where it goes in the end. */
		if (next == IPPROTO_ROUTING && ext[3])
			return -1;
		if (next == IPPROTO_FRAGMENT) {
			__u16 frag = (ext[2] << 8) | ext[3];

			if (frag & 0xfff9) {
				p->fragment = frag & 0xfff8 ? FRAGMENT_LATER : FRAGMENT_FIRST;
				__builtin_memcpy(&p->fragment_id, ext + 4, 4);
			}
			off += 8;
		} else {
			off += (ext[1] + 1) * 8;
		}
		next = ext[0];
		if (p->fragment == FRAGMENT_LATER)
			break;
	}
	if (i == IPV6_EXTENSIONS_MAX)
		return -1;
	p->protocol = next;
	p->l4 = off;
	return 0;
}

static __always_inline int has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

static __always_inline int parse_ports(struct __sk_buff *skb, struct packet *p)
{
	__u16 ports[2];

	if (bpf_skb_load_bytes(skb, p->l4, ports, sizeof(ports)))
		return -1;
	p->src_port = ports[0];
	p->dst_port = ports[1];
	return 0;
}

static __always_inline int is_icmp(const struct packet *p)
{
	return p->protocol == (p->ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

static __always_inline int parse_icmp(struct __sk_buff *skb, struct packet *p)
{
	__u8 icmp[8];

	if (bpf_skb_load_bytes(skb, p->l4, icmp, sizeof(icmp)))
		return -1;
	p->icmp = icmp[0];
	p->echo = p->ipv6 ? icmp[0] == ICMPV6_ECHO_REQUEST || icmp[0] == ICMPV6_ECHO_REPLY :
			    icmp[0] == ICMP_ECHO || icmp[0] == ICMP_ECHOREPLY;
	if (p->echo) {
		__builtin_memcpy(&p->src_port, icmp + 4, 2);
		p->dst_port = p->src_port;
	}
	return 0;
}

static __always_inline int parse_l4(struct __sk_buff *skb, struct packet *p)
{
	if (p->fragment == FRAGMENT_LATER)
		return 0;
	if (has_ports(p->protocol)) {
		if (parse_ports(skb, p))
			return -1;
		if (p->protocol == IPPROTO_TCP)
			return bpf_skb_load_bytes(skb, p->l4 + 13, &p->tcp, 1) ? -1 : 0;
		return 0;
	}
	if (is_icmp(p))
		return parse_icmp(skb, p);
	return 0;
}

static __always_inline enum parsed parse(struct __sk_buff *skb, struct packet *p)
{
	int err;

	if (skb->vlan_present)
		return PARSED_OTHER;
	switch (skb->protocol) {
	case bpf_htons(ETH_P_ARP):
		return PARSED_ARP;
	case bpf_htons(ETH_P_IP):
		err = parse_ipv4(skb, ETH_HLEN, p);
		break;
	case bpf_htons(ETH_P_IPV6):
		err = parse_ipv6(skb, ETH_HLEN, p);
		break;
	default:
		return PARSED_OTHER;
	}
	if (err || parse_l4(skb, p))
		return PARSED_MALFORMED;
	return PARSED_IP;
}

static __always_inline int is_icmp_error(const struct packet *p)
{
	if (p->fragment != FRAGMENT_NONE || !is_icmp(p))
		return 0;
	if (p->ipv6)
		return p->icmp >= ICMPV6_DEST_UNREACH && p->icmp <= ICMPV6_PARAMPROB;
	return p->icmp == ICMP_DEST_UNREACH || p->icmp == ICMP_TIME_EXCEEDED ||
	       p->icmp == ICMP_PARAMETERPROB;
}

/* The packet that an ICMP error is about. */
static __always_inline int parse_inner(struct __sk_buff *skb, const struct packet *p,
				       struct packet *inner)
{
	__u32 off = p->l4 + 8;

	if (p->ipv6 ? parse_ipv6(skb, off, inner) : parse_ipv4(skb, off, inner))
		return -1;
	if (inner->fragment == FRAGMENT_LATER)
		return -1;
	if (has_ports(inner->protocol))
		return parse_ports(skb, inner);
	if (is_icmp(inner))
		return parse_icmp(skb, inner);
	return 0;
}

/* Router and neighbour discovery, which no router forwards. */
static __always_inline int is_neighbour_discovery(const struct packet *p)
{
	return p->ipv6 && p->protocol == IPPROTO_ICMPV6 && p->fragment == FRAGMENT_NONE &&
	       p->icmp >= 133 && p->icmp <= 137 && p->hops == 255;
}

/* A packet that begins a TCP connection. */
static __always_inline int is_syn(const struct packet *p)
{
	return (p->tcp & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
}
