package panels

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/septum-dev/septum/test/attack/node"
)

// prom is a real Prometheus that scrapes the node every second.
type prom struct {
	t      *testing.T
	client *http.Client
}

func startPrometheus(t *testing.T, n *node.Node) prom {
	t.Helper()
	bin, err := exec.Command("../../hack/prometheus.sh").Output()
	if err != nil {
		t.Fatalf("get Prometheus: %v", err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	text := "global: {scrape_interval: 1s}\nscrape_configs:\n- job_name: septum-enforcer\n  static_configs: [{targets: ['" + node.Addr + ":9965']}]\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n.Start(n.Host, filepath.Join(strings.TrimSpace(string(bin)), "prometheus"),
		"--config.file="+config, "--storage.tsdb.path="+dir, "--web.listen-address=127.0.0.1:9090", "--log.level=warn")
	return prom{t, &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return node.Dial(ctx, n.Host, net.Dialer{}, "tcp4", "127.0.0.1:9090")
	}}}}
}

// series is one line of an answer: its labels, and its values in the order of time.
type series struct {
	labels map[string]string
	values []float64
}

// ask returns what Prometheus says; an error for one that is not there yet.
func (p prom) ask(path string, args url.Values, into any) error {
	res, err := p.client.Get("http://prometheus/api/v1/" + path + "?" + args.Encode())
	if err != nil {
		return fmt.Errorf("ask Prometheus: %w", err)
	}
	defer res.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return fmt.Errorf("read Prometheus's answer: %w", err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("Prometheus says %s", answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}

// query is an expression's answer now, or with a range, of the time until now.
func (p prom) query(expr string, last time.Duration) ([]series, error) {
	type pair [2]any
	var data struct {
		Result []struct {
			Metric map[string]string
			Value  pair
			Values []pair
		}
	}
	path, args := "query", url.Values{"query": {expr}}
	if last > 0 {
		now := time.Now()
		path = "query_range"
		args["start"] = []string{strconv.FormatInt(now.Add(-last).Unix(), 10)}
		args["end"] = []string{strconv.FormatInt(now.Unix()+1, 10)} // not before the last scrape
		args["step"] = []string{"1"}
	}
	if err := p.ask(path, args, &data); err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	var out []series
	for _, r := range data.Result {
		s := series{labels: r.Metric}
		if r.Values == nil {
			r.Values = []pair{r.Value}
		}
		for _, v := range r.Values {
			text, _ := v[1].(string)
			number, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return nil, fmt.Errorf("%s: the value %v: %w", expr, v[1], err)
			}
			s.values = append(s.values, number)
		}
		out = append(out, s)
	}
	return out, nil
}

// until asks until the answer is one number, and that is what is wanted.
func (p prom) until(want float64, expr string) {
	p.t.Helper()
	var got []series
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(300 * time.Millisecond) {
		got, err = p.query(expr, 0)
		if err == nil && len(got) == 1 && got[0].values[0] == want {
			return
		}
		if err == nil && len(got) == 0 && want == 0 {
			return
		}
	}
	p.t.Errorf("%s is %v, want %v; %v", expr, got, want, err)
}
