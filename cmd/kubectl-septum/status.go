package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/septum-dev/septum/api/v1alpha1"
)

func statusCommand(src *source) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show every policy of the cluster: where it is in force, what it refused last, and what is wrong with it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(src.files) > 0 {
				return errors.New("status is about a cluster: -f has no meaning")
			}
			c, err := src.client()
			if err != nil {
				return err
			}
			all, err := statuses(cmd.Context(), c)
			if err != nil {
				return err
			}
			return printStatus(cmd.OutOrStdout(), all, time.Now())
		},
	}
}

func statuses(ctx context.Context, c client.Client) ([]v1alpha1.L7PolicyStatus, error) {
	list := unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: "septum.dev", Version: "v1alpha1", Kind: "L7PolicyStatusList"})
	if err := c.List(ctx, &list); meta.IsNoMatchError(err) {
		return nil, errors.New("this cluster has no L7PolicyStatus: is Septum installed?")
	} else if err != nil {
		return nil, fmt.Errorf("list L7PolicyStatus: %w", err)
	}
	out := make([]v1alpha1.L7PolicyStatus, len(list.Items))
	for i := range list.Items {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[i].Object, &out[i]); err != nil {
			return nil, fmt.Errorf("read L7PolicyStatus %q: %w", list.Items[i].GetName(), err)
		}
	}
	return out, nil
}

func printStatus(out io.Writer, all []v1alpha1.L7PolicyStatus, now time.Time) error {
	if len(all) == 0 {
		fmt.Fprintln(out, "There are no policies.")
		return nil
	}
	slices.SortFunc(all, func(a, b v1alpha1.L7PolicyStatus) int { return strings.Compare(nameOf(a), nameOf(b)) })
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "POLICY\tMODE\tPODS\tENFORCING\tALLOWED\tDENIED\tAUDITED\tLAST DENIAL")
	for _, s := range all {
		last := "<none>"
		if d := s.Status.LastDenial; d != nil {
			last = duration.HumanDuration(now.Sub(d.Time.Time)) + " ago"
			if d.Summary != "" {
				last += ": " + d.Summary
			}
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%d\t%d\t%d\t%s\n", nameOf(s), s.Status.Mode, s.Status.SelectedPods, s.Status.Enforcing,
			s.Status.Allowed, s.Status.Denied, s.Status.Audited, last)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, s := range all {
		for _, c := range s.Status.Conditions {
			// Degraded and Conflicted are bad when true, the others when not.
			if bad := c.Type == v1alpha1.ConditionDegraded || c.Type == v1alpha1.ConditionConflicted; bad == (c.Status == "True") {
				fmt.Fprintf(out, "\n%s: %s=%s, %s: %s\n", nameOf(s), c.Type, c.Status, c.Reason, c.Message)
			}
		}
		for _, p := range s.Status.Problems {
			fmt.Fprintf(out, "  %s: %s\n", p.Path, p.Message)
		}
	}
	return nil
}

func nameOf(s v1alpha1.L7PolicyStatus) string {
	ref := s.PolicyRef
	if ref.Namespace == "" {
		return ref.Kind + "/" + ref.Name
	}
	return ref.Namespace + "/" + ref.Kind + "/" + ref.Name
}
