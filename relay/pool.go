package relay

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	observerpb "github.com/cilium/cilium/api/v1/observer"
	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

const (
	connectTimeout = 3 * time.Second
	// maxResponse bounds one answer of a node: a flow has some KiB.
	maxResponse = 1 << 20
	// maxRetry is the longest wait before a node is tried again.
	maxRetry = 10 * time.Second
)

// Node is one whose flows are read.
type Node struct {
	Name string
	// Address is host:port.
	Address string
}

// peer is a connection to a node. It connects when it is used.
type peer struct {
	Node
	conn *grpc.ClientConn
}

func (p *peer) observer() observerpb.ObserverClient { return observerpb.NewObserverClient(p.conn) }

// pool keeps a connection for each node.
type pool struct {
	credentials func(node string) credentials.TransportCredentials

	mu    sync.Mutex
	peers map[Node]*peer
}

// get returns the peers of the nodes, and ends the connections to those that are gone.
func (p *pool) get(nodes []Node) ([]*peer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := make(map[Node]*peer, len(nodes))
	out := make([]*peer, 0, len(nodes))
	for _, n := range nodes {
		if kept[n] != nil {
			continue
		}
		known := p.peers[n]
		if known == nil {
			conn, err := dial(n, p.credentials(n.Name))
			if err != nil {
				return nil, err
			}
			known = &peer{Node: n, conn: conn}
			p.peers[n] = known
		}
		kept[n] = known
		out = append(out, known)
	}
	for n, gone := range p.peers {
		if kept[n] == nil {
			gone.conn.Close()
		}
	}
	p.peers = kept
	return out, nil
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, peer := range p.peers {
		peer.conn.Close()
	}
	p.peers = map[Node]*peer{}
}

func dial(n Node, creds credentials.TransportCredentials) (*grpc.ClientConn, error) {
	wait := backoff.DefaultConfig
	wait.MaxDelay = maxRetry
	conn, err := grpc.NewClient("passthrough:///"+n.Address,
		grpc.WithTransportCredentials(creds), grpc.WithNoProxy(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: wait, MinConnectTimeout: connectTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveEvery, Timeout: keepaliveTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponse)),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to node %s at %s: %w", n.Name, n.Address, err)
	}
	return conn, nil
}

// all are the connections to the nodes that there are now.
func (r *Relay) all(ctx context.Context) ([]*peer, error) {
	nodes, err := r.config.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("find the nodes: %w", err)
	}
	return r.pool.get(nodes)
}

// limit lets in so many connections at a time.
func limit(l net.Listener, n int) net.Listener { return netutil.LimitListener(l, n) }
