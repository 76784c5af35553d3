/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A TCP packet that must go no further → a reset to its sender, in the name of its receiver. */
#pragma once

#include <linux/tcp.h>
#include "conntrack.h"
#include "maps.h"
#include "parse.h"

/* The two are copied to the frame's bytes behind its Ethernet header. */
struct reset_ipv4 {
	struct iphdr ip;
	struct tcphdr tcp;
};

struct reset_ipv6 {
	struct ipv6hdr ip;
	struct tcphdr tcp;
};

static __always_inline __u16 csum_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* A sum does not mind that source and destination have changed places, and the prefix of two
 * mapped IPv4 addresses is 0xffff twice, which is nothing to a sum modulo 0xffff. */
static __always_inline void tcp_checksum(struct tcphdr *tcp, const struct packet *p)
{
	__s64 sum = bpf_htons(sizeof(*tcp)) + bpf_htons(IPPROTO_TCP);

	sum = bpf_csum_diff(NULL, 0, (__be32 *)&p->src, 2 * sizeof(struct addr), sum);
	sum = bpf_csum_diff(NULL, 0, (__be32 *)tcp, sizeof(*tcp), sum);
	tcp->check = csum_fold(sum);
}

/* RFC 9293, 3.5.2: a reset has the sequence number that its receiver waits for. */
static __always_inline int reset_segment(struct __sk_buff *skb, const struct packet *p,
					 struct tcphdr *out)
{
	struct tcphdr in;
	__u32 end;

	if (bpf_skb_load_bytes(skb, p->l4, &in, sizeof(in)))
		return -1;
	__builtin_memset(out, 0, sizeof(*out));
	out->source = in.dest;
	out->dest = in.source;
	out->doff = sizeof(*out) / 4;
	out->rst = 1;
	if (in.ack) {
		out->seq = in.ack_seq;
	} else {
		/* A SYN, whose data would be acknowledged as well, is acknowledged alone. */
		end = bpf_ntohl(in.seq) + in.syn + in.fin;
		out->ack_seq = bpf_htonl(end);
		out->ack = 1;
	}
	tcp_checksum(out, p);
	return 0;
}

static __always_inline int reset_write(struct __sk_buff *skb, const void *headers, __u32 size)
{
	__u8 macs[12];	/* swapped */

	if (bpf_skb_load_bytes(skb, 6, macs, 6) || bpf_skb_load_bytes(skb, 0, macs + 6, 6) ||
	    bpf_skb_change_tail(skb, ETH_HLEN + size, 0))
		return -1;
	return bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0) ||
	       bpf_skb_store_bytes(skb, ETH_HLEN, headers, size, BPF_F_RECOMPUTE_CSUM);
}

/* A checksum that the sender has left to its device is left so: such a packet was made on
 * this machine, and so is read here. */
static __noinline int reset(struct __sk_buff *skb, const struct packet *p)
{
	if (p->tcp & TCP_RST)
		return -1;
	if (p->ipv6) {
		struct reset_ipv6 h = {
			.ip = {
				.version = 6,
				.payload_len = bpf_htons(sizeof(h.tcp)),
				.nexthdr = IPPROTO_TCP,
				.hop_limit = 64,
			},
		};

		__builtin_memcpy(&h.ip.saddr, p->dst.b, 16);
		__builtin_memcpy(&h.ip.daddr, p->src.b, 16);
		if (reset_segment(skb, p, &h.tcp))
			return -1;
		return reset_write(skb, &h, sizeof(h));
	}
	struct reset_ipv4 h = {
		.ip = {
			.version = 4,
			.ihl = 5,
			.tot_len = bpf_htons(sizeof(h)),
			.frag_off = bpf_htons(0x4000),
			.ttl = 64,
			.protocol = IPPROTO_TCP,
		},
	};

	__builtin_memcpy(&h.ip.saddr, p->dst.b + 12, 4);
	__builtin_memcpy(&h.ip.daddr, p->src.b + 12, 4);
	h.ip.check = csum_fold(bpf_csum_diff(NULL, 0, (__be32 *)&h.ip, sizeof(h.ip), 0));
	if (reset_segment(skb, p, &h.tcp))
		return -1;
	return reset_write(skb, &h, sizeof(h));
}
