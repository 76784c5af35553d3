package flow

import (
	"strings"
	"testing"

	flowpb "github.com/cilium/cilium/api/v1/flow"

	"github.com/septum-dev/septum/policy"
)

// TestFilters asks of these flows: 0 and 1 a request and its answer, 2 and 3 a refused
// request's verdict and the request, 4 and 5 a connection from the world that is denied.
func TestFilters(t *testing.T) {
	r := recorder(t, Config{})
	r.Add(request(policy.Forwarded, "GET", "/data", 200), nil)
	r.Add(request(policy.Denied, "POST", "/other", 403), []policy.Ref{allow})
	r.Add(packet(policy.Denied, "policy", "203.0.113.9:5555"), []policy.Ref{allow})
	flows := r.all()
	for name, c := range map[string]struct {
		filter *flowpb.FlowFilter
		want   string
	}{
		"nothing":                {&flowpb.FlowFilter{}, "012345"},
		"source address":         {&flowpb.FlowFilter{SourceIp: []string{"10.0.0.1"}}, "023"},
		"source CIDR":            {&flowpb.FlowFilter{SourceIp: []string{"203.0.113.0/24"}}, "45"},
		"destination address":    {&flowpb.FlowFilter{DestinationIp: []string{"10.0.0.1"}}, "1"},
		"namespace":              {&flowpb.FlowFilter{SourcePod: []string{"demo/"}}, "0123"},
		"pod's beginning":        {&flowpb.FlowFilter{SourcePod: []string{"demo/front"}}, "023"},
		"pod of any namespace":   {&flowpb.FlowFilter{DestinationPod: []string{"/backend"}}, "02345"},
		"pod of default":         {&flowpb.FlowFilter{DestinationPod: []string{"backend"}}, ""},
		"label":                  {&flowpb.FlowFilter{SourceLabel: []string{"app=frontend"}}, "023"},
		"label with source":      {&flowpb.FlowFilter{SourceLabel: []string{"k8s:app=frontend"}}, "023"},
		"label is another":       {&flowpb.FlowFilter{SourceLabel: []string{"app!=frontend"}}, "145"},
		"label exists":           {&flowpb.FlowFilter{SourceLabel: []string{"app"}}, "0123"},
		"label is not there":     {&flowpb.FlowFilter{SourceLabel: []string{"!app"}}, "45"},
		"reserved label":         {&flowpb.FlowFilter{SourceLabel: []string{"reserved:world"}}, "45"},
		"two labels":             {&flowpb.FlowFilter{SourceLabel: []string{"app=frontend,nothing"}}, ""},
		"workload":               {&flowpb.FlowFilter{DestinationWorkload: []*flowpb.Workload{{Name: "backend"}}}, "02345"},
		"identity":               {&flowpb.FlowFilter{SourceIdentity: []uint32{2}}, "45"},
		"destination identity":   {&flowpb.FlowFilter{DestinationIdentity: []uint32{300}}, "1"},
		"cluster":                {&flowpb.FlowFilter{SourceClusterName: []string{"one"}}, "0123"},
		"source port":            {&flowpb.FlowFilter{SourcePort: []string{"5555"}}, "45"},
		"destination port":       {&flowpb.FlowFilter{DestinationPort: []string{"80"}}, "02345"},
		"direction":              {&flowpb.FlowFilter{TrafficDirection: []flowpb.TrafficDirection{flowpb.TrafficDirection_EGRESS}}, ""},
		"verdict":                {&flowpb.FlowFilter{Verdict: []flowpb.Verdict{flowpb.Verdict_DROPPED}}, "2345"},
		"drop reason":            {&flowpb.FlowFilter{DropReasonDesc: []flowpb.DropReason{flowpb.DropReason_POLICY_DENIED}}, "2345"},
		"reply":                  {&flowpb.FlowFilter{Reply: []bool{true}}, "1"},
		"IP version":             {&flowpb.FlowFilter{IpVersion: []flowpb.IPVersion{flowpb.IPVersion_IPv6}}, ""},
		"type L7":                {&flowpb.FlowFilter{EventType: []*flowpb.EventTypeFilter{{Type: typeL7}}}, "013"},
		"type verdict or drop":   {&flowpb.FlowFilter{EventType: []*flowpb.EventTypeFilter{{Type: typeVerdict}, {Type: typeDrop}}}, "245"},
		"type and sub-type":      {&flowpb.FlowFilter{EventType: []*flowpb.EventTypeFilter{{Type: typeDrop, MatchSubType: true, SubType: 132}}}, ""},
		"node":                   {&flowpb.FlowFilter{NodeName: []string{"one/no*1"}}, "012345"},
		"another node":           {&flowpb.FlowFilter{NodeName: []string{"node"}}, ""},
		"HTTP":                   {&flowpb.FlowFilter{Protocol: []string{"http"}}, "013"},
		"TCP":                    {&flowpb.FlowFilter{Protocol: []string{"TCP"}}, "012345"},
		"Kafka":                  {&flowpb.FlowFilter{Protocol: []string{"kafka"}}, ""},
		"status":                 {&flowpb.FlowFilter{HttpStatusCode: []string{"200"}}, "1"},
		"status's beginning":     {&flowpb.FlowFilter{HttpStatusCode: []string{"4+"}}, "3"},
		"method":                 {&flowpb.FlowFilter{HttpMethod: []string{"get"}}, "01"},
		"path":                   {&flowpb.FlowFilter{HttpPath: []string{"^/da"}}, "01"},
		"URL":                    {&flowpb.FlowFilter{HttpUrl: []string{"backend-app/o"}}, "3"},
		"two fields, both":       {&flowpb.FlowFilter{HttpMethod: []string{"GET"}, Reply: []bool{true}}, "1"},
		"two values, either one": {&flowpb.FlowFilter{HttpMethod: []string{"GET", "POST"}}, "013"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, list := range []struct {
				white, black []*flowpb.FlowFilter
				without      string
			}{{white: []*flowpb.FlowFilter{c.filter}}, {black: []*flowpb.FlowFilter{c.filter}, without: "012345"}} {
				s, err := newSelection(list.white, list.black)
				if err != nil {
					t.Fatal(err)
				}
				got := ""
				for i, f := range flows {
					if s.has(f) {
						got += string(rune('0' + i))
					}
				}
				want := c.want
				if list.without != "" {
					want = strings.Map(func(r rune) rune {
						if strings.ContainsRune(c.want, r) {
							return -1
						}
						return r
					}, list.without)
				}
				if got != want {
					t.Errorf("it has flows %q and should have %q", got, want)
				}
			}
		})
	}
}

