package envoy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// stream is one Envoy's ADS stream. All but wake and holds belongs to the goroutine of run.
// One response is on its way at a time, so that the order of a change is the order here; and one
// with secrets beside it, as Envoy does not acknowledge clusters before they have their secrets.
type stream struct {
	server *Server
	conn   discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	wake   chan struct{}
	// holds is the target that this Envoy acknowledged last; Server.mu guards it.
	holds *target

	types   map[string]*subscription
	pending *response
	secrets *response
	nonce   uint64
	aim     *target // the target that is being sent, or was
	told    *target // the target that the server was last told about
}

// subscription is what one Envoy has of one type.
type subscription struct {
	// wildcard is true where it wants all there is; else names are those it asked for.
	wildcard bool
	names    map[string]bool
	// answered is true once a response was sent: the first is due even if it is empty.
	answered bool
	// has are the versions that it acknowledged.
	has map[string]string
	// refused are versions that it did not take, and its words.
	refused map[string]refusal
	// alone are names that must be sent one by one, to learn which of them is refused.
	alone map[string]bool
}

type refusal struct{ version, words string }

// maxWords is how much of Envoy's words is kept, in bytes.
const maxWords = 500

type response struct {
	kind, nonce string
	versions    map[string]string // sent, by name
	removed     []string
	sealed      map[string]bool
}

func newStream(s *Server, conn discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) *stream {
	return &stream{server: s, conn: conn, wake: make(chan struct{}, 1), types: map[string]*subscription{}}
}

// run serves the stream until Envoy goes or the server stops.
func (st *stream) run() error {
	requests := make(chan *discoveryv3.DeltaDiscoveryRequest)
	ended := make(chan error, 1)
	go func() {
		for {
			req, err := st.conn.Recv()
			if err != nil {
				ended <- err
				return
			}
			select {
			case requests <- req:
			case <-st.conn.Context().Done():
				return
			}
		}
	}()
	for {
		select {
		case <-st.conn.Context().Done():
			return st.conn.Context().Err()
		case err := <-ended:
			return err
		case req := <-requests:
			st.receive(req)
		case <-st.wake:
		}
		if err := st.send(); err != nil {
			return err
		}
	}
}

// receive takes a request: an acknowledgement, a change of what Envoy wants, or both.
func (st *stream) receive(req *discoveryv3.DeltaDiscoveryRequest) {
	if !slices.Contains(kinds[:], req.TypeUrl) {
		return
	}
	sub, known := st.types[req.TypeUrl]
	if !known {
		sub = &subscription{
			wildcard: req.TypeUrl == clusterType || req.TypeUrl == listenerType,
			names:    map[string]bool{},
			has:      map[string]string{},
			refused:  map[string]refusal{},
			alone:    map[string]bool{},
		}
		maps.Copy(sub.has, req.InitialResourceVersions)
		st.types[req.TypeUrl] = sub
	}
	if slot := st.slot(req.TypeUrl); *slot != nil && (*slot).kind == req.TypeUrl && (*slot).nonce == req.ResponseNonce {
		p := *slot
		*slot = nil
		if req.ErrorDetail != nil {
			sub.nacked(p, req.ErrorDetail.Message)
		} else {
			sub.acked(p)
		}
	}
	for _, name := range req.ResourceNamesUnsubscribe {
		delete(sub.names, name)
		delete(sub.has, name)
	}
	for _, name := range req.ResourceNamesSubscribe {
		sub.names[name] = true
		if known {
			delete(sub.has, name) // it asks because it has dropped it
		}
	}
}

func (sub *subscription) acked(p *response) {
	for name, version := range p.versions {
		sub.has[name] = version
		delete(sub.refused, name)
		delete(sub.alone, name)
	}
	for _, name := range p.removed {
		delete(sub.has, name)
	}
}

// nacked finds the one that is refused: of several, Envoy has taken those it could.
func (sub *subscription) nacked(p *response, words string) {
	for name, version := range p.versions {
		if len(p.versions) > 1 {
			sub.alone[name] = true
			continue
		}
		// Envoy prints the whole resource first, and what is wrong with it last.
		if len(words) > maxWords {
			words = "… " + strings.ToValidUTF8(words[len(words)-maxWords:], "")
		}
		if p.sealed[name] {
			words = "it holds secrets, so that Envoy's words are not repeated"
		}
		sub.refused[name] = refusal{version: version, words: words}
		delete(sub.alone, name)
	}
	for _, name := range p.removed {
		delete(sub.has, name)
	}
}

