// Package panels has a real Prometheus scrape a real node, and asks it what the dashboards ask.
package panels

import (
	"math"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/septum-dev/septum/charts/dashboards"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/attack/node"
)

// TestPanels sends a fixed set of requests, twice, and then asks each panel's queries. The counts
// must be those of the requests, and each panel of the dashboards on layer 7 must show something.
func TestPanels(t *testing.T) {
	n := node.New(t)
	web := client{n.AddPod("web", "10.244.1.2", policy.Labels{"k8s:app": "web"}), t}
	shop := n.AddPod("shop", "10.244.1.3", policy.Labels{"k8s:app": "shop"})
	queue := n.AddPod("queue", "10.244.1.4", policy.Labels{"k8s:app": "queue"})
	resolver := n.AddPod("resolver", "10.244.1.5", policy.Labels{"k8s:app": "resolver"})
	stranger := client{n.AddPod("stranger", "10.244.1.6", policy.Labels{"k8s:app": "stranger"}), t}
	release := make(chan struct{})
	serveShop(t, n, shop, release)
	serveQueue(n, queue)
	serveNames(t, resolver)
	n.Publish(policies()...)
	p := startPrometheus(t, n)
	p.until(1, "septum_enforcer_proxy_ready")

	slow := make(chan int)
	go func() { slow <- web.http("GET", "/public/slow", "") }()
	const waves = 2
	for wave := range waves {
		send(web, stranger)
		// The second wave is what rates are made of: the first must have been scraped before.
		p.until(float64(4*(wave+1)), `sum(hubble_http_requests_total{reporter="server",status="200",protocol="HTTP/1.1"})`)
		p.until(float64(2*(wave+1)), `sum(septum_denials_total{kind="dns"})`)
		p.until(float64(wave+1), `sum(septum_denials_total{kind="kafka"})`)
	}
	p.until(1, `sum(septum_http_requests_started_total{reporter="server"}) - sum(hubble_http_requests_total{reporter="server"})`)
	t.Run("Counts", func(t *testing.T) { counts(t, prom{t, p.client}, waves) })
	t.Run("Page", func(t *testing.T) { page(t, prom{t, p.client}) })
	for _, d := range dashboards.All() {
		t.Run(d.UID, func(t *testing.T) { panels(t, prom{t, p.client}, d) })
	}
	if *draw {
		picture(t, p, web, stranger)
	}
	close(release)
	if code := <-slow; code != 200 {
		t.Errorf("the request that goes on ends with %d", code)
	}
	p.until(0, `sum(septum_http_requests_started_total{reporter="server"}) - sum(hubble_http_requests_total{reporter="server"})`)
}

// send is one wave.
func send(web, stranger client) {
	want := func(code, got int) {
		web.t.Helper()
		if code != got {
			web.t.Errorf("got status %d, want %d", got, code)
		}
	}
	for range 4 {
		want(200, web.http("GET", "/public", ""))
	}
	for range 2 {
		want(404, web.http("GET", "/public/none", ""))
	}
	for range 3 {
		want(403, web.http("DELETE", "/public", ""))
	}
	want(403, web.http("GET", "/secret", ""))
	for range 2 {
		want(200, web.http("POST", "/cart.Cart/Add", "application/grpc"))
	}
	want(200, web.http("POST", "/cart.Cart/Empty", "application/grpc"))
	stranger.refused(shopAddr)
	web.refused("10.244.1.6:81")
	for range 3 {
		web.ask("good.example", dnsmessage.RCodeSuccess)
	}
	for range 2 {
		web.ask("evil.example", dnsmessage.RCodeRefused)
	}
	web.produce("orders", "orders", "secret")
}

