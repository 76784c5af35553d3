package bench

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// figure is a line of the table.
type figure struct {
	row, what, value, target, note string
}

func (b *bench) add(row, what string, v interval, target, note string) {
	b.figures = append(b.figures, figure{row, what, fmt.Sprintf("%.2f (%.2f–%.2f)", v.value, v.low, v.high), target, note})
}

func (b *bench) addOne(row, what string, v float64, target, note string) {
	b.figures = append(b.figures, figure{row, what, fmt.Sprintf("%.1f", v), target, note})
}

// table is what was measured, in Markdown.
func (b *bench) table() string {
	var out strings.Builder
	out.WriteString("| what | measured (95 % of resamplings) | target | beside it |\n|---|---|---|---|\n")
	for _, f := range b.figures {
		fmt.Fprintf(&out, "| %s | %s | %s | %s |\n", f.what, f.value, f.target, f.note)
	}
	if off := b.invalid(); off != "" {
		out.WriteString("\n" + off + "\n")
	}
	return out.String()
}

// control is a ratio of something beside itself (A/A), and how far from 1 it may be.
type control struct {
	what    string
	ratio   interval
	percent float64
}

// invalid says why the figures prove nothing; "" if they may.
func (b *bench) invalid() string {
	var off []string
	for _, c := range b.controls {
		if d := 100 * math.Abs(c.ratio.value-1); d > c.percent+1e-9 {
			off = append(off, fmt.Sprintf("%s differs by %.0f %%, and %.0f %% is the most that it may", c.what, d, c.percent))
		}
	}
	if len(b.controls) == 0 {
		off = append(off, "nothing was measured beside itself")
	}
	if len(off) == 0 {
		return ""
	}
	return "**The run is not valid**: " + strings.Join(off, "; ") + "."
}

const page = "../../docs/performance.md"

// write puts the table into its place in the documentation, with the machine and the date.
func write(t *testing.T, place, table string) {
	t.Helper()
	begin, end := "<!-- "+place+" -->\n", "<!-- end of "+place+" -->\n"
	data, err := os.ReadFile(page)
	must(t, err)
	before, rest, ok := strings.Cut(string(data), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no %q … %q", page, begin, end)
	}
	kernel, err := exec.Command("uname", "-r").Output()
	must(t, err)
	info, err := os.ReadFile("/proc/cpuinfo")
	must(t, err)
	model := "unknown processor"
	if m := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindSubmatch(info); m != nil {
		model = string(m[1])
	}
	text := fmt.Sprintf("\n%s, on %d processors (%s), Linux %s:\n\n%s\n", time.Now().Format("2006-01-02"), runtime.NumCPU(), model, strings.TrimSpace(string(kernel)), table)
	must(t, os.WriteFile(page, []byte(before+begin+text+end+after), 0o644)) //nolint:gosec // documentation
}
