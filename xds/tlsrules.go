package xds

import (
	"errors"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
)

func tlsToProto(r policy.TLSRule) *septumpb.TLSRule {
	out := &septumpb.TLSRule{Id: ruleToProto(r.ID)}
	for _, n := range r.Names {
		out.Names = append(out.Names, string(n))
	}
	return out
}

func tlsFromProto(in *septumpb.TLSRule) (policy.TLSRule, error) {
	id, errID := ruleFromProto(in.GetId())
	out := policy.TLSRule{ID: id}
	if err := errors.Join(errID, atMost("names", len(in.GetNames()), policy.MaxClassNames)); err != nil {
		return out, err
	}
	for _, n := range in.GetNames() {
		if err := errors.Join(notEmpty("names", n), atMost("names", len(n), maxServerName)); err != nil {
			return out, err
		}
		out.Names = append(out.Names, policy.ServerName(n))
	}
	return out, nil
}

// maxServerName is the longest server name, in bytes.
const maxServerName = 255
