package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	"github.com/spf13/pflag"
)

// flowFilters are the filters of a command line, in its order.
type flowFilters struct {
	white, black []flowCondition
	// not is true behind "--not".
	not bool
}

// flowCondition is one filter's value.
type flowCondition struct {
	name, value string
}

func newFlowFilters() *flowFilters { return &flowFilters{} }

// endFilters are about one end of a flow, or with "from-" and "to-" about a certain one.
func endFilters() map[string]string {
	return map[string]string{
		"namespace": "namespace", "pod": "pod, by the beginning of its name, [namespace/]name", "workload": "workload, such as a Deployment, by its name",
		"label": `labels, such as "app=shop"`, "ip": "address or CIDR", "port": "port",
		"fqdn": `DNS name, which may have "*"`, "service": "service, by the beginning of its name, [namespace/]name",
	}
}

// flowFilterUsage are the filters that are about the flow.
func flowFilterUsage() map[string]string {
	return map[string]string{
		"verdict":     "only flows with this verdict: FORWARDED, DROPPED, AUDIT or REDIRECTED",
		"protocol":    "only flows of this protocol: tcp, udp, sctp, icmp, http, dns or kafka",
		"type":        "only flows of this type: l7, policy-verdict or drop",
		"http-status": `only flows with this HTTP status, or one that begins so: "404", "5+"`,
		"http-method": "only flows with this HTTP method", "http-path": "only flows with an HTTP path that this expression finds",
		"http-url": "only flows with a URL that this expression finds", "trace-id": "only flows of this trace",
		"node-name": `only flows that this node judged; the name may have "*"`, "traffic-direction": "only flows that the policy of this direction judged: ingress or egress",
	}
}

// flags adds a flag for each filter, but -n, which is there already.
func (f *flowFilters) flags(set *pflag.FlagSet) {
	for name, about := range endFilters() {
		if name != "namespace" {
			set.VarP(flowFlag{f, name}, name, map[string]string{"label": "l"}[name], "only flows whose source or destination has this "+about)
		}
		set.Var(flowFlag{f, "from-" + name}, "from-"+name, "only flows from this "+about)
		set.Var(flowFlag{f, "to-" + name}, "to-"+name, "only flows to this "+about)
	}
	for name, usage := range flowFilterUsage() {
		set.Var(flowFlag{f, name}, name, usage)
	}
	set.Var(flowFlag{f, "not"}, "not", "leave out what the next filter selects")
	set.Lookup("not").NoOptDefVal = "true"
}

// flowFlag is the flag of one filter.
type flowFlag struct {
	filters *flowFilters
	name    string
}

func (f flowFlag) String() string { return "" }

func (f flowFlag) Type() string {
	if f.name == "not" {
		return "bool"
	}
	return "string"
}

func (f flowFlag) Set(value string) error { return f.filters.set(f.name, value) }

func (f *flowFilters) set(name, value string) error {
	if name == "not" {
		f.not = true
		return nil
	}
	// What is wrong is said where it is given.
	if err := (flowCondition{name, value}).apply(&flowpb.FlowFilter{}, &flowpb.FlowFilter{}, ""); err != nil {
		return err
	}
	if f.not {
		f.black, f.not = append(f.black, flowCondition{name, value}), false
	} else {
		f.white = append(f.white, flowCondition{name, value})
	}
	return nil
}

// lists are the filters as a server takes them. Names of pods are in the namespace; it is a
// filter of its own if it was asked for, and no pod was.
func (f *flowFilters) lists(namespace string, only bool) (white, black []*flowpb.FlowFilter, err error) {
	if f.not {
		return nil, nil, fmt.Errorf("--not stands at the end: it is about the filter behind it")
	}
	conditions := f.white
	if only && !slices.ContainsFunc(conditions, func(c flowCondition) bool {
		return strings.HasSuffix(c.name, "pod") || strings.HasSuffix(c.name, "service")
	}) {
		conditions = append(slices.Clone(conditions), flowCondition{"namespace", namespace})
	}
	if white, err = filtersOf(conditions, namespace); err != nil {
		return nil, nil, err
	}
	// Each of those that are not wanted is left out by itself.
	for _, c := range f.black {
		list, err := filtersOf([]flowCondition{c}, namespace)
		if err != nil {
			return nil, nil, err
		}
		black = append(black, list...)
	}
	return white, black, nil
}

