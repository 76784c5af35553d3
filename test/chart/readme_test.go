package chart

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// What is between these lines of the chart's README is made from values.yaml.
const (
	valuesBegin = "<!-- values: made from values.yaml by go test ./test/chart -update -->\n"
	valuesEnd   = "<!-- end of values -->\n"
)

// TestReadme holds that the chart's README has each value with its default and its comment; -update writes it.
func TestReadme(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(chartDir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(chartDir, "README.md")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), valuesBegin)
	_, after, found := strings.Cut(rest, valuesEnd)
	if !ok || !found {
		t.Fatalf("%s has no lines %q and %q", file, valuesBegin, valuesEnd)
	}
	want := before + valuesBegin + valuesTable(t, data) + valuesEnd + after
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		text = []byte(want)
	}
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("%s is not what values.yaml says; run \"make golden\" (-want +got):\n%s", file, diff)
	}
}

func TestValuesTable(t *testing.T) {
	got := valuesTable(t, []byte(`
# What the whole file is.

# One a|b.
one: 1
part:
  # Lines
  # of a comment.
  two: ""
  # Of both.
  three: {}
  four: [x]
`))
	want := "| value | default | what it is |\n|---|---|---|\n" +
		"| `one` | `1` | One a\\|b. |\n" +
		"| `part.two` | `\"\"` | Lines of a comment. |\n" +
		"| `part.three` | `{}` | Of both. |\n" +
		"| `part.four` | `[\"x\"]` | Of both. |\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// valuesTable is a row for each value that is no part of another.
func valuesTable(t *testing.T, data []byte) string {
	t.Helper()
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	out := bytes.NewBufferString("| value | default | what it is |\n|---|---|---|\n")
	valueRows(t, out, "", document.Content[0])
	return out.String()
}

func valueRows(t *testing.T, out *bytes.Buffer, prefix string, mapping *yaml.Node) {
	t.Helper()
	comment := ""
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], mapping.Content[i+1]
		if text := commentOf(key); text != "" {
			comment = text // without one, a key belongs to that of the key above
		}
		name := prefix + key.Value
		if value.Kind == yaml.MappingNode && len(value.Content) > 0 && value.Style != yaml.FlowStyle && !isOne(name) {
			valueRows(t, out, name+".", value)
			continue
		}
		var plain any
		if err := value.Decode(&plain); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(plain)
		if err != nil {
			t.Fatal(err)
		}
		cells := []string{"`" + name + "`", "`" + string(text) + "`", comment}
		for i, cell := range cells {
			cells[i] = strings.ReplaceAll(cell, "|", `\|`)
		}
		out.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
}

// isOne is true for values that are given to Kubernetes as they are, and read as one.
func isOne(name string) bool {
	return strings.HasSuffix(name, ".resources") || strings.HasSuffix(name, ".updateStrategy")
}

// commentOf is the comment right above a key, in one line.
func commentOf(key *yaml.Node) string {
	blocks := strings.Split(key.HeadComment, "\n\n")
	var words []string
	for line := range strings.Lines(blocks[len(blocks)-1]) {
		words = append(words, strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "#")))
	}
	return strings.Join(words, " ")
}
