package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

func canICommand(src *source) *cobra.Command {
	var headers []string
	var output string
	cmd := &cobra.Command{
		Use:   "can-i FROM METHOD URL",
		Short: "Say whether a pod may send a request, which rule decides, and why the others do not",
		Long: `Say whether a pod may send a request, which rule decides, and why the others do not.

FROM is a pod, namespace/pod, deployment/name or an address. The URL's host is a service, a pod, a workload or an
address; for TCP, UDP and SCTP the method is "connect". The exit status is 0 if the request is allowed, else 1.`,
		Example: `  kubectl septum can-i pod/frontend get http://backend/data
  kubectl septum can-i pod/frontend get http://backend/data -H "Authorization: Bearer $TOKEN"
  kubectl septum can-i demo/frontend connect tcp://db.demo:5432
  kubectl septum can-i -f policies/ demo/frontend post grpc://api.demo:9000/shop.Cart/Add`,
		Args: cobra.ExactArgs(3), ValidArgsFunction: src.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			parsed, err := parseHeaders(headers)
			if err != nil {
				return err
			}
			objects, err := src.objects(cmd.Context())
			if err != nil {
				return err
			}
			got, err := newWorld(objects).judge(question{from: args[0], method: args[1], to: args[2], namespace: src.namespace(), headers: parsed})
			if err != nil {
				return err
			}
			if err := printResult(cmd.OutOrStdout(), got, output); err != nil {
				return err
			}
			if got.Verdict == denied {
				return errDenied
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVarP(&headers, "header", "H", nil, `a header of the request, "Name: value"; may be given more than once`)
	cmd.Flags().StringVarP(&output, "output", "o", "", `"json", or text if empty`)
	return cmd
}

func parseHeaders(lines []string) (map[string][]string, error) {
	out := map[string][]string{}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return nil, fmt.Errorf(`header %q must be "Name: value"`, line)
		}
		name = strings.ToLower(strings.TrimSpace(name))
		out[name] = append(out[name], strings.TrimSpace(value))
	}
	return out, nil
}

func printResult(out io.Writer, r result, output string) error {
	switch output {
	case "json":
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		return encoder.Encode(r)
	case "":
	default:
		return fmt.Errorf(`output %q must be "json" or empty`, output)
	}
	fmt.Fprintln(out, r.Verdict)
	for _, w := range r.Ways {
		fmt.Fprintf(out, "%s: %s → %s\n", w.Verdict, w.From, w.To)
		for _, s := range w.Steps {
			fmt.Fprintf(out, "  %s of %s: %s, %s\n", s.Direction, s.Pod, s.Verdict, s.Reason)
			for _, a := range s.Rules {
				switch {
				case a.Rule == s.Rule:
					fmt.Fprintf(out, "    decides:  %s\n", a.Rule)
				case a.Holds:
					fmt.Fprintf(out, "    holds:    %s\n", a.Rule)
				default:
					fmt.Fprintf(out, "    does not: %s: %s\n", a.Rule, a.Why)
				}
			}
		}
	}
	return nil
}
