package flow

import (
	"slices"
	"strconv"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maker makes the test for one field of a filter.
type maker func(*flowpb.FlowFilter) (test, error)

// fieldTests are the fields of a filter that Septum's flows have something for. Those that
// are missing ask for what no flow of Septum's says, such as TCP flags and headers.
func fieldTests() map[protoreflect.Name]maker {
	src, dst := (*flowpb.Flow).GetSource, (*flowpb.Flow).GetDestination
	return map[protoreflect.Name]maker{
		"source_ip": func(ff *flowpb.FlowFilter) (test, error) { return address(ff.SourceIp, (*flowpb.IP).GetSource) },
		"destination_ip": func(ff *flowpb.FlowFilter) (test, error) {
			return address(ff.DestinationIp, (*flowpb.IP).GetDestination)
		},
		"source_pod":               func(ff *flowpb.FlowFilter) (test, error) { return pod(ff.SourcePod, src) },
		"destination_pod":          func(ff *flowpb.FlowFilter) (test, error) { return pod(ff.DestinationPod, dst) },
		"source_label":             func(ff *flowpb.FlowFilter) (test, error) { return label(ff.SourceLabel, src) },
		"destination_label":        func(ff *flowpb.FlowFilter) (test, error) { return label(ff.DestinationLabel, dst) },
		"source_workload":          func(ff *flowpb.FlowFilter) (test, error) { return workload(ff.SourceWorkload, src), nil },
		"destination_workload":     func(ff *flowpb.FlowFilter) (test, error) { return workload(ff.DestinationWorkload, dst), nil },
		"source_identity":          func(ff *flowpb.FlowFilter) (test, error) { return identity(ff.SourceIdentity, src), nil },
		"destination_identity":     func(ff *flowpb.FlowFilter) (test, error) { return identity(ff.DestinationIdentity, dst), nil },
		"source_cluster_name":      func(ff *flowpb.FlowFilter) (test, error) { return cluster(ff.SourceClusterName, src), nil },
		"destination_cluster_name": func(ff *flowpb.FlowFilter) (test, error) { return cluster(ff.DestinationClusterName, dst), nil },
		"source_port":              func(ff *flowpb.FlowFilter) (test, error) { return port(ff.SourcePort, true) },
		"destination_port":         func(ff *flowpb.FlowFilter) (test, error) { return port(ff.DestinationPort, false) },
		"traffic_direction": func(ff *flowpb.FlowFilter) (test, error) {
			return oneOf(ff.TrafficDirection, (*flowpb.Flow).GetTrafficDirection), nil
		},
		"verdict": func(ff *flowpb.FlowFilter) (test, error) { return oneOf(ff.Verdict, (*flowpb.Flow).GetVerdict), nil },
		"drop_reason_desc": func(ff *flowpb.FlowFilter) (test, error) {
			return oneOf(ff.DropReasonDesc, (*flowpb.Flow).GetDropReasonDesc), nil
		},
		"source_fqdn": func(ff *flowpb.FlowFilter) (test, error) { return fqdn(ff.SourceFqdn, (*flowpb.Flow).GetSourceNames) },
		"destination_fqdn": func(ff *flowpb.FlowFilter) (test, error) {
			return fqdn(ff.DestinationFqdn, (*flowpb.Flow).GetDestinationNames)
		},
		"dns_query": func(ff *flowpb.FlowFilter) (test, error) { return dnsQuery(ff.DnsQuery) },
		"source_service": func(ff *flowpb.FlowFilter) (test, error) {
			return service(ff.SourceService, (*flowpb.Flow).GetSourceService)
		},
		"destination_service": func(ff *flowpb.FlowFilter) (test, error) {
			return service(ff.DestinationService, (*flowpb.Flow).GetDestinationService)
		},
		"trace_id":         func(ff *flowpb.FlowFilter) (test, error) { return traceID(ff.TraceId), nil },
		"reply":            func(ff *flowpb.FlowFilter) (test, error) { return reply(ff.Reply), nil },
		"ip_version":       func(ff *flowpb.FlowFilter) (test, error) { return ipVersion(ff.IpVersion), nil },
		"event_type":       func(ff *flowpb.FlowFilter) (test, error) { return eventType(ff.EventType), nil },
		"node_name":        func(ff *flowpb.FlowFilter) (test, error) { return nodeName(ff.NodeName) },
		"protocol":         func(ff *flowpb.FlowFilter) (test, error) { return protocol(ff.Protocol) },
		"http_status_code": func(ff *flowpb.FlowFilter) (test, error) { return httpStatus(ff.HttpStatusCode) },
		"http_method":      func(ff *flowpb.FlowFilter) (test, error) { return httpMethod(ff.HttpMethod), nil },
		"http_path":        func(ff *flowpb.FlowFilter) (test, error) { return httpPath(ff.HttpPath) },
		"http_url":         func(ff *flowpb.FlowFilter) (test, error) { return httpURL(ff.HttpUrl) },
	}
}

// oneOf is true for a flow that has one of the values.
func oneOf[V comparable](wanted []V, of func(*flowpb.Flow) V) test {
	return func(f *flowpb.Flow) bool { return slices.Contains(wanted, of(f)) }
}

func reply(wanted []bool) test {
	return func(f *flowpb.Flow) bool {
		return f.GetIsReply() != nil && slices.Contains(wanted, f.GetIsReply().GetValue())
	}
}

func ipVersion(wanted []flowpb.IPVersion) test {
	return func(f *flowpb.Flow) bool { return slices.Contains(wanted, f.GetIP().GetIpVersion()) }
}

func eventType(wanted []*flowpb.EventTypeFilter) test {
	return func(f *flowpb.Flow) bool {
		have := f.GetEventType()
		return slices.ContainsFunc(wanted, func(w *flowpb.EventTypeFilter) bool {
			return w.GetType() == have.GetType() && (!w.GetMatchSubType() || w.GetSubType() == have.GetSubType())
		})
	}
}

func port(wanted []string, source bool) (test, error) {
	for _, w := range wanted {
		if _, err := strconv.ParseUint(w, 10, 16); err != nil {
			return nil, err
		}
	}
	return func(f *flowpb.Flow) bool {
		src, dst, ok := portsOf(f)
		if !ok {
			return false
		}
		if source {
			dst = src
		}
		return slices.Contains(wanted, strconv.Itoa(int(dst)))
	}, nil
}

// portsOf returns false for what has no ports.
func portsOf(f *flowpb.Flow) (src, dst uint32, ok bool) {
	switch l4 := f.GetL4().GetProtocol().(type) {
	case *flowpb.Layer4_TCP:
		return l4.TCP.GetSourcePort(), l4.TCP.GetDestinationPort(), true
	case *flowpb.Layer4_UDP:
		return l4.UDP.GetSourcePort(), l4.UDP.GetDestinationPort(), true
	case *flowpb.Layer4_SCTP:
		return l4.SCTP.GetSourcePort(), l4.SCTP.GetDestinationPort(), true
	}
	return 0, 0, false
}
