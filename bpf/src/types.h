/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The structs that the programs and the Go side share. bpf2go makes the Go types from them;
 * a test pins sizes and offsets, because pinned maps outlive the programs. */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#define TCX_NEXT -1
#define TCX_DROP 2

/* The verdicts, numbered as policy.Verdict. */
enum verdict {
	VERDICT_DENIED = 0,
	VERDICT_FORWARDED = 1,
	VERDICT_REDIRECTED = 2,
	VERDICT_AUDITED = 3,
};

enum direction {
	DIRECTION_INGRESS = 0,
	DIRECTION_EGRESS = 1,
};

/* Why a packet was dropped; an index into the map drops. REASON_NONE is also the reason of an
 * event whose packet went on. */
enum reason {
	REASON_NONE = 0,
	REASON_POLICY = 1,	/* denied by a rule or by default deny */
	REASON_NO_ENDPOINT = 2,	/* a program is attached, and no policy has been written yet */
	REASON_SPOOFED = 3,	/* a pod's packet whose source address is not the pod's */
	REASON_FOREIGN = 4,	/* to a policed pod, but to none of its addresses */
	REASON_MALFORMED = 5,
	REASON_ETHERTYPE = 6,	/* neither IP nor ARP, or tagged with a VLAN */
	REASON_FRAGMENT = 7,	/* a fragment whose first one was not let through */
	REASON_MIDSTREAM = 8,	/* TCP of an unknown connection that a proxy would have to judge */
	REASON_RECLASSED = 9,	/* a proxied connection that belongs to another class now */
	REASON_CUT = 10,	/* an open connection that a new policy denies or redirects */
	REASON_NO_PROXY = 11,	/* redirected, and there is no proxy, or one that is silent */
	REASON_NO_LISTENER = 12, /* redirected, and the proxy does not listen for the class */
	REASON_UNSUPPORTED = 13, /* redirected, and neither TCP nor UDP */
	REASON_PROXY_FRAME = 14, /* a frame from the proxy that belongs to no leg or pod */
	REASON_EVENT_LOST = 15,	/* no drop: an event that found the ring full */
	REASON_CLIENT_LIMIT = 16, /* redirected, and its client has its share of the proxy already */
	REASON_CLASS_LIMIT = 17, /* redirected, and its class has its share of the proxy already */
	REASON_MAX = 18,
};

/* The four legs of proxied connections, as Envoy's sockets are marked. */
enum leg {
	LEG_INGRESS_DOWN = 1,
	LEG_INGRESS_UP = 2,
	LEG_EGRESS_DOWN = 3,
	LEG_EGRESS_UP = 4,
};

/* An IPv6 address, or an IPv4 address mapped into ::ffff:0:0/96. */
struct addr {
	__u8 b[16];
} __attribute__((aligned(4)));

#define LEGS 4

enum node_flags {
	NODE_ENVOY_SILENT = 1,	/* Envoy is there, and does not answer its control plane */
	NODE_OWN_SILENT = 2,	/* the same of the own proxy */
};

/* What is special to this node and changes at run time. Each leg has a veth into the proxy's
 * namespace, by leg - 1. */
struct node_config {
	__u64 netns_cookie;	/* of the proxy's namespace */
	__u32 l7p0_ifindex[LEGS];	/* 0: no proxy, redirected traffic is dropped */
	__u32 l7p1_ifindex[LEGS];	/* in the proxy's namespace */
	__u32 generation;	/* goes up when tables, addresses or endpoints change */
	__u32 mark;		/* random: frames that the proxy's veth re-injects carry it */
	__u8 l7p0_mac[6];
	__u8 l7p1_mac[6];
	enum node_flags flags;
	__u64 pass_key[2];	/* random: of the hashes by which a veth's sides speak */
	/* Connections of one client, and of one class, that the proxy serves; 0: any number. */
	__u32 client_limit;
	__u32 class_limit;
};

enum endpoint_flags {
	ENDPOINT_AUDIT_INGRESS = 1,
	ENDPOINT_AUDIT_EGRESS = 2,
};

/* What a policy says of an address of a pod. Table 0: the direction is not policed. */
struct endpoint {
	__u32 number;		/* a hash of the pod's UID */
	__u32 ingress;
	__u32 egress;
	enum endpoint_flags flags;
};

