package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	observerpb "github.com/cilium/cilium/api/v1/observer"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/policy/ingest"
)

// suggestOptions are the flags of "suggest".
type suggestOptions struct {
	flows, since string
	watch        time.Duration
	denied       bool
	siblings     int
}

func suggestCommand(src *source) *cobra.Command {
	o := suggestOptions{siblings: defaultSiblings}
	cmd := &cobra.Command{
		Use:   "suggest WORKLOAD",
		Short: "Suggest a least-privilege policy from the flows of a workload, as YAML to review",
		Long: `Suggest a least-privilege policy from the flows of a workload, as YAML to review.

WORKLOAD is deployment/name, pod/name or namespace/name. The flows are those that the nodes keep, or those of a file that
"kubectl septum flows -o json" or "hubble observe -o jsonpb" wrote. What was refused is not allowed, unless
--include-denied asks for that. Segments of paths that are numbers, UUIDs, dates, times, hashes and long tokens
become expressions, and so does a place where more than --siblings different texts were seen.

Only pods that a policy selects have flows of their own. To learn about one that none selects, apply a policy for it with
"mode: Audit" (native kinds) that allows nothing: it refuses nothing, and every connection is seen.`,
		Example: `  kubectl septum suggest deployment/backend -n demo > policy.yaml
  kubectl septum suggest deployment/backend -n demo --watch 10m
  kubectl septum flows --all -o json > flows.json; kubectl septum suggest demo/backend --flows flows.json -f manifests/`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: src.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			namespace, name, err := workloadOf(args[0], src.namespace())
			if err != nil {
				return err
			}
			if o.siblings < 1 {
				return errors.New("--siblings must be 1 at least")
			}
			seen := newObserved(namespace, name)
			seen.includeDenied = o.denied
			if err := o.gather(cmd.Context(), src, seen, cmd.InOrStdin(), cmd.ErrOrStderr()); err != nil {
				return err
			}
			if seen.all.count == 0 {
				return fmt.Errorf("there are no flows of %s/%s to make a policy of (%s that were refused are left out): see \"kubectl septum suggest -h\" for how to make them seen",
					namespace, name, many(seen.refused, "flow"))
			}
			s := suggestion{observed: seen, siblings: o.siblings}
			objects, err := o.objects(cmd.Context(), src)
			if err != nil {
				return err
			}
			if objects != nil {
				snapshot, _ := ingest.Snapshot(*objects)
				s.targets = targetsIn(snapshot)
			}
			text := s.yaml()
			for _, p := range problemsOf(text) {
				fmt.Fprintf(cmd.ErrOrStderr(), "this is closed in the suggestion: %s: %s\n", p.Path, p.Message)
			}
			_, err = io.WriteString(cmd.OutOrStdout(), text)
			return err
		},
	}
	set := cmd.Flags()
	set.StringVar(&o.flows, "flows", "", `a file of flows as JSON, "-" for the standard input, in place of the cluster's`)
	set.StringVar(&o.since, "since", "", `only flows since a time: "1h" ago, or "2026-05-01T12:00:00Z"`)
	set.DurationVar(&o.watch, "watch", 0, "go on for so long with the flows that come, before the policy is written")
	set.BoolVar(&o.denied, "include-denied", false, "allow what was refused, too")
	set.IntVar(&o.siblings, "siblings", defaultSiblings, "how many different texts at one place of a path are still named one by one")
	return cmd
}

// workloadOf reads "kind/name", "namespace/name" or "name".
func workloadOf(text, namespace string) (string, string, error) {
	words := strings.Split(text, "/")
	if len(words) > 1 && isKind(words[0]) {
		words = words[1:]
	}
	if len(words) == 2 {
		namespace, words = words[0], words[1:]
	}
	if len(words) != 1 || words[0] == "" || namespace == "" {
		return "", "", fmt.Errorf("%q is no workload: use deployment/name, pod/name, namespace/name or name", text)
	}
	return namespace, words[0], nil
}

// objects are those that say which ports services have; nil if there are none to ask.
func (o suggestOptions) objects(ctx context.Context, src *source) (*ingest.Objects, error) {
	if len(src.files) == 0 && (o.flows != "" || src.dial != nil) {
		return nil, nil //nolint:nilnil // a file of flows may be all that there is
	}
	objects, err := src.objects(ctx)
	if err != nil {
		return nil, err
	}
	return &objects, nil
}

// gather reads flows from the file or the cluster.
func (o suggestOptions) gather(ctx context.Context, src *source, seen *observed, in io.Reader, errOut io.Writer) error {
	since, err := moment("since", o.since, time.Now())
	if err != nil {
		return err
	}
	take := gatherInto(seen)
	each := func(res *observerpb.GetFlowsResponse) error {
		if lost := res.GetLostEvents(); lost != nil {
			fmt.Fprintf(errOut, "%d flows were lost: what they were about may be missing\n", lost.GetNumEventsLost())
		}
		if since != nil && res.GetFlow().GetTime().AsTime().Before(since.AsTime()) {
			return nil
		}
		return take(res)
	}
	if o.flows != "" {
		if o.watch != 0 {
			return errors.New("--watch is about a cluster, and --flows about a file")
		}
		if o.flows != "-" {
			file, err := os.Open(o.flows)
			if err != nil {
				return fmt.Errorf("read flows: %w", err)
			}
			defer file.Close()
			in = file
		}
		return readFlowFile(in, each)
	}
	req := &observerpb.GetFlowsRequest{Number: math.MaxUint64, Since: since, Follow: o.watch > 0}
	if since != nil {
		req.Number = 0
	}
	// The ends' workloads are not in one filter: pods of the namespace are asked for.
	pods := []string{seen.namespace + "/"}
	req.Whitelist = []*flowpb.FlowFilter{{SourcePod: pods}, {DestinationPod: pods}}
	if o.watch > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, o.watch)
		defer stop()
	}
	return src.readFlows(ctx, req, errOut, each)
}

// problemsOf is what the operator would say of the policy.
func problemsOf(text string) []policy.Problem {
	var u unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		return []policy.Problem{{Path: "the whole", Message: err.Error()}}
	}
	objects := ingest.Objects{Policies: []unstructured.Unstructured{u}}
	complete(&objects)
	return slices.DeleteFunc(newWorld(objects).problems, func(p policy.Problem) bool {
		return strings.Contains(p.Path, "k8sService") // the service is not here to be found
	})
}

// gatherInto takes the flows among responses.
func gatherInto(seen *observed) func(*observerpb.GetFlowsResponse) error {
	return func(res *observerpb.GetFlowsResponse) error {
		if f := res.GetFlow(); f != nil {
			seen.add(f)
		}
		return nil
	}
}

// readFlowFile reads responses, one after the other, as the Hubble CLI writes and reads them.
func readFlowFile(in io.Reader, each func(*observerpb.GetFlowsResponse) error) error {
	decoder := json.NewDecoder(in)
	for n := 1; ; n++ {
		var res observerpb.GetFlowsResponse
		err := decoder.Decode(&res)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("flow %d of the file is none: %w", n, err)
		}
		if err := each(&res); err != nil {
			return err
		}
	}
}