// slot is where a response of the kind waits for its acknowledgement.
func (st *stream) slot(kind string) **response {
	if kind == secretType {
		return &st.secrets
	}
	return &st.pending
}

// send sends what is next on the way to what is wanted, if nothing is on its way already:
// secrets, clusters, changed rules, new listeners, the new listeners' rules, and removals last.
func (st *stream) send() error {
	t := st.server.wanted()
	if t == nil {
		return nil
	}
	if st.aim != t && st.pending == nil && st.secrets == nil {
		st.aim = t
		for _, sub := range st.types {
			clear(sub.refused) // what was refused once, as for a port in use, may be taken now
		}
	}
	if st.secrets == nil {
		if _, err := st.update(t, secretType); err != nil {
			return err
		}
	}
	if st.pending != nil {
		return nil
	}
	for _, kind := range []string{clusterType, routeType, listenerType} {
		if sent, err := st.update(t, kind); sent || err != nil {
			return err
		}
	}
	if st.secrets != nil {
		return nil
	}
	refused := map[string]string{}
	for _, kind := range kinds {
		sub := st.types[kind]
		if sub == nil {
			sub = &subscription{}
		}
		for name, r := range t.resources[kind] {
			switch {
			case sub.has[name] == r.version:
			case sub.refused[name].version == r.version:
				refused[name] = sub.refused[name].words
			case kind == secretType && !sub.names[name]:
				// What asks for it asks when it comes, and is not ready before it has it.
			case kind == routeType && refused[listenerOf(name)] != "" && !sub.names[name]:
				// Envoy asks for no rules of a listener that it refused.
			default:
				return nil // not asked for yet, as a new listener's rules are
			}
		}
	}
	for _, kind := range []string{listenerType, clusterType} {
		if sent, err := st.remove(t, kind); sent || err != nil {
			return err
		}
	}
	if st.told == t {
		return nil
	}
	st.told = t
	if len(refused) > 0 {
		st.server.refused(st, t, &RefusedError{Resources: refused})
	} else {
		st.server.accepted(st, t)
	}
	return nil
}

// update sends what Envoy has not yet in its wanted version.
func (st *stream) update(t *target, kind string) (bool, error) {
	sub := st.types[kind]
	if sub == nil {
		return false, nil
	}
	var changed, alone []resource
	for _, name := range slices.Sorted(maps.Keys(t.resources[kind])) {
		r := t.resources[kind][name]
		if !sub.wildcard && !sub.names[name] || sub.has[name] == r.version || sub.refused[name].version == r.version {
			continue
		}
		if sub.alone[name] {
			alone = append(alone, r)
		} else {
			changed = append(changed, r)
		}
	}
	if len(changed) == 0 && len(alone) > 0 {
		changed = alone[:1]
	}
	if len(changed) == 0 && (sub.answered || !sub.wildcard) {
		return false, nil
	}
	p := &response{kind: kind, versions: map[string]string{}, sealed: map[string]bool{}}
	out := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: kind, SystemVersionInfo: t.version}
	for _, r := range changed {
		p.versions[r.name], p.sealed[r.name] = r.version, r.sealed
		out.Resources = append(out.Resources, &discoveryv3.Resource{Name: r.name, Version: r.version, Resource: r.body})
	}
	sub.answered = true
	return true, st.write(p, out)
}

// remove takes away what is no longer wanted. Rules go with their listener: Envoy says so
// itself by no longer wanting them.
func (st *stream) remove(t *target, kind string) (bool, error) {
	sub := st.types[kind]
	if sub == nil {
		return false, nil
	}
	p := &response{kind: kind}
	for _, name := range slices.Sorted(maps.Keys(sub.has)) {
		if _, wanted := t.resources[kind][name]; !wanted {
			p.removed = append(p.removed, name)
		}
	}
	if len(p.removed) == 0 {
		return false, nil
	}
	return true, st.write(p, &discoveryv3.DeltaDiscoveryResponse{TypeUrl: kind, SystemVersionInfo: t.version, RemovedResources: p.removed})
}

func (st *stream) write(p *response, out *discoveryv3.DeltaDiscoveryResponse) error {
	st.nonce++
	p.nonce = strconv.FormatUint(st.nonce, 10)
	out.Nonce = p.nonce
	*st.slot(p.kind) = p
	if err := st.conn.Send(out); err != nil {
		return fmt.Errorf("send %d resources of %s to Envoy: %w", len(out.Resources), p.kind, err)
	}
	return nil
}
