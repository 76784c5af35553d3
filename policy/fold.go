package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// outcome is what all rules that apply to a packet come to, together. Equal outcomes of
// one table are the same pointer.
type outcome struct {
	verdict Verdict
	class   ClassID
	rules   []RuleID
}

// folder combines rules for one table.
type folder struct {
	direction Direction
	how       reading
	rules     []rule
	classes   map[ClassID]*Class
	partsOf   map[ClassID][]Ref
	report    func(Problem)
	// limited is true where a class has too much.
	limited bool
	// byCover and byContent are the outcomes so far.
	byCover   map[string]*outcome
	byContent map[string]*outcome
}

// fold returns the union of the rules with those numbers, in order; nil for none.
func (f *folder) fold(cover []int32) *outcome {
	if len(cover) == 0 {
		return nil
	}
	text := coverKey(cover)
	if got, ok := f.byCover[text]; ok {
		return got
	}
	out := f.combine(cover)
	if out == nil {
		f.byCover[text] = nil
		return nil
	}
	content := out.key()
	if same, ok := f.byContent[content]; ok {
		out = same
	}
	f.byContent[content] = out
	f.byCover[text] = out
	return out
}

// coverKey is the rules' numbers as a text.
func coverKey(cover []int32) string {
	out := make([]byte, 0, 4*len(cover))
	for _, n := range cover {
		out = binary.LittleEndian.AppendUint32(out, uint32(n))
	}
	return string(out)
}

// key is the outcome as a text: equal outcomes have the same.
func (o *outcome) key() string {
	var b strings.Builder
	b.WriteByte('0' + byte(o.verdict))
	writeText(&b, string(o.class))
	for _, r := range o.rules {
		for _, text := range []string{r.Policy.Kind, r.Policy.Namespace, r.Policy.Name, r.Path, r.Name} {
			writeText(&b, text)
		}
	}
	return b.String()
}

// writeText writes a text with its length before it, so that no two lists of texts meet.
func writeText(b *strings.Builder, text string) {
	b.WriteString(strconv.Itoa(len(text)))
	b.WriteByte(':')
	b.WriteString(text)
}

func (f *folder) combine(cover []int32) *outcome {
	var deny, soft, l4, l7 []*rule
	for _, n := range cover {
		switch r := &f.rules[n]; {
		case r.deny && r.soft:
			soft = append(soft, r)
		case r.deny:
			deny = append(deny, r)
		case r.l7 == nil:
			l4 = append(l4, r)
		default:
			l7 = append(l7, r)
		}
	}
	l7 = f.oneKind(l7)
	switch {
	case len(deny) > 0:
		// Deny beats every allow, before L7 is looked at (SEMANTICS 1).
		return &outcome{verdict: Denied, rules: ruleIDs(deny)}
	case len(l4)+len(l7) == 0 && f.how.defaultDeny:
		return nil // it is refused without those that only report
	case len(l7) > 0 && !shadowed(l4, l7):
		return &outcome{verdict: Redirected, class: f.class(l4, l7, soft), rules: ruleIDs(append(slices.Clone(l4), l7...))}
	case len(soft) > 0:
		return &outcome{verdict: Audited, rules: ruleIDs(soft)}
	}
	return &outcome{verdict: Forwarded, rules: ruleIDs(l4)}
}

// oneKind leaves out the rules whose L7 kind is not that of the first rule: what they
// would have added stays closed (SEMANTICS 4). What only audits closes nothing that is enforced.
func (f *folder) oneKind(l7 []*rule) []*rule {
	if len(l7) == 0 {
		return nil
	}
	out := l7[:0:0]
	first := l7[0]
	if n := slices.IndexFunc(l7, func(r *rule) bool { return !r.soft }); n >= 0 {
		first = l7[n]
	}
	for _, r := range l7 {
		if r.l7.Kind() == first.l7.Kind() {
			out = append(out, r)
			continue
		}
		f.report(Problem{Policy: r.id.Policy, Path: r.id.Path, Reason: ReasonConflict,
			Message: fmt.Sprintf("%s rules conflict with the %s rules of %s %s for the same peer and port: they allow nothing",
				r.l7.Kind(), first.l7.Kind(), first.id.Policy.Kind, first.id.Policy.Name)})
	}
	return out
}

