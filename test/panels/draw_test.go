package panels

import (
	"flag"
	"fmt"
	"html"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/septum-dev/septum/charts/dashboards"
	"github.com/septum-dev/septum/test/attack/node"
)

var draw = flag.Bool("draw", false, "send requests for a minute and draw docs/images/l7-namespace.svg of what Prometheus has then")

const (
	across, high = 420, 190 // of a panel
	shownFor     = time.Minute
)

// drawn are the panels in the picture.
func drawn() []string {
	return []string{"Verdicts", "Requests made, by method", "Requests answered, by status", "Latency", "gRPC requests, by status", "Kafka requests, by topic", "DNS questions, by type", "Dropped flows"}
}

// picture draws panels of the namespace dashboard from Prometheus's answers. Grafana draws the
// dashboard otherwise: the picture says what it is.
func picture(t *testing.T, p prom, web, stranger client) {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < shownFor; {
		send(web, stranger)
		time.Sleep(time.Duration(1+time.Now().Second()%4) * 300 * time.Millisecond)
	}
	var body strings.Builder
	i := 0
	seen := map[string]bool{}
	for _, panel := range dashboards.All()[0].Panels {
		if !slices.Contains(drawn(), panel.Title) || seen[panel.Title] {
			continue
		}
		seen[panel.Title] = true
		fmt.Fprintf(&body, `<g transform="translate(%d,%d)">`, 10+i%2*(across+10), 50+i/2*(high+10))
		fmt.Fprintf(&body, `<rect width="%d" height="%d" fill="#fff" stroke="#ccc"/><text x="10" y="20" font-weight="bold">%s</text>`, across, high, html.EscapeString(panel.Title))
		var lines []series
		for _, target := range panel.Targets {
			got, err := p.query(expression(target.Expr), shownFor)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range got {
				s.labels["legend"] = legend(target.LegendFormat, s.labels)
				lines = append(lines, s)
			}
		}
		body.WriteString(plot(lines, panel.FieldConfig.Defaults.Unit))
		body.WriteString("</g>\n")
		i++
	}
	width, height := 2*across+30, 60+(i+1)/2*(high+10)
	text := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12"><rect width="%d" height="%d" fill="#f4f5f5"/>`, width, height, width, height) +
		fmt.Sprintf(`<text x="10" y="20" font-size="15" font-weight="bold">%s</text><text x="10" y="38" fill="#666">Not a screenshot of Grafana: drawn from a real Prometheus's answers to the dashboard's queries, namespace %s, one minute.</text>`+"\n",
			html.EscapeString(dashboards.All()[0].Title), node.Namespace) + body.String() + "</svg>\n"
	if err := os.WriteFile("../../docs/images/l7-namespace.svg", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func legend(format string, labels map[string]string) string {
	for name, value := range labels {
		format = strings.ReplaceAll(format, "{{"+name+"}}", value)
	}
	return strings.TrimSpace(format)
}

// plot draws lines below each other's legends, from 0 to the largest value.
func plot(lines []series, unit string) string {
	colours := []string{"#5794f2", "#73bf69", "#f2495c", "#ff9830", "#b877d9", "#37872d", "#8f3bb8", "#c4162a"}
	largest := 0.0
	for _, l := range lines {
		largest = max(largest, slices.Max(l.values))
	}
	if largest == 0 {
		largest = 1
	}
	const top, bottom, left = 30, 150, 50
	units := map[string]string{"reqps": "/s", "ops": "/s", "s": " s"}
	var out strings.Builder
	fmt.Fprintf(&out, `<text x="5" y="%d" fill="#666">%.3g%s</text><text x="5" y="%d" fill="#666">0</text>`, top+10, largest, units[unit], bottom)
	fmt.Fprintf(&out, `<path d="M%d %dH%d" stroke="#ccc"/>`, left, bottom, across-10)
	x, y := left, 168
	for i, l := range lines {
		colour := colours[i%len(colours)]
		out.WriteString(`<polyline fill="none" stroke-width="1.5" stroke="` + colour + `" points="`)
		// Each ends now; one that began later has fewer values.
		for j, v := range l.values {
			at := float64(across-10) - float64(len(l.values)-1-j)*float64(across-10-left)/shownFor.Seconds()
			if v == v && at >= left { // NaN is no point
				fmt.Fprintf(&out, "%.0f,%.1f ", at, bottom-v/largest*(bottom-top))
			}
		}
		out.WriteString(`"/>`)
		name := l.labels["legend"]
		if x+7*len(name) > across {
			x, y = left, y+16
		}
		fmt.Fprintf(&out, `<text x="%d" y="%d" fill="%s">%s</text>`, x, y, colour, html.EscapeString(name))
		x += 14 + 7*len(name)
	}
	return out.String()
}