// counts compares what Prometheus has with the requests that were sent.
func counts(t *testing.T, p prom, waves float64) {
	t.Helper()
	for expr, each := range map[string]float64{
		`sum(hubble_http_requests_total{reporter="server",method="GET",status="200",source_workload="web",destination_workload="shop",destination_pod="shop"})`: 4,
		`sum(hubble_http_requests_total{reporter="client",method="GET",status="404",source_pod="web",destination_namespace="demo"})`:                            2,
		`sum(hubble_http_requests_total{reporter="client",method="DELETE",status="403"})`:                                                                       3,
		// What the client's policy refuses does not come to the server's.
		`sum(hubble_http_requests_total{reporter="server",method="DELETE"})`:                                                                              0,
		`sum(hubble_drop_total{protocol="HTTP",traffic_direction="egress",source_pod="web"})`:                                                             4,
		`sum(hubble_drop_total{protocol="HTTP",traffic_direction="ingress",destination_pod="shop"})`:                                                      1,
		`sum(hubble_http_request_duration_seconds_count{reporter="server"})`:                                                                              8,
		`sum(septum_grpc_requests_total{reporter="server",status="NOT_FOUND",verdict="forwarded"})`:                                                       2,
		`sum(septum_grpc_requests_total{reporter="client",status="PERMISSION_DENIED",verdict="dropped"})`:                                                 1,
		`sum(hubble_dns_queries_total{qtypes="A",rcode="",source_workload="web"})`:                                                                        3,
		`sum(hubble_dns_queries_total{qtypes="A",rcode="Policy denied"})`:                                                                                 2,
		`sum(hubble_dns_responses_total{rcode="No Error",ips_returned="1"})`:                                                                              3,
		`sum(septum_denials_total{kind="http",direction="egress",port="80",policy="demo/web",rule="",source_workload="web",destination_workload="shop"})`: 3,
		`sum(septum_denials_total{kind="kafka",direction="ingress",port="9092",policy="demo/queue"})`:                                                     1,
		`sum(hubble_kafka_requests_total{topic="orders",error_code="0",reporter="server",source_workload="web",destination_workload="queue"})`:            2,
		`sum(hubble_kafka_requests_total{topic="secret",error_code="29",reporter="server"})`:                                                              1,
		`sum(hubble_policy_verdicts_total{match="l7/kafka",action="forwarded",direction="ingress"})`:                                                      2,
	} {
		prom{t, p.client}.until(each*waves, expr)
	}
	// A client that gets no answer sends its SYN again, so that these are at least one a wave.
	for _, expr := range []string{
		`sum(septum_denials_total{kind="tcp",direction="ingress",policy="demo/shop",source_workload="stranger",destination_pod="shop"})`,
		`sum(septum_denials_total{kind="tcp",direction="egress",policy="demo/web",port="81",destination_workload="stranger"})`,
	} {
		if got, err := p.query(expr, 0); err != nil || len(got) != 1 || got[0].values[0] < waves {
			t.Errorf("%s is %v, want %v or more; %v", expr, got, waves, err)
		}
	}
}

// page holds the types and meanings in docs/metrics.md to what the enforcer serves, and the enforcer
// to the page: nothing of ours is served that it does not list.
func page(t *testing.T, p prom) {
	t.Helper()
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var served map[string][]struct{ Type, Help string }
	if err := p.ask("metadata", nil, &served); err != nil {
		t.Fatal(err)
	}
	found := 0
	for name, m := range served {
		if !strings.HasPrefix(name, "septum_") && !strings.HasPrefix(name, "hubble_") {
			continue
		}
		found++
		line := regexp.MustCompile("(?m)^\\| `" + name + "` \\| " + m[0].Type + " \\| .* \\| " + regexp.QuoteMeta(m[0].Help) + " \\|$")
		if !line.Match(text) {
			t.Errorf("docs/metrics.md does not say that %s is a %s: %s", name, m[0].Type, m[0].Help)
		}
	}
	if found < 30 {
		t.Errorf("only %d metrics are served", found)
	}
}

// expression is a panel's query with the variables chosen.
func expression(expr string) string {
	return strings.NewReplacer("$__rate_interval", "30s", "$__range", "5m", "$namespace", ".+", "$workload", ".+").Replace(expr)
}

// panels asks each query. Those about the operator, which is not there, are only asked.
func panels(t *testing.T, p prom, d dashboards.Dashboard) {
	t.Helper()
	operator := regexp.MustCompile(`septum_(nodes|compile|resources|pushed|pushes|nacks|problems|status|relay)`)
	// What shows trouble shows none here.
	quiet := regexp.MustCompile(`attach_errors|hooks_moved|repairs|unjudged|lost_events|drops_total|enforcer_problems`)
	layer7 := strings.HasPrefix(d.UID, "septum-l7-")
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			var last time.Duration
			if target.Range {
				last = time.Minute
			}
			got, err := p.query(expression(target.Expr), last)
			if err != nil {
				t.Errorf("%s: %v", panel.Title, err)
				continue
			}
			if operator.MatchString(target.Expr) {
				continue
			}
			points, largest := 0, 0.0
			for _, s := range got {
				for _, v := range s.values {
					if !math.IsNaN(v) {
						points, largest = points+1, max(largest, v)
					}
				}
			}
			if points == 0 && !quiet.MatchString(target.Expr) || layer7 && largest == 0 {
				t.Errorf("%s: %s: %d series with %d values, the largest %v", panel.Title, expression(target.Expr), len(got), points, largest)
			}
			for _, s := range got {
				for _, label := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(target.LegendFormat, -1) {
					if _, ok := s.labels[label[1]]; !ok && layer7 && !strings.Contains(target.Expr, "status") && !strings.Contains(target.Expr, "rcode") {
						t.Errorf("%s: the legend's %s is not in %v", panel.Title, label[1], s.labels)
					}
				}
			}
		}
	}
}
