/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* How the two sides of a pod's veth tell each other what they know of a packet: by a keyed
 * hash of its flow. Marks do not cross namespaces. */
#pragma once

#include "maps.h"

/* What a hash says. */
enum pass {
	PASS_JUDGED = 0,	/* to the pod: the node's side has let it through */
	PASS_RETURNED = 1,	/* from the pod's side: it has come around the node's */
};

#define PASS_WORDS (sizeof(struct conn_key) / 8)
#define PASS_ROTATE(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
#define PASS_ROUND(a, b, c, d)                                                                     \
	do {                                                                                       \
		a += b; b = PASS_ROTATE(b, 13); b ^= a; a = PASS_ROTATE(a, 32);                    \
		c += d; d = PASS_ROTATE(d, 16); d ^= c;                                            \
		a += d; d = PASS_ROTATE(d, 21); d ^= a;                                            \
		c += b; b = PASS_ROTATE(b, 17); b ^= c; c = PASS_ROTATE(c, 32);                    \
	} while (0)

/* SipHash-1-3 of the flow. */
static __noinline __u64 pass_of(const struct node_config *cfg, const struct conn_key *key,
				__u64 what)
{
	const __u32 *in = (const __u32 *)key;
	__u64 a = cfg->pass_key[0] ^ 0x736f6d6570736575ULL;
	__u64 b = cfg->pass_key[1] ^ 0x646f72616e646f6dULL;
	__u64 c = cfg->pass_key[0] ^ 0x6c7967656e657261ULL;
	__u64 d = cfg->pass_key[1] ^ 0x7465646279746573ULL;
	__u64 word;
	__u32 i;

	_Static_assert(sizeof(*key) % 8 == 0, "whole words");
#pragma unroll
	for (i = 0; i < PASS_WORDS; i++) {
		word = (__u64)in[2 * i + 1] << 32 | in[2 * i];
		d ^= word;
		PASS_ROUND(a, b, c, d);
		a ^= word;
	}
	word = (__u64)(sizeof(*key) + 8) << 56 | what;
	d ^= word;
	PASS_ROUND(a, b, c, d);
	a ^= word;
	c ^= 0xff;
	PASS_ROUND(a, b, c, d);
	PASS_ROUND(a, b, c, d);
	PASS_ROUND(a, b, c, d);
	return a ^ b ^ c ^ d;
}

/* The packet's own hash crosses a veth, and no pod chooses it. */
static __always_inline void pass_judged(struct __sk_buff *skb, const struct node_config *cfg,
					const struct conn_key *key)
{
	bpf_set_hash(skb, (__u32)pass_of(cfg, key, PASS_JUDGED));
}

static __always_inline int is_judged(const struct __sk_buff *skb, const struct node_config *cfg,
				     const struct conn_key *key)
{
	return skb->hash == (__u32)pass_of(cfg, key, PASS_JUDGED);
}

/* A pod sees the frames on its interface and could send such, but not of a flow that it has
 * not seen: the hash stands in place of its own hardware address. */
static __always_inline void pass_returned_mac(__u8 *mac, const struct node_config *cfg,
					      const struct conn_key *key)
{
	__u64 h = pass_of(cfg, key, PASS_RETURNED);

	__builtin_memcpy(mac, &h, 6);
	mac[0] = (mac[0] & 0xfc) | 0x02; /* one station's, locally administered */
}
