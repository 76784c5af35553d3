package main

import (
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
