// Command kubectl-septum is "kubectl septum": it answers what policies mean, from the cluster
// or from files, with the same code that the operator compiles them with.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// version is what the program says it is.
var version = "dev" //nolint:gochecknoglobals // the linker sets it

func main() {
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	if err := newCommand(streams).Execute(); err != nil {
		if !errors.Is(err, errDenied) && !errors.Is(err, errUnwell) { // which has been said
			fmt.Fprintln(os.Stderr, "error: "+err.Error())
		}
		os.Exit(1)
	}
}

func newCommand(streams genericiooptions.IOStreams) *cobra.Command {
	return commandFor(streams, newSource())
}

func commandFor(streams genericiooptions.IOStreams, src *source) *cobra.Command {
	root := &cobra.Command{
		Use:           "kubectl-septum",
		Short:         "Ask what Septum's and Cilium's network policies mean",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl septum"},
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	src.flags(root.PersistentFlags())
	root.AddCommand(canICommand(src), explainCommand(src), lintCommand(src), testCommand(src), statusCommand(src), flowsCommand(src), suggestCommand(src), doctorCommand(src))
	return root
}