/* Where an address of a pod is. */
struct pod {
	__u32 ifindex;		/* of the host side of its veth */
	__u8 mac[6];
	__u8 host_mac[6];
};

/* Who has a share of the proxy: a client, in one direction, or a class. */
struct share_key {
	__u64 netns_cookie;	/* of the proxy's namespace */
	struct addr client;
	__u16 class_port;
	__u8 direction;
	__u8 pad[5];
};

/* What a socket of the proxy has been counted for. */
struct counted {
	struct share_key client;
	struct share_key of_class;
};

struct address_key {
	__u32 prefixlen;
	struct addr addr;
};

/* The bits after identity are protocol (8) and port (16, big endian). */
struct table_key {
	__u32 prefixlen;
	__u32 table;
	__u32 identity;
	__u8 protocol;
	__u8 port[2];
	__u8 pad;
};

enum value_flags {
	VALUE_OPEN = 1,		/* redirected: goes on where the proxy cannot judge it */
	VALUE_OWN = 2,		/* redirected: the proxy is the own one, not Envoy */
} __attribute__((packed));

struct table_value {
	__u32 rule;
	__u16 class_port;
	__u8 verdict;
	enum value_flags flags;	/* a byte */
};

/* A connection as its pod sees it, so that both directions have one key. Ports are big endian. */
struct conn_key {
	struct addr pod;
	struct addr peer;
	__u16 pod_port;
	__u16 peer_port;
	__u8 protocol;
	__u8 pad[3];
};

enum conn_flags {
	CONN_DOWN = 1,		/* a client's connection, which the proxy answers */
	CONN_UP = 2,		/* the proxy's own connection in the client's name */
	CONN_HOST = 4,		/* begun by the pod's own node: always allowed */
	CONN_CUT = 8,		/* has to end: see cut() */
	CONN_REPLIED = 16,
	CONN_FIN_FORWARD = 32,
	CONN_FIN_REPLY = 64,
	CONN_RST = 128,
	CONN_UNJUDGED = 256,	/* begun while the proxy could not judge it */
	CONN_SWEPT = 512,	/* has to end, and the Go side knows of it */
};

struct conn {
	__u64 seen;		/* bpf_ktime_get_ns */
	__u32 generation;
	__u32 endpoint;
	__u32 rule;
	__u16 class_port;
	__u8 verdict;
	__u8 direction;
	enum conn_flags flags;
	__u32 pad;
};

/* A connection that a sweep has ended, and its flags before. */
struct ended {
	struct conn_key key;
	enum conn_flags flags;
	__u8 direction;
	__u8 pad[3];
};

/* The other side's hardware address, as a pod would use it for a peer. */
/* A pod's interface on the node's side and one of its addresses; all zero: that it is one. */
struct owner_key {
	__u32 ifindex;
	struct addr addr;
};

struct neighbour_key {
	struct addr pod;
	struct addr peer;
};

struct neighbour {
	__u8 mac[6];
	__u8 pad[2];
};

struct fragment_key {
	struct addr src;
	struct addr dst;
	__u32 id;
	__u8 protocol;
	__u8 direction;
	__u8 pad[2];
};

struct fragment {
	__u64 seen;
	__u8 leg;		/* 0: goes on; else to the proxy */
	__u8 pad[7];
};

/* A flow that was denied, so that what its sender tries again is counted once. */
struct refusal_key {
	struct conn_key conn;
	__u32 endpoint;
	__u8 direction;
	__u8 pad[3];
};

struct refusal {
	__u64 counted;
	__u32 sequence;		/* of a SYN, as on the wire */
	__u32 pad;
};

/* Connections that a rule decided; other protocols count datagrams that began a flow. */
struct counter {
	__u64 forwarded;
	__u64 denied;
	__u64 redirected;
	__u64 audited;
	__u64 unjudged;		/* went on without its layer 7 rules */
};

struct event {
	__u64 time;		/* bpf_ktime_get_ns */
	struct addr src;	/* the client's */
	struct addr dst;	/* the server's */
	__u16 src_port;		/* big endian */
	__u16 dst_port;		/* big endian; for ICMP the type in the first byte */
	__u32 ifindex;
	__u32 endpoint;
	__u32 identity;		/* the peer's */
	__u32 rule;
	__u16 class_port;
	__u8 protocol;
	__u8 direction;
	__u8 verdict;
	__u8 reason;
	__u8 pad[6];
};
