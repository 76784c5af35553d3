package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/septum-dev/septum/relay/text"
)

// completeFlows lets shells complete the values of flags that have only few.
func completeFlows(cmd *cobra.Command) {
	for name, values := range map[string][]string{
		"output": text.Formats(), "color": {"auto", "always", "never"},
		"verdict":  {"FORWARDED", "DROPPED", "AUDIT", "REDIRECTED"},
		"protocol": {"tcp", "udp", "sctp", "icmp", "http", "dns", "kafka"}, "type": {"l7", "policy-verdict", "drop"},
		"http-method": {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}, "traffic-direction": {"ingress", "egress"},
	} {
		if err := cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err) // a flag of that name is not there: every use of the program would end here
		}
	}
}

// completePolicies completes the name of a policy, of the files or of the cluster.
func (s *source) completePolicies(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	objects, err := s.objects(cmd.Context())
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, p := range objects.Policies {
		if p.GetNamespace() == "" || p.GetNamespace() == s.namespace() {
			out = append(out, p.GetName())
		}
	}
	slices.Sort(out)
	return slices.Compact(out), cobra.ShellCompDirectiveNoFileComp
}

// completePods completes a pod or a workload of the namespace.
func (s *source) completePods(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	objects, err := s.objects(cmd.Context())
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	seen := map[string]bool{}
	var out []string
	for _, e := range newWorld(objects).snapshot.Endpoints {
		pod, ok := strings.CutPrefix(e.Key, s.namespace()+"/")
		for _, name := range []string{"pod/" + pod, "workload/" + e.Workload} {
			if ok && name != "workload/" && !seen[name] {
				seen[name], out = true, append(out, name)
			}
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
