package bench

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/attack/node"
)

// CoreDNS answers on two ports: one with a rule without layer 7, and one with rules on names.
const (
	dnsServer  = "10.244.1.3"
	dnsDirect  = dnsServer + ":5353"
	dnsPoliced = dnsServer + ":53"
	// learntNames are asked for in turn, of which a policy opens the addresses: fewer than a pod may learn.
	learntNames = 1500
)

const dnsCorefile = `.:53 .:5353 {
    errors
    template IN A example.com {
        match ^n-(?P<c>\d+)-(?P<d>\d+)\.[a-z]+\.example\.com\.$
        answer "{{ .Name }} 30 IN A 198.18.{{ .Group.c }}.{{ .Group.d }}"
        fallthrough
    }
}
`

// lap is one way of doing the same thing.
type lap struct {
	name string
	once func() error
}

// laps does each in blocks that are interleaved in random order, and returns the times by name and round.
func laps(t *testing.T, rounds, block int, arms []lap) map[string][][]time.Duration {
	t.Helper()
	out := map[string][][]time.Duration{}
	for round := range rounds + 1 {
		rand.Shuffle(len(arms), func(i, j int) { arms[i], arms[j] = arms[j], arms[i] }) //nolint:gosec // an order
		for _, a := range arms {
			times := make([]time.Duration, block)
			for i := range times {
				begin := time.Now()
				if err := a.once(); err != nil {
					t.Fatalf("%s: %v", a.name, err)
				}
				times[i] = time.Since(begin)
			}
			if round > 0 { // the first is for getting warm
				out[a.name] = append(out[a.name], times)
			}
		}
	}
	return out
}

// beside adds the lines that compare an arm with direct, and direct with itself.
func (b *bench) beside(what string, times map[string][][]time.Duration, target string, arms ...string) {
	direct := times["direct"]
	value := func(of [][]time.Duration) func(int) float64 {
		return func(i int) float64 { return float64(median(of[i])) }
	}
	for _, arm := range append(arms, "again") {
		policed := times[arm]
		name, note := arm, fmt.Sprintf("direct %d µs, %s %d µs", median(slices.Concat(direct...)).Microseconds(), arm, median(slices.Concat(policed...)).Microseconds())
		aim := target
		ratio := ratios(len(direct), value(policed), value(direct))
		if arm == "again" {
			name, note, aim = "direct", "", "0.95–1.05"
			b.controls = append(b.controls, control{what + " beside itself", ratio, mostApart})
		}
		b.add(what, fmt.Sprintf("%s: %s ÷ direct, p50", what, name), ratio, aim, note)
		if arm == "again" {
			continue
		}
		p99 := func(of [][]time.Duration, rounds []int) float64 {
			var all []time.Duration
			for _, i := range rounds {
				all = append(all, of[i]...)
			}
			return float64(quantile(all, 0.99)) / float64(time.Millisecond)
		}
		b.add(what, fmt.Sprintf("%s: added p99 of %s, ms", what, name), bootstrap(len(direct), func(rounds []int) float64 {
			return p99(policed, rounds) - p99(direct, rounds)
		}), "", "")
	}
}

// dnsPolicy lets the client ask both ports, one of them for names of example.com only, and
// connect to the addresses of some of them.
func dnsPolicy() policy.Policy {
	ref := policy.Ref{Kind: "L7NetworkPolicy", Namespace: node.Namespace, Name: "dns"}
	server := app("coredns")
	rule := func(i int, port uint16, l7 policy.L7) policy.Rule {
		return policy.Rule{ID: policy.RuleID{Policy: ref, Path: fmt.Sprintf("spec.egress[%d]", i)}, Peers: []policy.Peer{{Selector: &server}},
			Ports: []policy.Port{{Protocol: policy.ProtocolUDP, Port: port}}, L7: l7}
	}
	learn := rule(2, 443, nil)
	learn.Peers, learn.Ports = []policy.Peer{{Name: "*.learnt.example.com"}}, []policy.Port{{Protocol: policy.ProtocolTCP, Port: 443}}
	return policy.Policy{Ref: ref, UID: "dns", Generation: 1, Specs: []policy.Spec{{
		Path: "spec", Subject: app("client"), Egress: policy.Section{DefaultDeny: true, Rules: []policy.Rule{
			rule(0, 5353, nil), learn,
			rule(1, 53, &policy.DNS{Rules: []policy.DNSRule{{ID: policy.RuleID{Policy: ref, Path: "spec.egress[1].dns[0]"}, Name: "**.example.com"}}}),
		}},
	}}}
}

// asker asks one server from one socket.
type asker struct {
	net.Conn
	zone string
	// suffix is behind the zone; "example.com." if it is "".
	suffix string
	n      int
	b      []byte
}

