package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/septum-dev/septum/policy"
)

func lintCommand(src *source) *cobra.Command {
	return &cobra.Command{
		Use:   "lint",
		Short: "Name what is wrong or has no effect in policies of both APIs, before they are applied or in the cluster",
		Long: `Name what is wrong or has no effect in policies of both APIs, as their conditions would.

With -f nothing is asked of a cluster: what a policy refers to (services, groups, secrets) may be there and not in the files,
and is then named as a warning. The exit status is 1 if a policy has an error.`,
		Example: "  kubectl septum lint -f policies/\n  kubectl septum lint",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			objects, err := src.objects(cmd.Context())
			if err != nil {
				return err
			}
			w := newWorld(objects)
			errs, wrong := 0, map[policy.Ref]bool{}
			for _, p := range w.problems {
				kind := "error"
				if p.Warning || p.Reason == policy.ReasonUnresolved && len(src.files) > 0 {
					kind = "warning"
				} else {
					errs++
					wrong[p.Policy] = true
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: %s %s: %s (%s)\n", kind, refName(p.Policy), p.Path, p.Message, p.Reason)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d policies, %d with errors\n", len(objects.Policies), len(wrong))
			if errs > 0 {
				return fmt.Errorf("%d errors; what they are about is closed", errs)
			}
			return nil
		},
	}
}

// problemsOf are a policy's.
func (w *world) problemsOf(ref policy.Ref) []policy.Problem {
	return slices.DeleteFunc(slices.Clone(w.problems), func(p policy.Problem) bool { return p.Policy != ref })
}
