package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/septum-dev/septum/relay/text"
)

// errUnwell makes the exit status 1; what is wrong has been said.
var errUnwell = errors.New("something is wrong") //nolint:gochecknoglobals // a constant error

// finding is something that is not as it should be.
type finding struct {
	// wrong keeps policies from being enforced; otherwise it may come to that.
	wrong bool
	// where is what it is about, what is so, and right what would be right.
	where, what, right string
}

func doctorCommand(src *source) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong with Septum in the cluster, and say what would be right",
		Long: `Look for what is wrong with Septum in the cluster, and say what would be right: kernels and what they
lack, interfaces that cannot be enforced, nodes without an enforcer or behind the others, versions that differ,
certificates that end, clocks that differ, the CNI plugin, policies that are not in force, and warnings among the events.

The nodes say what is so with them by the way that flows take. The exit status is 1 if something is wrong; what is only
worth a look ("warning") leaves it 0.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(src.files) > 0 {
				return errors.New("doctor is about a cluster: -f has no meaning")
			}
			c, err := src.client()
			if err != nil {
				return err
			}
			state, err := examine(cmd.Context(), src, c, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return printFindings(cmd.OutOrStdout(), state, diagnose(state))
		},
	}
}

// printFindings says what was found, the worst first, or that all is well.
func printFindings(out io.Writer, state clinic, found []finding) error {
	wrong, warnings := 0, 0
	for _, f := range found {
		word := "warning"
		if f.wrong {
			word = "wrong"
			wrong++
		} else {
			warnings++
		}
		fmt.Fprintf(out, "%s: %s: %s\n", word, text.Clean(f.where), text.Clean(f.what))
		fmt.Fprintf(out, "  right: %s\n", text.Clean(f.right))
	}
	fmt.Fprintf(out, "%s and %s on %s, of which %d answered.\n", many(wrong, "fault"), many(warnings, "warning"), many(len(state.nodes), "node"), len(state.facts))
	if wrong > 0 {
		return errUnwell
	}
	return nil
}

// lasting is a while in the largest units that matter.
func lasting(d time.Duration) string {
	s := d.Round(time.Second).String()
	if d > time.Hour {
		s = strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return s
}
