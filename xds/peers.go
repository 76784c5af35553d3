package xds

import (
	"context"
	"net/netip"
	"sync"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/peer"
)

// What one address may ask without a certificate. Each question is one to the API
// server, and whoever reaches the port can ask.
const (
	questionsEverySecond = 1
	questionsBurst       = 5
	// peersKept is how many addresses are remembered; beyond it all begin anew.
	peersKept = 16384
)

// peerLimits bound what each address asks.
type peerLimits struct {
	mu    sync.Mutex
	peers map[netip.Addr]*rate.Limiter
}

// allow says whether the address may ask now.
func (p *peerLimits) allow(addr netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.peers == nil || len(p.peers) >= peersKept {
		p.peers = map[netip.Addr]*rate.Limiter{}
	}
	limit := p.peers[addr]
	if limit == nil {
		limit = rate.NewLimiter(questionsEverySecond, questionsBurst)
		p.peers[addr] = limit
	}
	return limit.Allow()
}

// peerAddr is the address at the other end; invalid if it is not known.
func peerAddr(ctx context.Context) netip.Addr {
	if p, ok := peer.FromContext(ctx); ok {
		if addr, err := netip.ParseAddrPort(p.Addr.String()); err == nil {
			return addr.Addr().Unmap()
		}
	}
	return netip.Addr{}
}
