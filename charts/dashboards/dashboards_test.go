package dashboards

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestPanels(t *testing.T) {
	uids := map[string]bool{}
	for _, d := range All() {
		if uids[d.UID] || d.UID == "" || len(d.UID) > 40 {
			t.Errorf("%q is no unique id", d.UID)
		}
		uids[d.UID] = true
		if d.Title == "" || d.Description == "" || d.Templating.List[0].Type != "datasource" || d.Templating.List[0].Name != "datasource" {
			t.Errorf("%s has no title, description or data source", d.UID)
		}
		ids, places := map[int]bool{}, map[[2]int]string{}
		titles := map[string]bool{}
		row := ""
		for _, p := range d.Panels {
			name := d.UID + ": " + row + ": " + p.Title
			if ids[p.ID] || p.ID == 0 {
				t.Errorf("%s: the id %d is not unique", name, p.ID)
			}
			ids[p.ID] = true
			if p.Type == "row" {
				row = p.Title
				continue
			}
			if p.Title == "" || titles[name] {
				t.Errorf("%s: the title is not unique in its row", name)
			}
			titles[name] = true
			checkPanel(t, name, p)
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
					if on := places[[2]int{x, y}]; on != "" || x >= 24 {
						t.Fatalf("%s lies on %q or outside, at %d, %d", name, on, x, y)
					}
					places[[2]int{x, y}] = name
				}
			}
		}
	}
}

func checkPanel(t *testing.T, name string, p Panel) {
	t.Helper()
	if p.FieldConfig == nil || p.FieldConfig.Defaults.Unit == "" {
		t.Errorf("%s has no unit", name)
	}
	if p.Datasource == nil || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
		t.Errorf("%s does not ask the data source that is chosen", name)
	}
	refs := map[string]bool{}
	for _, q := range p.Targets {
		if q.Datasource == nil || q.Datasource.UID != "${datasource}" {
			t.Errorf("%s: %s has a data source of its own", name, q.RefID)
		}
		if refs[q.RefID] || q.Instant == q.Range {
			t.Errorf("%s: %s is there twice, or neither instant nor a range", name, q.RefID)
		}
		refs[q.RefID] = true
		if q.LegendFormat == "" && p.Type != "table" {
			t.Errorf("%s: %s has no legend", name, q.RefID)
		}
		for _, label := range regexp.MustCompile(`\{\{(\w+)\}\}`).FindAllStringSubmatch(q.LegendFormat, -1) {
			if strings.Contains(q.Expr, " by ") && !strings.Contains(q.Expr, label[1]) {
				t.Errorf("%s: the legend's %s is not in the answer", name, label[1])
			}
		}
		if fixed := regexp.MustCompile(`(namespace|workload|pod|instance|node|job|cluster)(=|=~|!=|!~)"[^$"]`).FindString(q.Expr); fixed != "" {
			t.Errorf("%s: %s is fixed in %s", name, fixed, q.Expr)
		}
		if fixed := regexp.MustCompile(`\[\d`).FindString(q.Expr); fixed != "" {
			t.Errorf("%s: the range of %s is fixed", name, q.Expr)
		}
	}
}

// What queries and rules name is what docs/metrics.md lists, with the labels that it has.
func TestMetricsAreThere(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]string{"process_resident_memory_bytes": "instance"}
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\| ([^|]*)\\|").FindAllStringSubmatch(string(page), -1) {
		m[3] = strings.ReplaceAll(m[3], "both ends", "destination_namespace, destination_pod, destination_workload, source_namespace, source_pod, source_workload")
		known[m[1]] = m[3]
		if m[2] == "histogram" {
			for _, suffix := range []string{"_bucket", "_count", "_sum"} {
				known[m[1]+suffix] = m[3] + ", le"
			}
		}
	}
	exprs := map[string]string{}
	for _, d := range All() {
		for _, p := range d.Panels {
			for _, q := range p.Targets {
				exprs[q.Expr] = d.UID + ": " + p.Title
			}
		}
	}
	for _, g := range Groups() {
		for _, r := range g.Rules {
			exprs[r.Expr] = r.Alert
		}
	}
	named := regexp.MustCompile(`\b((?:septum|hubble|process)_\w+)(?:\{([^}]*)\})?`)
	for expr, where := range exprs {
		for _, m := range named.FindAllStringSubmatch(expr, -1) {
			labels, ok := known[m[1]]
			if !ok {
				t.Errorf("%s: there is no metric %s", where, m[1])
			}
			for _, l := range regexp.MustCompile(`(\w+)[=!]`).FindAllStringSubmatch(m[2], -1) {
				if !regexp.MustCompile(`\b` + l[1] + `\b`).MatchString(labels) {
					t.Errorf("%s: %s has no label %s, but %s", where, m[1], l[1], labels)
				}
			}
		}
	}
}