// filtersOf returns two alternatives where a condition is about either end.
func filtersOf(conditions []flowCondition, namespace string) ([]*flowpb.FlowFilter, error) {
	if len(conditions) == 0 {
		return nil, nil
	}
	left, right := &flowpb.FlowFilter{}, &flowpb.FlowFilter{}
	either := false
	for _, c := range conditions {
		if err := c.apply(left, right, namespace); err != nil {
			return nil, err
		}
		if _, ok := endFilters()[c.name]; ok {
			either = true
		}
	}
	if !either {
		return []*flowpb.FlowFilter{left}, nil
	}
	return []*flowpb.FlowFilter{left, right}, nil
}

// apply adds the condition to the alternative of the source and to that of the destination.
func (c flowCondition) apply(left, right *flowpb.FlowFilter, namespace string) error {
	name, from := strings.CutPrefix(c.name, "from-")
	name, to := strings.CutPrefix(name, "to-")
	if _, ok := endFilters()[name]; !ok {
		for _, ff := range []*flowpb.FlowFilter{left, right} {
			if err := c.whole(ff); err != nil {
				return err
			}
		}
		return nil
	}
	if name == "port" && !isPort(c.value) {
		return fmt.Errorf("%q is no port", c.value)
	}
	one := flowCondition{name, c.value}
	one.end(left, !to, namespace)
	one.end(right, from, namespace)
	return nil
}

// end adds a condition on the source, or else on the destination.
func (c flowCondition) end(ff *flowpb.FlowFilter, source bool, namespace string) {
	pick := func(src, dst *[]string, value string) {
		if source {
			dst = src
		}
		*dst = append(*dst, value)
	}
	name := c.value
	if !strings.Contains(name, "/") {
		name = namespace + "/" + name
	}
	switch c.name {
	case "namespace":
		pick(&ff.SourcePod, &ff.DestinationPod, c.value+"/")
	case "pod":
		pick(&ff.SourcePod, &ff.DestinationPod, name)
	case "service":
		pick(&ff.SourceService, &ff.DestinationService, name)
	case "label":
		pick(&ff.SourceLabel, &ff.DestinationLabel, c.value)
	case "ip":
		pick(&ff.SourceIp, &ff.DestinationIp, c.value)
	case "port":
		pick(&ff.SourcePort, &ff.DestinationPort, c.value)
	case "fqdn":
		pick(&ff.SourceFqdn, &ff.DestinationFqdn, c.value)
	case "workload":
		w := &flowpb.Workload{Name: c.value}
		if source {
			ff.SourceWorkload = append(ff.SourceWorkload, w)
		} else {
			ff.DestinationWorkload = append(ff.DestinationWorkload, w)
		}
	}
}

// whole adds a condition on the flow.
func (c flowCondition) whole(ff *flowpb.FlowFilter) error {
	switch c.name {
	case "verdict":
		n, ok := flowpb.Verdict_value[strings.ToUpper(c.value)]
		if !ok || n == 0 {
			return fmt.Errorf("there is no verdict %q", c.value)
		}
		ff.Verdict = append(ff.Verdict, flowpb.Verdict(n))
	case "protocol":
		ff.Protocol = append(ff.Protocol, c.value)
	case "type":
		n, ok := map[string]int32{"l7": 129, "policy-verdict": 5, "drop": 1}[c.value]
		if !ok {
			return fmt.Errorf("there is no type %q: it is l7, policy-verdict or drop", c.value)
		}
		ff.EventType = append(ff.EventType, &flowpb.EventTypeFilter{Type: n})
	case "http-status":
		digits := strings.TrimSuffix(c.value, "+")
		if n, err := strconv.Atoi(digits); err != nil || n < 1 || n > 599 {
			return fmt.Errorf(`%q is no status: use one such as "404" or the beginning of one, such as "5+"`, c.value)
		}
		ff.HttpStatusCode = append(ff.HttpStatusCode, c.value)
	case "http-method":
		ff.HttpMethod = append(ff.HttpMethod, c.value)
	case "http-path", "http-url":
		if _, err := regexp.Compile(c.value); err != nil {
			return err
		}
		if c.name == "http-path" {
			ff.HttpPath = append(ff.HttpPath, c.value)
		} else {
			ff.HttpUrl = append(ff.HttpUrl, c.value)
		}
	case "trace-id":
		ff.TraceId = append(ff.TraceId, c.value)
	case "node-name":
		ff.NodeName = append(ff.NodeName, c.value)
	case "traffic-direction":
		n, ok := flowpb.TrafficDirection_value[strings.ToUpper(c.value)]
		if !ok || n == 0 {
			return fmt.Errorf("there is no direction %q: it is ingress or egress", c.value)
		}
		ff.TrafficDirection = append(ff.TrafficDirection, flowpb.TrafficDirection(n))
	}
	return nil
}
