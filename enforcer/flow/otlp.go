package flow

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"time"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	observerpb "github.com/cilium/cilium/api/v1/observer"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/credentials"
)

// OTLPConfig is a collector of OpenTelemetry.
type OTLPConfig struct {
	// Address is host:port of its gRPC receiver.
	Address string
	// CAFile has the certificates that its own must come from; the system's if it is "".
	CAFile string
	// Plain speaks without TLS: whoever is on the way reads the flows.
	Plain bool
	// Node is this node's name.
	Node string
	// Lost is told of flows that the collector did not take, and why; required. The
	// exporter has tried for a minute then.
	Lost func(n int, why error)
}

// otlpBatch is how many flows are sent at a time. The next are taken when these have gone, so
// that what a collector is too slow for is lost in the ring, where it is counted.
const (
	otlpBatch = 512
	otlpEvery = time.Second
	// otlpTimeout bounds one try.
	otlpTimeout = 10 * time.Second
)

// OTLP sends flows as log records.
type OTLP struct {
	provider *sdklog.LoggerProvider
	logger   log.Logger
	waiting  int
}

// NewOTLP connects when the first flows are sent.
func NewOTLP(ctx context.Context, c OTLPConfig) (*OTLP, error) {
	host, _, err := net.SplitHostPort(c.Address)
	if err != nil || host == "" {
		return nil, fmt.Errorf("configure the collector: %q is not host:port", c.Address)
	}
	if c.Plain && c.CAFile != "" {
		return nil, errors.New("configure the collector: certificates have no meaning without TLS")
	}
	options := []otlploggrpc.Option{otlploggrpc.WithEndpoint(c.Address), otlploggrpc.WithTimeout(otlpTimeout)}
	if c.Plain {
		options = append(options, otlploggrpc.WithInsecure())
	} else {
		config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
		if c.CAFile != "" {
			text, err := os.ReadFile(c.CAFile)
			if err != nil {
				return nil, fmt.Errorf("configure the collector: %w", err)
			}
			config.RootCAs = x509.NewCertPool()
			if !config.RootCAs.AppendCertsFromPEM(text) {
				return nil, fmt.Errorf("configure the collector: %s has no certificates", c.CAFile)
			}
		}
		options = append(options, otlploggrpc.WithTLSCredentials(credentials.NewTLS(config)))
	}
	exporter, err := otlploggrpc.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("configure the collector: %w", err)
	}
	counted := countingExporter{exporter, c.Lost}
	provider := sdklog.NewLoggerProvider(
		sdklog.WithResource(resource.NewSchemaless(attribute.String("service.name", "septum-enforcer"), attribute.String("k8s.node.name", c.Node))),
		sdklog.WithProcessor(sdklog.NewBatchProcessor(counted, sdklog.WithMaxQueueSize(2*otlpBatch), sdklog.WithExportMaxBatchSize(otlpBatch), sdklog.WithExportInterval(otlpEvery))),
	)
	return &OTLP{provider: provider, logger: provider.Logger("septum.dev/flows")}, nil
}

// countingExporter says what was lost, so that nobody has to be told by a global handler.
type countingExporter struct {
	sdklog.Exporter
	lost func(int, error)
}

// Export tries, and is done.
func (e countingExporter) Export(ctx context.Context, records []sdklog.Record) error {
	if err := e.Exporter.Export(ctx, records); err != nil {
		e.lost(len(records), err)
	}
	return nil
}

// Sink sends one flow. It belongs to one goroutine.
func (o *OTLP) Sink(ctx context.Context) Sink {
	return func(res *observerpb.GetFlowsResponse) error {
		if f := res.GetFlow(); f != nil {
			o.logger.Emit(inTrace(ctx, f), recordOf(f))
		} else if lost := res.GetLostEvents(); lost != nil {
			o.logger.Emit(ctx, lossOf(lost))
		}
		if o.waiting++; o.waiting < otlpBatch {
			return nil
		}
		o.waiting = 0
		if err := o.provider.ForceFlush(ctx); err != nil {
			return fmt.Errorf("send flows to the collector: %w", err)
		}
		return nil
	}
}

