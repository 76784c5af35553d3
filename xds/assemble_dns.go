package xds

import (
	"errors"
	"fmt"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
)

func dnsFromProto(in *septumpb.DNSRule) (policy.DNSRule, error) {
	id, errID := ruleFromProto(in.GetId())
	name, err := policy.ParsePattern(in.GetName())
	if err == nil && string(name) != in.GetName() {
		err = errors.New("not in its plain form")
	}
	if err != nil {
		err = fmt.Errorf("name: %w", err)
	}
	return policy.DNSRule{ID: id, Name: name}, errors.Join(errID, err)
}
