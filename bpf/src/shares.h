/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* How much of the proxy each client and each class has. Clients' connections are counted where
 * the proxy's sockets come and go, and who has his share gets no more. The kernel itself keeps
 * the count, so that it is right while the enforcer is away. */
#pragma once

#include "conntrack.h"
#include "maps.h"
#include "parse.h"

static __always_inline void client_share(struct share_key *k, const struct node_config *cfg,
					 const struct conn_key *conn, __u8 direction)
{
	__builtin_memset(k, 0, sizeof(*k));
	k->netns_cookie = cfg->netns_cookie;
	k->client = direction == DIRECTION_INGRESS ? conn->peer : conn->pod;
	k->direction = direction;
}

static __always_inline void class_share(struct share_key *k, const struct node_config *cfg,
					__u16 class_port)
{
	__builtin_memset(k, 0, sizeof(*k));
	k->netns_cookie = cfg->netns_cookie;
	k->class_port = class_port;
}

static __always_inline int is_used_up(const struct share_key *k, __u32 limit)
{
	__u32 *n = limit ? bpf_map_lookup_elem(&shares, k) : NULL;

	return n && *n >= limit;
}

/* Why one more TCP connection has no place with the proxy; REASON_NONE if it has. */
static __always_inline __u8 share_obstacle(const struct node_config *cfg,
					   const struct conn_key *conn, __u8 direction,
					   __u16 class_port)
{
	struct share_key k;

	if (conn->protocol != IPPROTO_TCP)
		return REASON_NONE;
	client_share(&k, cfg, conn, direction);
	if (is_used_up(&k, cfg->client_limit))
		return REASON_CLIENT_LIMIT;
	class_share(&k, cfg, class_port);
	return is_used_up(&k, cfg->class_limit) ? REASON_CLASS_LIMIT : REASON_NONE;
}

/* Leaves the key empty where there is no room to count. */
static __always_inline void share_add(struct share_key *k)
{
	__u32 one = 1, *n = bpf_map_lookup_elem(&shares, k);

	if (!n) {
		if (!bpf_map_update_elem(&shares, k, &one, BPF_NOEXIST))
			return;
		n = bpf_map_lookup_elem(&shares, k); /* another processor was first */
	}
	if (n)
		__sync_fetch_and_add(n, 1);
	else
		k->netns_cookie = 0;
}

/* A connection that comes while the last one goes may go uncounted: that errs to the client's
 * side, by one. */
static __always_inline void share_sub(struct share_key *k)
{
	struct share_key key = *k;
	__u32 *n;

	if (!key.netns_cookie)
		return;
	k->netns_cookie = 0;
	n = bpf_map_lookup_elem(&shares, &key);
	if (!n)
		return;
	__sync_fetch_and_add(n, -1);
	if (!*(volatile __u32 *)n)
		bpf_map_delete_elem(&shares, &key);
}

/* The connection of a client's socket: its listener was bound to the leg, and so is it. */
static __always_inline int client_conn(struct bpf_sock_ops *ctx, const struct node_config *cfg,
				       const struct bpf_sock *sk, struct conn_key *key)
{
	__u32 device = sk->bound_dev_if;
	struct addr local, remote;
	__u16 port, peer_port;

	if (!device || (device != cfg->l7p1_ifindex[LEG_INGRESS_DOWN - 1] &&
			device != cfg->l7p1_ifindex[LEG_EGRESS_DOWN - 1]))
		return -1;
	ADDRS_FROM_CTX(ctx, &local, &remote);
	port = bpf_htons(ctx->local_port);
	peer_port = bpf_htons(bpf_ntohl(ctx->remote_port));
	__builtin_memset(key, 0, sizeof(*key));
	key->protocol = IPPROTO_TCP;
	if (device == cfg->l7p1_ifindex[LEG_INGRESS_DOWN - 1]) {
		key->pod = local;
		key->peer = remote;
		key->pod_port = port;
		key->peer_port = peer_port;
		return DIRECTION_INGRESS;
	}
	key->pod = remote;
	key->peer = local;
	key->pod_port = peer_port;
	key->peer_port = port;
	return DIRECTION_EGRESS;
}

static __always_inline void client_came(struct bpf_sock_ops *ctx, const struct node_config *cfg)
{
	struct bpf_sock *sk = ctx->sk;
	struct conn_key key;
	struct counted *of;
	struct conn *c;
	int direction;

	if (!sk)
		return;
	direction = client_conn(ctx, cfg, sk, &key);
	if (direction < 0)
		return;
	of = bpf_sk_storage_get(&counted, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!of)
		return;
	client_share(&of->client, cfg, &key, direction);
	share_add(&of->client);
	c = conn_get(&key);
	if (c && c->class_port) {
		class_share(&of->of_class, cfg, c->class_port);
		share_add(&of->of_class);
	}
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

static __always_inline void client_went(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct counted *of = sk ? bpf_sk_storage_get(&counted, sk, NULL, 0) : NULL;

	if (!of)
		return;
	share_sub(&of->client);
	share_sub(&of->of_class);
}
