package wire

import (
	"errors"
	"fmt"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
)

func dns(rules []policy.DNSRule) []*septumpb.DNSRule {
	var out []*septumpb.DNSRule
	for _, r := range rules {
		out = append(out, &septumpb.DNSRule{Id: Rule(r.ID), Name: string(r.Name)})
	}
	return out
}

func readDNS(in []*septumpb.DNSRule) ([]policy.DNSRule, error) {
	if err := atMost("rules", uint64(len(in)), policy.MaxClassRules); err != nil {
		return nil, err
	}
	var out []policy.DNSRule
	for i, r := range in {
		id, err := ReadRule(r.GetId())
		name, errName := policy.ParsePattern(r.GetName())
		if errName == nil && string(name) != r.GetName() {
			errName = errors.New("the name is not in its plain form")
		}
		if err := errors.Join(err, errName); err != nil {
			return nil, fmt.Errorf("rules[%d]: %w", i, err)
		}
		out = append(out, policy.DNSRule{ID: id, Name: name})
	}
	return out, nil
}