// Close sends what waits, for as long as ctx lets it.
func (o *OTLP) Close(ctx context.Context) error { return o.provider.Shutdown(ctx) }

// inTrace is a context of the flow's trace.
func inTrace(ctx context.Context, f *flowpb.Flow) context.Context {
	var id trace.TraceID
	if n, err := hex.Decode(id[:], []byte(f.GetTraceContext().GetParent().GetTraceId())); err != nil || n != len(id) {
		return ctx
	}
	return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: id}))
}

// recordOf names what a flow says as OpenTelemetry's conventions do, where they have a name.
func recordOf(f *flowpb.Flow) log.Record {
	var r log.Record
	r.SetTimestamp(timeOf(f))
	r.SetEventName("septum.flow")
	r.SetBody(attribute.StringValue(f.GetSummary())) //nolint:staticcheck // the text is nowhere else
	r.SetSeverity(log.SeverityInfo)
	if f.GetVerdict() == flowpb.Verdict_DROPPED {
		r.SetSeverity(log.SeverityWarn)
	}
	add := func(key, value string) {
		if value != "" {
			r.AddAttributes(attribute.String(key, value))
		}
	}
	add("hubble.verdict", f.GetVerdict().String())
	add("hubble.type", f.GetType().String())
	add("hubble.traffic_direction", f.GetTrafficDirection().String())
	if f.GetVerdict() == flowpb.Verdict_DROPPED {
		add("hubble.drop_reason", f.GetDropReasonDesc().String())
	}
	src, dst, hasPorts := portsOf(f)
	for _, end := range []struct {
		name, address string
		port          uint32
		endpoint      *flowpb.Endpoint
		service       *flowpb.Service
	}{{"source", f.GetIP().GetSource(), src, f.GetSource(), f.GetSourceService()}, {"destination", f.GetIP().GetDestination(), dst, f.GetDestination(), f.GetDestinationService()}} {
		add(end.name+".address", end.address)
		if hasPorts {
			r.AddAttributes(attribute.Int64(end.name+".port", int64(end.port)))
		}
		add(end.name+".k8s.namespace.name", end.endpoint.GetNamespace())
		add(end.name+".k8s.pod.name", end.endpoint.GetPodName())
		if w := end.endpoint.GetWorkloads(); len(w) > 0 {
			add(end.name+".k8s.workload.name", w[0].GetName())
		}
		add(end.name+".k8s.service.name", end.service.GetName())
		r.AddAttributes(attribute.Int64(end.name+".hubble.identity", int64(end.endpoint.GetIdentity())))
	}
	l7 := f.GetL7()
	if http := l7.GetHttp(); http != nil {
		add("http.request.method", http.GetMethod())
		add("url.full", http.GetUrl())
		if http.GetCode() != 0 {
			r.AddAttributes(attribute.Int64("http.response.status_code", int64(http.GetCode())))
		}
	}
	add("dns.question.name", l7.GetDns().GetQuery())
	add("messaging.destination.name", l7.GetKafka().GetTopic()) //nolint:staticcheck // Hubble has no other record for Kafka
	if ns := l7.GetLatencyNs(); ns != 0 {
		r.AddAttributes(attribute.Int64("hubble.latency_ns", int64(ns)))
	}
	var policies []string
	for _, p := range slices.Concat(f.GetIngressAllowedBy(), f.GetIngressDeniedBy(), f.GetEgressAllowedBy(), f.GetEgressDeniedBy()) {
		policies = append(policies, p.GetKind()+" "+p.GetNamespace()+"/"+p.GetName())
	}
	if len(policies) > 0 {
		r.AddAttributes(attribute.StringSlice("hubble.policies", policies))
	}
	return r
}

func lossOf(lost *flowpb.LostEvent) log.Record {
	var r log.Record
	r.SetEventName("septum.flows_lost")
	r.SetSeverity(log.SeverityWarn)
	r.SetBody(attribute.StringValue(strconv.FormatUint(lost.GetNumEventsLost(), 10) + " flows were lost"))
	return r
}
