package conformance

import (
	"cmp"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/tools/txtar"

	ciliumv2 "github.com/septum-dev/septum/api/cilium/v2"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/policy/ingest"
)

//go:embed cases/*.txtar
var cases embed.FS

// Case is one file of the table.
type Case struct {
	Name string
	// Semantics are the numbers of the lines that the case shows.
	Semantics []int
	// About says in words what it shows.
	About string
	// Policies are as they stand in the file.
	Policies string
	Snapshot policy.Snapshot
	// Problems are those of ingest and of the compile; WantProblems are "Reason path" or "warning Reason path", sorted.
	Problems     []policy.Problem
	WantProblems []string
	Compiled     *policy.Compiled
	// Learnt are addresses that the DNS gave pods for names.
	Learnt   []Learnt
	Requests []Check
	// After is what holds once the policies have changed; nil where they do not.
	After *Change
	// Refused are objects that the API server must refuse.
	Refused []Refused
	// Status are the steps of an operator that hears of its nodes.
	Status []StatusStep
}

// Check is one request and what must come of it.
type Check struct {
	// Line is the request as it is written in the file.
	Line string
	// Node is the node that judges.
	Node    string
	Request policy.Request
	Want    policy.Verdict
	// Rule is the path of the rule that must have decided, if HasRule; "" for none.
	Rule    string
	HasRule bool
	// Headers are what the server must get of headers that the policies may change: the
	// values by name, none for a header that must not be there.
	Headers map[string][]string
	// Reply is what becomes of the server's answer to the first packet; HasReply if it is asked.
	Reply    policy.Verdict
	HasReply bool
	// As is how an HTTP request is sent, if not plainly: see doc.go.
	As string
	// Status is that of the server's response; 0 is 200.
	Status int
	// Cut is true for a connection of before the change that must end; Want is Denied then.
	Cut bool
}

// Node returns what a node must enforce in this case.
func (c Case) Node(name string) policy.NodePolicy {
	np := c.Compiled.Node(name)
	if len(c.Learnt) == 0 {
		return np
	}
	return policy.WithLearnt(np, learntBy(np, c.Learnt))
}

// Cases returns the whole table, by name.
func Cases() ([]Case, error) {
	dir, err := fs.Sub(cases, "cases")
	if err != nil {
		return nil, fmt.Errorf("open the cases: %w", err)
	}
	return load(dir)
}

// Load returns the cases in a directory, by name.
func Load(dir string) ([]Case, error) { return load(os.DirFS(dir)) }

func load(dir fs.FS) ([]Case, error) {
	names, err := fs.Glob(dir, "*.txtar")
	if err != nil {
		return nil, fmt.Errorf("list cases: %w", err)
	}
	var out []Case
	for _, name := range names {
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, fmt.Errorf("read case: %w", err)
		}
		c, err := Parse(strings.TrimSuffix(name, ".txtar"), text)
		if err != nil {
			return nil, fmt.Errorf("case %s: %w", name, err)
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Case) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// Parse reads one case.
func Parse(name string, text []byte) (Case, error) {
	archive := txtar.Parse(text)
	files := map[string]string{}
	for _, f := range archive.Files {
		files[f.Name] = string(f.Data)
	}
	for f := range files {
		if !slices.Contains([]string{"policies.yaml", "cluster", "requests", "problems", "policies after", "requests after", "refused.yaml", "refusals", "status"}, f) {
			return Case{}, fmt.Errorf("unknown part %q", f)
		}
	}
	c := Case{Name: name, Policies: files["policies.yaml"]}
	if err := c.header(string(archive.Comment)); err != nil {
		return Case{}, err
	}
	cl, err := parseCluster(files["cluster"])
	if err != nil {
		return Case{}, err
	}
	objects, err := parsePolicies(files["policies.yaml"])
	if err != nil {
		return Case{}, err
	}
	for _, o := range objects {
		if o.GetKind() == ciliumv2.KindCiliumCIDRGroup {
			cl.objects.CIDRGroups = append(cl.objects.CIDRGroups, o)
			continue
		}
		cl.objects.Policies = append(cl.objects.Policies, o)
	}
	cl.objects.Time = time.Unix(1<<30, 0) // the certificates of the cases hold for longer than anybody's life
	c.Snapshot, c.Problems = ingest.Snapshot(cl.objects)
	c.Compiled, c.Learnt = policy.Compile(c.Snapshot), cl.told
	c.Problems = append(c.Problems, c.Compiled.Problems()...)
	c.WantProblems = lines(files["problems"])
	slices.Sort(c.WantProblems)
	for _, line := range lines(files["requests"]) {
		check, err := cl.check(line)
		if err != nil {
			return Case{}, fmt.Errorf("request %q: %w", line, err)
		}
		c.Requests = append(c.Requests, check)
	}
	if err := c.more(cl, files); err != nil {
		return Case{}, err
	}
	if len(c.Requests) == 0 && len(c.Refused) == 0 && len(c.Status) == 0 {
		return Case{}, fmt.Errorf("no requests")
	}
	return c, nil
}

// header reads "SEMANTICS 1 5" and the words behind it.
func (c *Case) header(comment string) error {
	first, about, _ := strings.Cut(comment, "\n")
	words := strings.Fields(first)
	if len(words) < 2 || words[0] != "SEMANTICS" {
		return fmt.Errorf("the first line is not SEMANTICS and numbers: %q", first)
	}
	for _, w := range words[1:] {
		n, err := strconv.Atoi(w)
		if err != nil {
			return fmt.Errorf("read the first line: %w", err)
		}
		c.Semantics = append(c.Semantics, n)
	}
	c.About = strings.TrimSpace(about)
	return nil
}

// lines returns the lines of a part without comments and blank ones.
func lines(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}
