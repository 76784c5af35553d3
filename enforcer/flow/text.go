package flow

import (
	"fmt"
	"strings"
	"time"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/relay/text"
)

// clean makes a text harmless for terminals.
func clean(s string) string { return text.Clean(s) }

// urlOf is the URL of a request, without user and password, fragment, and, unless they are
// wanted, the query.
func urlOf(h *policy.HTTPEvent, queries bool) string {
	host := h.Host[strings.LastIndexByte(h.Host, '@')+1:]
	path, _, _ := strings.Cut(h.Path, "#")
	if !queries {
		path, _, _ = strings.Cut(path, "?")
	}
	return clean("http://" + host + path)
}

func requestSummary(protocol, method, url string) string {
	return fmt.Sprintf("%s %s %s", protocol, method, url)
}

func responseSummary(protocol string, code int, latency time.Duration, method, url string) string {
	return fmt.Sprintf("%s %d %dms (%s %s)", protocol, code, latency.Milliseconds(), method, url)
}
