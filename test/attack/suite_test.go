// Package attack runs the attacks that Septum must withstand through a whole node: the real
// programs, enforcer, launcher and Envoy, and real servers behind them. What is expected is
// always one of two things: denied, or allowed and unchanged. The results stand in
// docs/security.md, which "go test ./test/attack -update" rewrites.
package attack

import (
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/attack/node"
)

var update = flag.Bool("update", false, "rewrite the results in docs/security.md")

// What can be expected.
const (
	denied    = "denied"
	same      = "allowed, unchanged"
	rewritten = "allowed, rewritten"
	reported  = "reported"
	works     = "works on"
)

// suite is the node under attack, and what came of the attacks.
type suite struct {
	*node.Node
	ledger
	servers []*server
	// target records what comes to its two ports.
	target rawServer

	marks int
}

// ledger has what came of the attacks.
type ledger struct {
	mu      sync.Mutex
	results []result
}

type result struct{ section, attack, expected, server string }

// page is a table of results: where it stands in docs/security.md, its sections in their order, and
// what stands before it.
type page struct {
	mark     string
	sections []string
	intro    string
}

func TestAttacks(t *testing.T) {
	s := &suite{Node: node.New(t)}
	s.AddPod("client", "10.244.1.2", policy.Labels{"k8s:app": "client"})
	s.AddPod("stranger", "10.244.1.4", policy.Labels{"k8s:app": "stranger"})
	s.AddPod("caged", "10.244.1.5", policy.Labels{"k8s:app": "client", "k8s:role": "caged"})
	s.AddPod("plain", "10.244.1.6", policy.Labels{"k8s:app": "plain"})
	s.AddPod("target", "10.244.1.7", policy.Labels{"k8s:app": "target"})
	s.AddPod("lenient", "10.244.1.8", policy.Labels{"k8s:app": "lenient"})
	s.AddRemote("remote", "10.244.2.2", policy.Labels{"k8s:app": "client"})
	s.startServers(t)
	s.startStreams(t)
	s.Publish(policies()...)
	s.Listen(s.Pods["plain"].NS, "[::]:9")
	for _, from := range []string{"client", "caged", "remote"} {
		s.reach(t, s.Pods[from].NS, s.at(1, openPort))
	}
	s.reach(t, s.Host, net.JoinHostPort(s.Pods["plain"].Addrs[1].String(), "9"))
	t.Run("HTTP", s.http)
	t.Run("Responses", s.responses)
	t.Run("Streams", s.streams)
	t.Run("Packets", s.packets)
	t.Run("Spoofing", s.spoofing)
	t.Run("Connections", s.connections)
	t.Run("Proxy", s.proxy)
	t.Run("Hooks", s.hooks)
	t.Run("Flood", s.flood)
	t.Run("Load", s.load)
	t.Run("Failure", s.failure)
	t.Run("Table", func(t *testing.T) {
		s.table(t, page{mark: "attack results", intro: intro,
			sections: []string{"Hooks", "Path", "Header, host, method", "Smuggling", "Transparency", "Data path", "Load", "Failure"}})
	})
}

// attack runs one attack as a test of its own. It does not stand in the table unless it passed.
func (s *ledger) attack(t *testing.T, r result, run func(t *testing.T)) {
	t.Helper()
	if !t.Run(r.attack, run) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.results = append(s.results, r)
}

// table compares what was found with the documentation. An attack that is not run, or
// succeeds, is missing in it.
func (s *ledger) table(t *testing.T, p page) {
	t.Helper()
	const path = "../../docs/security.md"
	begin, end := "<!-- "+p.mark+" -->\n", "<!-- end of "+p.mark+" -->\n"
	for _, section := range p.sections {
		if !slices.ContainsFunc(s.results, func(r result) bool { return r.section == section }) {
			t.Skipf("the section %q was not run", section)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), begin)
	old, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no %q … %q", path, begin, end)
	}
	text := p.intro + s.render(p.sections)
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+text+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(strings.Split(old, "\n"), strings.Split(text, "\n")); diff != "" {
		t.Errorf("%s is not what the attacks gave (-page +now); -update rewrites it:\n%s", path, diff)
	}
}

// intro explains what the table cannot.
const intro = `
Each line is a test in test/attack: on a node in network namespaces with the real programs, enforcer, launcher
and Envoy, against nginx, Apache and a Go server that records each byte. An attack that succeeds fails the test
and is not in the table. "Unchanged" is compared byte for byte at the server; "rewritten" means that the server
gets the same request as the proxy writes it, which is what the policy has judged. In responses the proxy writes
its own Connection header, and adds a date where the server sends none. Paths that stand here as they are sent
are attacks on a policy that allows everything but /admin and a few others.

What is known to succeed, and is therefore no line here:

- Where a CNI joins the pods of a node by a bridge, a pod that no policy selects and that no plugin has held could
  send datagrams with another pod's address in the moment before its guard is there.
- A foreign TCX program that is attached before ours and ends the chain (TCX_PASS) bypasses policy on what the pod
  sends until the enforcer puts ours first again, within a second or two. Only root on the node can attach one. What
  is sent to the pod is judged at the pod's own interface then; there, a container with CAP_BPF and CAP_NET_ADMIN
  could do the same to itself.
- Where a CNI goes around the node's side (bpf_redirect_peer), a container with CAP_NET_RAW can read from a packet
  socket what is sent to its pod before it is judged: packet sockets see frames before any program. The sender is
  who the CNI says: whether it checks its pods' addresses is for its documentation to say.
- A policed pod's other interfaces (Multus and alike; ipvlan, macvlan, SR-IOV, netkit) are closed, and reported. A
  container with CAP_NET_RAW can still exchange frames there by packet sockets, which the kernel does not take through
  the queueing discipline if they ask for it; and a new interface of a pod that runs is closed within half a minute.
`

// render is the table: one row an attack, with the servers that stood behind it.
func (s *ledger) render(sections []string) string {
	var out strings.Builder
	for _, section := range sections {
		var rows []result
		servers := map[result][]string{}
		for _, r := range s.results {
			key := r
			key.server = ""
			if r.section != section {
				continue
			}
			if _, ok := servers[key]; !ok {
				rows = append(rows, key)
			}
			servers[key] = append(servers[key], r.server)
		}
		slices.SortStableFunc(rows, func(a, b result) int { return strings.Compare(a.attack, b.attack) })
		fmt.Fprintf(&out, "\n### %s\n\n| attack | expected | result | server |\n|---|---|---|---|\n", section)
		for _, r := range rows {
			of := servers[r]
			slices.Sort(of)
			fmt.Fprintf(&out, "| %s | %s | as expected | %s |\n", cell(r.attack), r.expected, strings.Join(of, ", "))
		}
	}
	return out.String() + "\n"
}

// cell writes what a reader would not see, and what means something in a table.
func cell(text string) string {
	quoted := strconv.Quote(text)
	quoted = strings.ReplaceAll(quoted[1:len(quoted)-1], `\\`, `\`)
	if strings.ContainsAny(text, "/%*\\") {
		return "`" + strings.ReplaceAll(quoted, "|", `\|`) + "`"
	}
	return strings.ReplaceAll(quoted, "|", `\|`)
}