// shadowed says whether a rule for every peer on layer 4 leaves nothing for narrower L7
// rules to decide (SEMANTICS 2). L7 rules that deny are never shadowed.
func shadowed(l4, l7 []*rule) bool {
	if !slices.ContainsFunc(l4, func(r *rule) bool { return r.wide }) {
		return false
	}
	return !slices.ContainsFunc(l7, func(r *rule) bool { return r.wide || r.l7.denies() })
}

// class returns the class of these L7 rules, which may go with L4 rules for the same
// peer and port: then everything is allowed, and still proxied. soft are the deny rules on
// layers 3 and 4 that only report.
func (f *folder) class(l4, l7, soft []*rule) ClassID {
	out := &Class{Kind: l7[0].l7.Kind(), Direction: f.direction, Audit: f.how.audit}
	var allowAll *rule
	for _, r := range slices.Concat(l4, l7) {
		if (r.l7 == nil || r.open) && (allowAll == nil || CompareRuleIDs(r.id, allowAll.id) < 0) {
			allowAll = r
		}
	}
	if allowAll == nil {
		for _, r := range l7 {
			if (r.l7.audits() || r.waived) && (out.AllowAll == nil || CompareRuleIDs(r.id, *out.AllowAll) < 0) {
				id := r.id
				out.AllowAll, out.AuditRest = &id, true
			}
		}
	}
	var keys []string
	for _, r := range l7 {
		if slices.Contains(keys, r.key) {
			continue
		}
		keys = append(keys, r.key)
		r.l7.addTo(out)
	}
	slices.Sort(keys)
	keys = append(keys, fmt.Sprint(f.direction, f.how.audit))
	if out.Kind != KindHTTP {
		// A rule whose kind is edited gets another class: another process serves it.
		keys = append(keys, out.Kind.String())
	}
	if allowAll != nil {
		id := allowAll.id
		out.AllowAll = &id
		keys = append(keys, "allow all", allowAll.key)
	}
	if len(soft) > 0 {
		id := ruleIDs(soft)[0]
		out.AuditAll = &id
		keys = append(keys, "audit all", fmt.Sprint(id))
	}
	enforced := enforcedOf(l4, l7)
	if out.Failure = FailOpen; len(enforced) > 0 {
		out.Failure = failureOf(enforced)
	} else {
		keys = append(keys, "unasked")
	}
	out.ID = ClassID(shortHash(keys))
	f.tls(out, l7)
	if len(enforced) == 0 {
		out.HTTP, out.Kafka = softHTTP(out.HTTP), softKafka(out.Kafka)
	}
	slices.SortFunc(out.HTTP, func(a, b HTTPRule) int { return CompareRuleIDs(a.ID, b.ID) })
	slices.SortFunc(out.DNS, func(a, b DNSRule) int { return CompareRuleIDs(a.ID, b.ID) })
	slices.SortFunc(out.Kafka, func(a, b KafkaRule) int { return CompareRuleIDs(a.ID, b.ID) })
	if _, ok := f.classes[out.ID]; !ok {
		f.limit(out)
		f.limitHTTP(out)
		f.classes[out.ID] = out
		for _, r := range slices.Concat(l4, l7, soft) {
			f.partsOf[out.ID] = append(f.partsOf[out.ID], r.id.Policy)
		}
	}
	return out.ID
}

// enforcedOf returns the L7 rules for which a proxy would be asked if nothing audited.
func enforcedOf(l4, l7 []*rule) []*rule {
	var out []*rule
	denies := false
	for _, r := range l7 {
		if !r.waived {
			out = append(out, r)
			denies = denies || !r.soft && r.l7.denies()
		}
	}
	wide := func(r *rule) bool { return r.wide }
	if slices.ContainsFunc(l4, wide) && !slices.ContainsFunc(out, wide) && !denies {
		return nil
	}
	return out
}

// failureOf is what becomes of connections to a class of these L7 rules that nobody can
// judge. L4 rules beside them ask for no proxy, and have no say.
func failureOf(l7 []*rule) Failure {
	if slices.ContainsFunc(l7, func(r *rule) bool { return r.failure != FailOpen }) {
		return FailClosed
	}
	return FailOpen
}

func ruleIDs(rules []*rule) []RuleID {
	out := make([]RuleID, 0, len(rules))
	for _, r := range rules {
		out = append(out, r.id)
	}
	slices.SortFunc(out, CompareRuleIDs)
	return slices.Compact(out)
}

// shortHash names a list of texts: 80 bits, so that no two lists ever meet.
func shortHash(texts []string) string {
	h := sha256.New()
	for _, t := range texts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(t), t)
	}
	return hex.EncodeToString(h.Sum(nil)[:10])
}