func (a *asker) query() ([]byte, uint16) {
	a.n++
	i := a.n % learntNames
	id := uint16(a.n)
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: id, RecursionDesired: true}, Questions: []dnsmessage.Question{{
		Name: dnsmessage.MustNewName(fmt.Sprintf("n-%d-%d.%s.%s", i/200, 1+i%200, a.zone, cmp.Or(a.suffix, "example.com."))), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	q, err := m.Pack()
	if err != nil {
		panic(err) // a name that cannot be packed
	}
	return q, id
}

// once asks and waits for the answer, which must have an address.
func (a *asker) once() error {
	q, id := a.query()
	a.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := a.Write(q); err != nil {
		return err
	}
	n, err := a.Read(a.b)
	if err != nil {
		return err
	}
	if n < 12 || binary.BigEndian.Uint16(a.b) != id || binary.BigEndian.Uint16(a.b[6:]) != 1 {
		return fmt.Errorf("answered %x", a.b[:n])
	}
	return nil
}

// atRate asks so many times a second, whatever comes back, and returns how long after its time
// each question was answered, and how many were not.
func (a *asker) atRate(t *testing.T, rate int, length time.Duration) (times []time.Duration, lost int) {
	t.Helper()
	total := int(float64(rate) * length.Seconds())
	due := make([]time.Time, 1<<16)
	var mu sync.Mutex
	var reading sync.WaitGroup
	reading.Go(func() {
		for len(times) < total {
			n, err := a.Read(a.b)
			now := time.Now()
			if err != nil {
				return // what has not come by now is lost
			}
			mu.Lock()
			if id := binary.BigEndian.Uint16(a.b); n > 12 && !due[id].IsZero() && binary.BigEndian.Uint16(a.b[6:]) == 1 {
				times, due[id] = append(times, now.Sub(due[id])), time.Time{}
			}
			mu.Unlock()
		}
	})
	begin := time.Now()
	a.SetDeadline(begin.Add(length + 5*time.Second))
	for i := range total {
		at := begin.Add(time.Duration(i) * time.Second / time.Duration(rate))
		time.Sleep(time.Until(at))
		q, id := a.query()
		mu.Lock()
		due[id] = at
		mu.Unlock()
		if _, err := a.Write(q); err != nil {
			t.Fatal(err)
		}
	}
	reading.Wait()
	return times, total - len(times)
}

// TestDNS measures lookups at CoreDNS, through the node's own proxy and directly.
func TestDNS(t *testing.T) {
	rounds, length := 3, time.Second
	if *full {
		rounds, length = 300, 20*time.Second
	}
	b := &bench{Node: node.New(t)}
	b.client = b.AddPod("client", "10.244.1.2", policy.Labels{"k8s:app": "client"})
	server := b.AddPod("coredns", dnsServer, policy.Labels{"k8s:app": "coredns"})
	b.CoreDNS(server.NS, dnsCorefile)
	b.Publish(dnsPolicy())
	open := func(addr, zone string) *asker {
		c, err := node.Dial(t.Context(), b.client.NS, net.Dialer{}, "udp", addr)
		must(t, err)
		t.Cleanup(func() { c.Close() })
		return &asker{Conn: c, zone: zone, b: make([]byte, 4096)}
	}
	direct, policed, learnt := open(dnsDirect, "plain"), open(dnsPoliced, "plain"), open(dnsPoliced, "learnt")
	for _, a := range []*asker{direct, policed, learnt} {
		for deadline := time.Now().Add(30 * time.Second); a.once() != nil; {
			if time.Now().After(deadline) {
				t.Fatalf("%s is not answered", a.RemoteAddr())
			}
		}
	}
	// A run that goes around the proxy measures nothing.
	other := open(dnsPoliced, "plain")
	other.suffix = "test."
	if err := other.once(); err == nil || !strings.Contains(err.Error(), "answered") {
		t.Errorf("a name that no rule allows: %v", err)
	}
	b.beside("a lookup", laps(t, rounds, 25, []lap{{"direct", direct.once}, {"again", open(dnsDirect, "plain").once},
		{"policed", policed.once}, {"policed, and learnt", learnt.once}}), "", "policed", "policed, and learnt")
	for _, a := range []struct {
		name string
		*asker
	}{{"direct", direct}, {"policed", policed}, {"policed, and learnt", learnt}} {
		times, lost := a.atRate(t, 1000, length)
		b.addOne("rate", fmt.Sprintf("%s: lookups lost of %d, at 1,000 a second", a.name, len(times)+lost), float64(lost), "0",
			fmt.Sprintf("p50 %.2f ms, p99 %.2f ms", quantile(times, 0.5).Seconds()*1e3, quantile(times, 0.99).Seconds()*1e3))
		if lost > 0 {
			t.Errorf("%s: %d lookups of %d were lost", a.name, lost, len(times)+lost)
		}
	}
	b.lookupRates(t, rounds, length/20, open)
	table := b.table()
	t.Logf("\n%s", table)
	if *update {
		write(t, "names", table)
	}
}

// lookupRates has 16 ask as fast as they are answered.
func (b *bench) lookupRates(t *testing.T, rounds int, length time.Duration, open func(addr, zone string) *asker) {
	t.Helper()
	const at = 16
	rates := map[string][]float64{}
	askers := map[string][]*asker{}
	arms := []string{dnsDirect, dnsPoliced}
	for _, addr := range arms {
		for range at {
			askers[addr] = append(askers[addr], open(addr, "plain"))
		}
	}
	for range min(rounds, 40) {
		slices.Reverse(arms)
		for _, addr := range arms {
			counts := make([]int, at)
			var all sync.WaitGroup
			begin := time.Now()
			for i, a := range askers[addr] {
				all.Go(func() {
					for time.Since(begin) < length {
						if err := a.once(); err != nil {
							t.Errorf("%s: %v", addr, err)
							return
						}
						counts[i]++
					}
				})
			}
			all.Wait()
			total := 0
			for _, n := range counts {
				total += n
			}
			rates[addr] = append(rates[addr], float64(total)/time.Since(begin).Seconds())
		}
	}
	value := func(of []float64) func(int) float64 { return func(i int) float64 { return of[i] } }
	b.add("rate", "lookups a second, 16 at once: policed ÷ direct", ratios(len(rates[dnsDirect]), value(rates[dnsPoliced]), value(rates[dnsDirect])), "",
		strings.TrimSpace(fmt.Sprintf("policed %.0f/s, direct %.0f/s", median(rates[dnsPoliced]), median(rates[dnsDirect]))))
}
