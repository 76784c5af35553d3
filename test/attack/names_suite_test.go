package attack

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/septum-dev/septum/test/attack/node"
)

// say is the liar's for the one address outside of the cluster.
func (s *nameSuite) say(name string, answers ...dnsmessage.Resource) { s.liar.say(name, answers...) }

// told has the client ask for a name until it is answered.
func (s *nameSuite) told(t *testing.T, name string) *dnsmessage.Message {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		m, err := lookUp(t, s.client, "udp", s.resolver, name)
		if err == nil {
			return m
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

// leads checks whether the client reaches an address after it has been told of it.
func (s *nameSuite) leads(t *testing.T, name, addr string, want bool) {
	t.Helper()
	s.told(t, name)
	if got := reaches(t, s.client, net.JoinHostPort(addr, "80")); got != want {
		t.Errorf("%s leads to %s: %v, want %v", name, addr, got, want)
	}
}

// exchange sends bytes to the resolver, and returns what comes back.
func (s *nameSuite) exchange(t *testing.T, network string, b []byte) ([]byte, error) {
	t.Helper()
	conn, err := node.Dial(t.Context(), s.client.NS, net.Dialer{}, network, s.resolver)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Second))
	if network == "tcp" {
		b = append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
	}
	if _, err := conn.Write(b); err != nil {
		return nil, err
	}
	out := make([]byte, 4096)
	n, err := conn.Read(out)
	return out[:n], err
}

// refused is how many addresses the enforcer says it has not learnt.
func (s *nameSuite) refused(t *testing.T) (total float64) {
	t.Helper()
	return s.metric(t, "septum_enforcer_refused_addresses_total")
}

// metric is the sum of a metric of the enforcer's.
func (s *nameSuite) metric(t *testing.T, name string) (total float64) {
	t.Helper()
	conn, err := node.Dial(t.Context(), s.Host, net.Dialer{}, "tcp", node.Addr+":9965")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /metrics HTTP/1.0\r\n\r\n")
	text, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var n float64
		if i := strings.LastIndexByte(line, ' '); strings.HasPrefix(line, name) && i > 0 {
			if _, err := fmt.Sscan(line[i:], &n); err == nil {
				total += n
			}
		}
	}
	return total
}