func TestFiltersThatAreRefused(t *testing.T) {
	many := make([]*flowpb.FlowFilter, maxFilters+1)
	for i := range many {
		many[i] = &flowpb.FlowFilter{}
	}
	for name, list := range map[string][]*flowpb.FlowFilter{
		"no address":        {{SourceIp: []string{"localhost"}}},
		"empty pod":         {{SourcePod: []string{""}}},
		"port":              {{SourcePort: []string{"http"}}},
		"expression":        {{HttpPath: []string{"("}}},
		"long expression":   {{HttpUrl: []string{strings.Repeat("a", maxPattern+1)}}},
		"protocol":          {{Protocol: []string{"gopher"}}},
		"status":            {{HttpStatusCode: []string{"20"}}},
		"status beginning":  {{HttpStatusCode: []string{"404+"}}},
		"label":             {{SourceLabel: []string{"app in (a)"}}},
		"too many values":   {{SourceIdentity: make([]uint32, maxValues+1)}},
		"too many filters":  many,
		"TCP flags":         {{TcpFlags: []*flowpb.TCPFlags{{SYN: true}}}},
		"a header":          {{HttpHeader: []*flowpb.HTTPHeader{{Key: "a", Value: "b"}}}},
		"a CEL expression":  {{Experimental: &flowpb.FlowFilter_Experimental{CelExpression: []string{"true"}}}},
		"the second filter": {{}, {Uuid: []string{"x"}}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := newSelection(list, nil); err == nil {
				t.Error("as a white list it is taken")
			}
			if _, err := newSelection(nil, list); err == nil {
				t.Error("as a black list it is taken")
			}
		})
	}
}
