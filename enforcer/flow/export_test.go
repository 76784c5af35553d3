package flow

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	observerpb "github.com/cilium/cilium/api/v1/observer"
	collogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/grpc"

	"github.com/septum-dev/septum/policy"
)

// exporting runs Export, and returns what ends it.
func exporting(t *testing.T, r *Recorder, sink Sink) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	begun := make(chan struct{})
	go func() { close(begun); done <- r.Export(ctx, sink) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-begun
	for r.ring.grown.Load() == nil { // until it waits for what comes
		time.Sleep(time.Millisecond)
	}
}

func TestFileOfFlows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log", "flows.json")
	sink, file, err := NewFile(FileConfig{Path: path, Megabytes: 1, Files: 2})
	if err != nil {
		t.Fatal(err)
	}
	r := recorder(t, Config{})
	written := make(chan struct{}, 8)
	exporting(t, r, func(res *observerpb.GetFlowsResponse) error { err := sink(res); written <- struct{}{}; return err })
	r.Add(request(policy.Denied, "POST", "/data?secret", 403), []policy.Ref{allow})
	<-written
	<-written
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var verdicts []string
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var res observerpb.GetFlowsResponse
		if err := json.Unmarshal(lines.Bytes(), &res); err != nil {
			t.Fatal(err)
		}
		verdicts = append(verdicts, res.GetFlow().GetVerdict().String())
	}
	if len(verdicts) != 2 || verdicts[1] != "DROPPED" || bytes.Contains(text, []byte("secret")) {
		t.Errorf("it holds %v\n%s", verdicts, text)
	}
	// More than fits makes older files, of which only so many stay.
	big := request(policy.Forwarded, "GET", "/"+string(bytes.Repeat([]byte("a"), 1000)), 0)
	flow := converter{event: big, people: &people{}}.request()
	for range 4000 {
		if err := sink(response(flow, flow)); err != nil {
			t.Fatal(err)
		}
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	// What is too much is removed a moment later.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		all, err := os.ReadDir(filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		if len(all) == 3 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("there are %d files, of one and two older ones", len(all))
		}
	}
}

func TestFileConfigIsChecked(t *testing.T) {
	for name, c := range map[string]FileConfig{
		"no path": {Megabytes: 1, Files: 1}, "no size": {Path: "x", Files: 1}, "too large": {Path: "x", Megabytes: maxMegabytes + 1, Files: 1},
		"no bound": {Path: "x", Megabytes: 1}, "too many": {Path: "x", Megabytes: 1, Files: maxFiles + 1},
	} {
		if _, _, err := NewFile(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// collector is a receiver of OTLP.
type collector struct {
	collogspb.UnimplementedLogsServiceServer
	mu  sync.Mutex
	got []*logspb.LogRecord
	// resource is who said so.
	resource string
}

func (c *collector) Export(_ context.Context, req *collogspb.ExportLogsServiceRequest) (*collogspb.ExportLogsServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range req.GetResourceLogs() {
		c.resource = r.GetResource().String()
		for _, s := range r.GetScopeLogs() {
			c.got = append(c.got, s.GetLogRecords()...)
		}
	}
	return &collogspb.ExportLogsServiceResponse{}, nil
}

func (c *collector) records() []*logspb.LogRecord {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got
}

func TestOTLP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, c := grpc.NewServer(), &collector{}
	collogspb.RegisterLogsServiceServer(server, c)
	go server.Serve(l)
	t.Cleanup(server.Stop)
	o, err := NewOTLP(t.Context(), OTLPConfig{Address: l.Addr().String(), Plain: true, Node: "node1", Lost: func(n int, why error) { t.Errorf("%d flows were lost: %v", n, why) }})
	if err != nil {
		t.Fatal(err)
	}
	r := recorder(t, Config{})
	exporting(t, r, o.Sink(t.Context()))
	e := request(policy.Denied, "POST", "/data", 403)
	e.HTTP.TraceID = "0af7651916cd43dd8448eb211c80319c"
	r.Add(e, []policy.Ref{allow})
	const more = 2000 // more than a batch
	for range more {
		r.Add(packet(policy.Forwarded, "", "10.0.0.1:40000"), nil)
	}
	for deadline := time.Now().Add(time.Minute); len(c.records()) < more+2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d records have come", len(c.records()))
		}
	}
	attributes := map[string]string{}
	record := c.records()[1]
	for _, a := range record.GetAttributes() {
		attributes[a.GetKey()] = a.GetValue().String()
	}
	if hex.EncodeToString(record.GetTraceId()) != e.HTTP.TraceID || record.GetSeverityNumber() != logspb.SeverityNumber_SEVERITY_NUMBER_WARN ||
		attributes["http.request.method"] != `string_value:"POST"` || attributes["source.k8s.pod.name"] != `string_value:"frontend-5f"` || attributes["destination.port"] != "int_value:80" {
		t.Errorf("the record is %v", record)
	}
	if !bytes.Contains([]byte(c.resource), []byte("node1")) {
		t.Errorf("it comes from %s", c.resource)
	}
	if err := o.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOTLPConfigIsChecked(t *testing.T) {
	for name, c := range map[string]OTLPConfig{
		"no port": {Address: "collector"}, "no host": {Address: ":4317"}, "certificates without TLS": {Address: "c:4317", Plain: true, CAFile: "x"}, "no such file": {Address: "c:4317", CAFile: "/nowhere"},
	} {
		if _, err := NewOTLP(t.Context(), c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
