package conformance

import (
	"fmt"
	"strings"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/policy/ingest"
)

// Change is a case's policies as they are after a change, and what holds then. A request
// with the ends and the port of one before goes on with its connection.
type Change struct {
	Compiled *policy.Compiled
	Requests []Check
}

// Node returns what a node must enforce after the change.
func (c Change) Node(name string) policy.NodePolicy { return c.Compiled.Node(name) }

// Refused is an object that the API server must refuse, as it stands in the file, and what
// its message must hold.
type Refused struct{ Object, Want string }

// StatusStep is a node that says which generation of all policies it has in its data path,
// or, without a node, the condition Enforced ("True", "False") that the first policy must have.
type StatusStep struct{ Node, Enforced string }

// more reads the parts that few cases have.
func (c *Case) more(cl *cluster, files map[string]string) error {
	if err := c.change(cl, files); err != nil {
		return err
	}
	if err := c.refused(files); err != nil {
		return err
	}
	for _, line := range lines(files["status"]) {
		step, ok := StatusStep{}, false
		if step.Enforced, ok = strings.CutPrefix(line, "=> Enforced="); ok {
			c.Status = append(c.Status, step)
			continue
		}
		if step.Node, ok = strings.CutSuffix(line, " has it"); !ok || cl.nodeOf["node:"+step.Node] == "" {
			return fmt.Errorf("status %q: neither `node has it` nor `=> Enforced=True`", line)
		}
		c.Status = append(c.Status, step)
	}
	return nil
}

func (c *Case) change(cl *cluster, files map[string]string) error {
	text, ok := files["policies after"]
	if !ok {
		if files["requests after"] != "" {
			return fmt.Errorf("requests after a change that is not there")
		}
		return nil
	}
	objects := cl.objects
	var err error
	if objects.Policies, err = parsePolicies(text); err != nil {
		return fmt.Errorf("after: %w", err)
	}
	snapshot, _ := ingest.Snapshot(objects)
	c.After = &Change{Compiled: policy.Compile(snapshot)}
	for _, line := range lines(files["requests after"]) {
		check, err := cl.check(line)
		if err != nil {
			return fmt.Errorf("request after %q: %w", line, err)
		}
		if _, ok := c.begun(check); check.Cut && !ok {
			return fmt.Errorf("request after %q: no connection has its ends and port", line)
		}
		c.After.Requests = append(c.After.Requests, check)
	}
	if len(c.After.Requests) == 0 {
		return fmt.Errorf("no requests after the change")
	}
	return nil
}

// begun returns the place of the request before the change whose connection a later one goes on with.
func (c *Case) begun(later Check) (int, bool) {
	for i, check := range c.Requests {
		a, b := check.Request, later.Request
		a.HTTP, b.HTTP = nil, nil
		if a == b && check.Want != policy.Denied {
			return i, true
		}
	}
	return 0, false
}

// Begun returns the request before the change whose connection a later one goes on with.
func (c *Case) Begun(later Check) (Check, bool) {
	i, ok := c.begun(later)
	if !ok {
		return Check{}, false
	}
	return c.Requests[i], true
}

func (c *Case) refused(files map[string]string) error {
	want := lines(files["refusals"])
	var objects []string
	for _, doc := range strings.Split("\n"+files["refused.yaml"], "\n---") {
		if strings.TrimSpace(doc) != "" {
			objects = append(objects, doc)
		}
	}
	if len(objects) != len(want) {
		return fmt.Errorf("%d objects to refuse, and %d refusals", len(objects), len(want))
	}
	for i := range want {
		c.Refused = append(c.Refused, Refused{Object: objects[i], Want: want[i]})
	}
	return nil
}
