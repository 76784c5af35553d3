package attack

import (
	"context"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/attack/node"
	"github.com/septum-dev/septum/xds/septumpb"
)

// failure breaks the proxy: what is closed stays so, and what its policy leaves open goes on,
// but for what addresses and ports deny.
func (s *suite) failure(t *testing.T) {
	brief := net.Dialer{Timeout: time.Second}
	lenient, target := s.portOf("lenient", httpPort), s.portOf("target", httpPort)
	expect := func(name, from, addr, expected string, want int) {
		s.attack(t, result{"Failure", name, expected, "Go"}, func(t *testing.T) {
			s.target.take()
			got, err := s.ask(t.Context(), from, addr, secretRequest, brief)
			if got != want {
				t.Errorf("got %d, %v; want %d", got, err, want)
			}
			if seen := s.target.take(); (want == 200) != slices.Equal(seen, []string{secretRequest}) {
				t.Errorf("the server got %q", seen)
			}
		})
	}
	until := func(what string, limit time.Duration, good func() bool) {
		t.Helper()
		for end := time.Now().Add(limit); !good(); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("waited for %s in vain", what)
			}
		}
	}
	answers := func(code int) func() bool {
		return func() bool {
			got, _ := s.ask(context.Background(), "remote", lenient, secretRequest, brief)
			return got == code
		}
	}
	signal := func(pid int, sig syscall.Signal) {
		t.Helper()
		if err := syscall.Kill(pid, sig); err != nil {
			t.Fatal(err)
		}
	}
	expect("refused request, Envoy runs, failurePolicy Open", "client", lenient, denied, 403)

	launcher := s.Launcher.Cmd.Process.Pid
	signal(launcher, syscall.SIGSTOP) // or it would start another
	t.Cleanup(func() { signal(launcher, syscall.SIGCONT) })
	signal(s.Envoy(), syscall.SIGKILL)
	until("Envoy's listeners to close", 10*time.Second, func() bool {
		ports, err := s.Listeners()
		return err == nil && len(ports) == 0
	})
	for _, from := range []string{"client", "remote"} {
		expect("refused request, Envoy killed, failurePolicy Open, from "+from, from, lenient, same, 200)
		expect("refused request, Envoy killed, failurePolicy Closed, from "+from, from, target, denied, 0)
	}
	expect("peer that may nothing, Envoy killed, failurePolicy Open", "stranger", lenient, denied, 0)
	expect("port that is not open, Envoy killed, failurePolicy Open", "client", s.portOf("lenient", openPort), denied, 0)
	expect("request of a pod whose own egress rules do not name the server, Envoy killed", "caged", lenient, denied, 0)
	unjudged, err := node.Dial(t.Context(), s.Pods["client"].NS, brief, "tcp", lenient)
	if err != nil {
		t.Fatal(err)
	}
	defer unjudged.Close()
	s.Reported("the connections counted as unjudged", func(r *septumpb.NodeReport) bool {
		return slices.ContainsFunc(r.Counters, func(c *septumpb.RuleCounter) bool { return c.Name == "lenient" && c.Unjudged >= 3 })
	})

	signal(launcher, syscall.SIGCONT)
	until("Envoy to judge again", 20*time.Second, answers(403))
	s.attack(t, result{"Failure", "connection that began unjudged, Envoy is back", same, "Go"}, func(t *testing.T) {
		if got, err := exchange(unjudged, secretRequest); got != 200 {
			t.Errorf("got %d, %v", got, err)
		}
	})

	hung := s.Envoy()
	signal(launcher, syscall.SIGSTOP) // or it would end this Envoy, too
	signal(hung, syscall.SIGSTOP)
	t.Cleanup(func() { syscall.Kill(hung, syscall.SIGCONT) }) //nolint:errcheck // it may have ended
	until("a hung Envoy to be noticed", 60*time.Second, answers(200))
	expect("refused request, Envoy hangs, failurePolicy Open", "client", lenient, same, 200)
	expect("refused request, Envoy hangs, failurePolicy Closed", "client", target, denied, 0)
	signal(hung, syscall.SIGCONT)
	until("Envoy to judge again", 20*time.Second, answers(403))
	signal(launcher, syscall.SIGCONT)

	s.attack(t, result{"Failure", "connection that began unjudged, failurePolicy changed to Closed", denied, "Go"}, func(t *testing.T) {
		all := policies()
		for i := range all {
			all[i].Failure = policy.FailClosed
		}
		s.Publish(all...)
		if got, err := exchange(unjudged, secretRequest); err == nil {
			t.Errorf("got %d", got)
		}
	})
}
