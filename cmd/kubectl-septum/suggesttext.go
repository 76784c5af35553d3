package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/septum-dev/septum/policy"
)

// evidenceText is what a rule comes from, in words.
func evidenceText(e evidence) string {
	out := many(e.count, "flow") + ", the last at " + moments(e.last)
	if e.audited > 0 {
		out += fmt.Sprintf(", %d of them only as of Audit mode", e.audited)
	}
	if e.denied > 0 {
		out += fmt.Sprintf(", %d of them REFUSED", e.denied)
	}
	return out
}

func moments(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func many(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// quoted is a text as YAML reads it as one, without quotes where none are needed.
func quoted(s string) string {
	plain := regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_./-]*$`)
	if plain.MatchString(s) && !slices.Contains([]string{"true", "false", "yes", "no", "on", "off", "null", "y", "n"}, strings.ToLower(s)) {
		return s
	}
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(s); err != nil {
		return `""` // no text is without an encoding
	}
	return strings.TrimSpace(b.String())
}

// targetsIn finds the pods' ports behind those of services.
func targetsIn(snapshot policy.Snapshot) func(service, protocol string, port uint32) []uint32 {
	protocols := map[string]policy.Protocol{"TCP": policy.ProtocolTCP, "UDP": policy.ProtocolUDP, "SCTP": policy.ProtocolSCTP}
	return func(service, protocol string, port uint32) []uint32 {
		var out []uint32
		for _, svc := range snapshot.Services {
			if svc.Key != service {
				continue
			}
			for _, p := range svc.Ports {
				if uint32(p.Port) == port && p.Protocol == protocols[protocol] {
					for _, b := range p.Backends {
						out = append(out, uint32(b.Port()))
					}
				}
			}
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
}
