package flows

import (
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
)

// TestHubbleRelay has the real CLI read an enforcer's flows through the real Hubble Relay,
// which finds the enforcer by its peer service.
func TestHubbleRelay(t *testing.T) {
	program, err := exec.Command("../hubble/build.sh", "hubble-relay").Output()
	if err != nil {
		t.Fatalf("build the relay: %v", err)
	}
	r, node := server(t)
	address := freePort(t)
	log := &strings.Builder{}
	cmd := exec.CommandContext(t.Context(), strings.TrimSpace(string(program)), "serve", "--disable-client-tls", "--disable-server-tls",
		"--peer-service", node, "--listen-address", address, "--health-listen-address", freePort(t), "--gops=false")
	cmd.Env = []string{"HOME=" + t.TempDir()}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		cmd.Wait()
	}()
	end := func() {
		cmd.Process.Kill()
		<-gone
	}
	t.Cleanup(end)
	fail := func(format string, args ...any) {
		t.Helper()
		end() // the log is written until then
		t.Fatalf("%s\nthe relay says\n%s", fmt.Sprintf(format, args...), log)
	}
	deadline := time.Now().Add(2 * time.Minute)
	for {
		out, err := hubble(t, address, "list", "nodes").CombinedOutput()
		if err == nil && strings.Contains(string(out), "node1") && strings.Contains(string(out), "Connected") {
			break
		}
		if time.Now().After(deadline) {
			fail("it does not find the node: %v\n%s", err, out)
		}
		select {
		case <-gone:
			fail("it has ended")
		case <-time.After(200 * time.Millisecond):
		}
	}
	for name, c := range map[string]struct{ args, want []string }{
		"everything":    {nil, []string{oldRequest, oldResponse, getRequest, getResponse, verdict, postRequest}},
		"--verdict":     {[]string{"--verdict", "DROPPED"}, []string{verdict, postRequest}},
		"--http-status": {[]string{"--http-status", "5+"}, []string{oldResponse}},
		"--protocol":    {[]string{"--protocol", "http", "--last", "1"}, []string{postRequest}},
	} {
		out, err := hubble(t, address, append([]string{"observe", "-o", "compact"}, c.args...)...).Output()
		// The relay orders flows by their times, and those of one time as it happens.
		if got, want := sorted(strings.Split(lines(string(out)), "\n")), sorted(c.want); err != nil || got != want {
			fail("%s: %v, it prints\n%s\nand should print\n%s", name, err, got, want)
		}
	}
	// Kafka flows pass, too, though Hubble's own filters do not know the protocol.
	produce := request("10.0.0.1:1005", policy.Forwarded, "", "", 0, 0)
	produce.HTTP, produce.Kafka = nil, &policy.KafkaEvent{Topic: "orders", Correlation: 7}
	r.Add(produce, nil)
	out, err := hubble(t, address, "observe", "-o", "compact", "--protocol", "kafka", "--last", "1").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "l7-request FORWARDED (Kafka request produce correlation id 7 topic 'orders')") {
		fail("Kafka: %v\n%s", err, out)
	}
}

func sorted(lines []string) string { return strings.Join(slices.Sorted(slices.Values(lines)), "\n") }

// freePort is an address of this machine that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
