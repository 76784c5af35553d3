package xds

import (
	"context"
	"slices"
	"sync"
)

// sessions are the open streams of each node, bounded: when there is one too many the
// oldest is ended, since a node that comes back may have left a dead one behind.
type sessions struct {
	mu   sync.Mutex
	open map[sessionKey][]*session
}

type sessionKey struct{ node, kind string }

type session struct {
	all    *sessions
	key    sessionKey
	cancel context.CancelFunc
	last   func(node string)
}

// begin adds a session. It calls first if the node has no other of this kind, and when
// the node has none any more it calls last, one after the other even if streams come
// and go at once.
func (s *sessions) begin(ctx context.Context, node, kind string, first, last func(node string)) (context.Context, *session) {
	ctx, cancel := context.WithCancel(ctx)
	key := sessionKey{node, kind}
	s.mu.Lock()
	defer s.mu.Unlock()
	open := s.open[key]
	if len(open) == 0 {
		first(node)
	}
	if len(open) >= streamsPerNode {
		open[0].cancel()
	}
	out := &session{all: s, key: key, cancel: cancel, last: last}
	s.open[key] = append(open, out)
	return ctx, out
}

func (s *session) close() {
	s.cancel()
	s.all.mu.Lock()
	defer s.all.mu.Unlock()
	open := slices.DeleteFunc(s.all.open[s.key], func(other *session) bool { return other == s })
	s.all.open[s.key] = open
	if len(open) == 0 {
		delete(s.all.open, s.key)
		s.last(s.key.node)
	}
}

// end cancels all of a node's streams.
func (s *sessions) end(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, open := range s.open {
		if key.node != node {
			continue
		}
		for _, session := range open {
			session.cancel()
		}
	}
}
