// Package flows tests the enforcer's flow server with the real Hubble CLI.
package flows

import (
	"bufio"
	"context"
	"encoding/json"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/septum-dev/septum/enforcer/flow"
	"github.com/septum-dev/septum/policy"
)

var allow = policy.RuleID{
	Policy: policy.Ref{Kind: "CiliumNetworkPolicy", Namespace: "demo", Name: "allow-get-products"},
	Path:   "spec.ingress[0].toPorts[0].rules.http[0]",
}

// request is one of a pod to backend-app, of a time ago.
func request(from string, v policy.Verdict, method, path string, code int, ago time.Duration) policy.Event {
	e := policy.Event{
		Time: time.Now().Add(-ago), Source: policy.SourceEnvoy, Verdict: v, Protocol: policy.ProtocolTCP,
		Src: netip.MustParseAddrPort(from), Dst: netip.MustParseAddrPort("10.0.0.2:80"),
		HTTP: &policy.HTTPEvent{Method: method, Host: "backend-app", Path: path, Version: "HTTP/1.1", Code: code, Latency: 2 * time.Millisecond},
	}
	if v == policy.Forwarded {
		e.Rule = allow
	}
	return e
}

// server serves a request that went on, one that was refused, and one of another namespace
// that is ten minutes old and that the server failed.
func server(t *testing.T) (*flow.Recorder, string) {
	t.Helper()
	r, err := flow.New(flow.Config{Node: "node1", Version: "septum"})
	if err != nil {
		t.Fatal(err)
	}
	address := func(prefix, namespace, pod string, id policy.Identity) policy.Address {
		return policy.Address{Prefix: netip.MustParsePrefix(prefix), Identity: id, Namespace: namespace, Pod: pod, Node: "node1"}
	}
	r.Know(policy.NodePolicy{Addresses: []policy.Address{
		address("10.0.0.1/32", "demo", "frontend", 300), address("10.0.0.2/32", "demo", "backend", 301), address("10.0.0.3/32", "shop", "till", 302),
	}})
	r.Add(request("10.0.0.3:3000", policy.Forwarded, "GET", "/old", 503, 10*time.Minute), nil)
	r.Add(request("10.0.0.1:1000", policy.Forwarded, "GET", "/data?secret=1", 200, 0), nil)
	r.Add(request("10.0.0.1:1001", policy.Denied, "POST", "/data", 403, 0), []policy.Ref{allow.Policy})
	l, err := flow.ListenLoopback("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	return r, l.Addr().String()
}

// hubble is the CLI with the server's address.
func hubble(t *testing.T, address string, args ...string) *exec.Cmd {
	t.Helper()
	program, err := exec.Command("../hubble/build.sh").Output()
	if err != nil {
		t.Fatalf("build the CLI: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), strings.TrimSpace(string(program)), append(args, "--server", address)...)
	cmd.Env = []string{"HOME=" + t.TempDir(), "TZ=UTC"}
	return cmd
}

func run(t *testing.T, address string, args ...string) string {
	t.Helper()
	out, err := hubble(t, address, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("hubble %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// lines are the CLI's without the time.
func lines(out string) string {
	var kept []string
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		if _, rest, ok := strings.Cut(line, ": "); ok {
			line = rest
		}
		kept = append(kept, line)
	}
	return strings.Join(kept, "\n")
}

const (
	oldRequest  = "shop/till:3000 (ID:302) -> demo/backend:80 (ID:301) http-request FORWARDED (HTTP/1.1 GET http://backend-app/old)"
	oldResponse = "shop/till:3000 (ID:302) <- demo/backend:80 (ID:301) http-response FORWARDED (HTTP/1.1 503 2ms (GET http://backend-app/old))"
	getRequest  = "demo/frontend:1000 (ID:300) -> demo/backend:80 (ID:301) http-request FORWARDED (HTTP/1.1 GET http://backend-app/data)"
	getResponse = "demo/frontend:1000 (ID:300) <- demo/backend:80 (ID:301) http-response FORWARDED (HTTP/1.1 200 2ms (GET http://backend-app/data))"
	verdict     = "demo/frontend:1001 (ID:300) -> demo/backend:80 (ID:301) policy-verdict:none INGRESS DENIED (TCP)"
	named       = "demo/frontend:1001 (ID:300) -> demo/backend:80 (ID:301) policy-verdict:none INGRESS DENIED BY allow-get-products (CiliumNetworkPolicy) (TCP)"
	postRequest = "demo/frontend:1001 (ID:300) -> demo/backend:80 (ID:301) http-request DROPPED (HTTP/1.1 POST http://backend-app/data)"
)

func TestObserve(t *testing.T) {
	_, address := server(t)
	for name, c := range map[string]struct{ args, want []string }{
		"everything":      {nil, []string{oldRequest, oldResponse, getRequest, getResponse, verdict, postRequest}},
		"--last":          {[]string{"--last", "2"}, []string{verdict, postRequest}},
		"--first":         {[]string{"--first", "1"}, []string{oldRequest}},
		"-n":              {[]string{"-n", "shop"}, []string{oldRequest, oldResponse}},
		"--from-pod":      {[]string{"--from-pod", "demo/front"}, []string{getRequest, verdict, postRequest}},
		"--verdict":       {[]string{"--verdict", "DROPPED"}, []string{verdict, postRequest}},
		"--http-status":   {[]string{"--http-status", "5+"}, []string{oldResponse}},
		"of a refusal":    {[]string{"--http-status", "403"}, []string{postRequest}},
		"--http-method":   {[]string{"--http-method", "POST"}, []string{postRequest}},
		"--protocol":      {[]string{"--protocol", "http", "--last", "1"}, []string{postRequest}},
		"--type":          {[]string{"--type", "policy-verdict"}, []string{verdict}},
		"--since":         {[]string{"--since", "5m"}, []string{getRequest, getResponse, verdict, postRequest}},
		"--until":         {[]string{"--since", "1h", "--until", "5m"}, []string{oldRequest, oldResponse}},
		"--not":           {[]string{"--not", "--verdict", "FORWARDED"}, []string{verdict, postRequest}},
		"--print-policy…": {[]string{"--type", "policy-verdict", "--print-policy-names"}, []string{named}},
	} {
		t.Run(name, func(t *testing.T) {
			got := lines(run(t, address, append([]string{"observe", "-o", "compact"}, c.args...)...))
			if want := strings.Join(c.want, "\n"); got != want {
				t.Errorf("it prints\n%s\nand should print\n%s", got, want)
			}
		})
	}
}

func TestObserveJSON(t *testing.T) {
	_, address := server(t)
	var res struct {
		Flow struct {
			Verdict string
			L7      struct {
				HTTP struct{ URL string }
			}
			Policies []struct{ Name, Kind string } `json:"ingress_denied_by"`
		}
		Node string `json:"node_name"`
	}
	out := run(t, address, "observe", "-o", "json", "--last", "1")
	if err := json.Unmarshal([]byte(out), &res); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if f := res.Flow; f.Verdict != "DROPPED" || f.L7.HTTP.URL != "http://backend-app/data" || res.Node != "node1" || len(f.Policies) != 1 || f.Policies[0].Name != allow.Policy.Name {
		t.Errorf("the flow is %s", out)
	}
	if all := run(t, address, "observe", "-o", "json", "--last", "100"); strings.Contains(all, "secret") {
		t.Errorf("a query is shown in %s", all)
	}
}

func TestObserveFollows(t *testing.T) {
	r, address := server(t)
	cmd := hubble(t, address, "observe", "-o", "compact", "--follow", "--last", "1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	scanner := bufio.NewScanner(out)
	for i, want := range []string{postRequest, "demo/frontend:1002 (ID:300) -> demo/backend:80 (ID:301) http-request FORWARDED (HTTP/1.1 GET http://backend-app/new)"} {
		if !scanner.Scan() || lines(scanner.Text()) != want {
			t.Fatalf("line %d is %q and should be %q", i, scanner.Text(), want)
		}
		r.Add(request("10.0.0.1:1002", policy.Forwarded, "GET", "/new", 200, 0), nil)
	}
}

func TestStatusAndLists(t *testing.T) {
	_, address := server(t)
	for _, c := range []struct {
		args string
		want []string
	}{
		{"status", []string{"Healthcheck", "Ok", "Current/Max Flows: 6/4,096"}},
		{"list nodes", []string{"node1", "Connected"}},
		{"list namespaces", []string{"demo", "shop"}},
	} {
		out := run(t, address, strings.Fields(c.args)...)
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("hubble %s does not say %q in\n%s", c.args, want, out)
			}
		}
	}
}
