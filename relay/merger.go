package relay

import (
	"context"
	"fmt"
	"sync"
	"time"

	observerpb "github.com/cilium/cilium/api/v1/observer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	// tick is how often the merger looks for flows that have waited long enough, and for
	// nodes that say nothing.
	tick = 50 * time.Millisecond
	// lookEvery is how often one who follows is given nodes that are new.
	lookEvery = 5 * time.Second
)

// merger puts the flows of the sources in order, for one client. It belongs to one
// goroutine; the sources have theirs.
//
// First come the flows that the nodes have kept: the oldest of all is only known while
// each node that has more to send waits with its room full, or has ended. Then, for one
// who follows, what comes is held a moment, so that an older one of another node can
// overtake it.
type merger struct {
	relay   *Relay
	req     *observerpb.GetFlowsRequest
	follow  bool
	first   bool
	number  uint64
	started time.Time
	client  func(*observerpb.GetFlowsResponse) error
	// busy is how long the client has kept the merger from listening to nodes.
	busy time.Duration

	news    chan news
	group   sync.WaitGroup
	sources map[Node]*source
	room    int
	queue   queue
	nth     uint64
	// kept holds the newest flows of the past; nil where all are sent.
	kept *newest
	sent uint64
	// live is true once the past has been sent.
	live     bool
	statuses statuses
}

func newMerger(r *Relay, req *observerpb.GetFlowsRequest, nodes int, send func(*observerpb.GetFlowsResponse) error) *merger {
	m := &merger{
		relay: r, req: req, follow: req.GetFollow(), first: req.GetFirst(), number: req.GetNumber(), started: r.config.Now(),
		client: send, news: make(chan news), sources: map[Node]*source{}, room: roomFor(nodes),
	}
	if m.number > 0 && !m.first {
		m.kept = &newest{room: int(m.number)}
	}
	return m
}

// begin asks a node.
func (m *merger) begin(ctx context.Context, p *peer) {
	ctx, stop := context.WithCancel(ctx)
	req := m.req
	s := &source{peer: p, room: make(chan struct{}, m.room), stop: stop, keeps: !m.live, heard: m.relay.config.Now()}
	m.sources[p.Node] = s
	if m.live { // it is new: what it saw since the client began to follow is wanted
		req = proto.CloneOf(req)
		req.Number, req.Since = 0, timestamppb.New(m.started)
	}
	m.group.Go(func() {
		defer stop()
		s.run(ctx, req, m.follow, m.news)
	})
}

// run sends until all sources have ended or ctx does, or there is as much as was asked for.
func (m *merger) run(ctx context.Context) error {
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	looked := m.started
	for {
		if done, err := m.release(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case n := <-m.news:
			if err := m.take(n); err != nil {
				return err
			}
		case <-ticks.C:
			m.impatient()
			if now := m.relay.config.Now(); m.follow && now.Sub(looked) >= lookEvery {
				m.look(ctx)
				looked = now
			}
			if err := m.tell(); err != nil {
				return err
			}
		}
	}
}

// take notes what a source says. What the client itself did wrong ends the stream.
func (m *merger) take(n news) error {
	s := n.from
	if m.sources[s.Node] != s {
		return nil // it was given up
	}
	now := m.relay.config.Now()
	s.heard = now
	switch n.what {
	case connected:
		s.lost = true // until now
		m.back(s)
	case past:
		s.keeps = false
		m.back(s)
	case ended:
		s.keeps, s.said = false, true
		if code := status.Code(n.err); code == codes.InvalidArgument {
			return n.err
		}
		if n.err != nil && !s.lost {
			s.lost = true
			m.statuses.unavailable(s.Name, status.Convert(n.err).Message())
		}
		if !m.follow || n.err == nil {
			delete(m.sources, s.Node)
		}
	case flowed:
		m.back(s)
		return m.flow(n, now)
	}
	return nil
}

// back notes that a node speaks which did not.
func (m *merger) back(s *source) {
	if s.lost {
		m.statuses.connected(s.Name)
	}
	s.said, s.lost = true, false
}

// send gives the client a response. A client that reads slowly makes no node late.
func (m *merger) send(res *observerpb.GetFlowsResponse) error {
	before := m.relay.config.Now()
	err := m.client(res)
	m.busy += m.relay.config.Now().Sub(before)
	return err
}

// flow keeps a flow until its turn. That flows were lost is passed on at once. A node
// speaks for itself alone.
func (m *merger) flow(n news, now time.Time) error {
	n.res.NodeName = n.from.Name
	f := n.res.GetFlow()
	if f == nil {
		return m.send(n.res)
	}
	if f.GetNodeName() != "" {
		f.NodeName = n.from.Name
	}
	n.from.waiting++
	m.nth++
	m.queue.put(item{res: n.res, from: n.from, at: n.res.GetTime().AsTime(), come: now, nth: m.nth})
	return nil
}

// release sends the flows whose turn it is, and says whether that was all.
func (m *merger) release() (done bool, err error) {
	if !m.live {
		if done, err := m.releasePast(); done || err != nil || !m.live {
			return done, err
		}
	}
	now := m.relay.config.Now()
	for len(m.queue) > 0 && (m.full() || now.Sub(m.queue[0].come) >= m.relay.config.Hold || len(m.sources) == 0) {
		if err := m.send(m.next().res); err != nil {
			return true, err
		}
	}
	return len(m.sources) == 0, nil
}

// releasePast sends of the past what nothing older can come before.
func (m *merger) releasePast() (done bool, err error) {
	behind, keeping := false, false
	for _, s := range m.sources {
		keeping = keeping || s.keeps
		behind = behind || s.keeps && s.waiting < m.room
	}
	for len(m.queue) > 0 && !behind {
		i := m.next()
		behind = i.from.keeps && m.sources[i.from.Node] == i.from
		if m.kept != nil {
			m.kept.add(i.res)
			continue
		}
		if err := m.send(i.res); err != nil {
			return true, err
		}
		if m.sent++; m.sent == m.number {
			return true, m.tell()
		}
	}
	if keeping || len(m.queue) > 0 {
		return false, nil
	}
	if m.kept != nil {
		for _, res := range m.kept.all() {
			if err := m.send(res); err != nil {
				return true, err
			}
		}
		m.kept = nil
	}
	m.live = m.follow
	return !m.follow, m.tell()
}

// next takes the oldest flow, and makes room for another of its node.
func (m *merger) next() item {
	i := m.queue.take()
	i.from.waiting--
	<-i.from.room
	return i
}

// full is true while a node has no more room to send anything.
func (m *merger) full() bool {
	for _, s := range m.sources {
		if s.waiting == m.room {
			return true
		}
	}
	return false
}

// impatient gives up what has said nothing for too long while all wait for it.
func (m *merger) impatient() {
	now := m.relay.config.Now()
	busy := m.busy
	m.busy = 0
	for _, s := range m.sources {
		s.heard = s.heard.Add(busy)
		waited := s.keeps && s.waiting < m.room || !s.said
		if !waited {
			s.heard = now
			continue
		}
		if now.Sub(s.heard) < m.relay.config.Patience {
			continue
		}
		s.keeps, s.said, s.heard = false, true, now
		if !s.lost {
			s.lost = true
			m.statuses.unavailable(s.Name, fmt.Sprintf("no answer in %s", m.relay.config.Patience))
		}
		if !m.follow {
			s.stop()
			delete(m.sources, s.Node)
		}
	}
}
