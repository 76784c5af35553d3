package xds

import (
	"errors"
	"fmt"
	"slices"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
	"github.com/septum-dev/septum/xds/wire"
)

const (
	// maxKeys is how long one set of keys can be, in bytes.
	maxKeys = 64 << 10
	// maxClaims is how many claims a rule can ask for, and how many names can lead to one.
	maxClaims = 64
)

// keySets are a class's sets of keys, sorted.
func keySets(c policy.Class) []string {
	var out []string
	for _, s := range c.TokenSources() {
		out = append(out, s.Keys)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// jwtToProto names the keys by their place in the class's sets.
func jwtToProto(j *policy.JWT, sets []string) *septumpb.JWT {
	if j == nil {
		return nil
	}
	keys, _ := slices.BinarySearch(sets, j.Keys)
	out := &septumpb.JWT{Issuer: j.Issuer, Keys: uint32(keys), Header: j.Header}
	for _, c := range j.Claims {
		out.Claims = append(out.Claims, &septumpb.Claim{Path: c.Path, Values: matchesToProto(c.Values)})
	}
	return out
}

// keySetsFromProto checks their number and size.
func keySetsFromProto(in []string) error {
	if err := atMost("jwks", len(in), policy.MaxTokenSources); err != nil {
		return err
	}
	for i, set := range in {
		if set == "" || len(set) > maxKeys {
			return fmt.Errorf("jwks[%d]: is empty, or longer than %d bytes", i, maxKeys)
		}
	}
	return nil
}

func jwtFromProto(in *septumpb.JWT, sets []string) (*policy.JWT, error) {
	if in == nil {
		return nil, nil
	}
	err := errors.Join(wire.NotEmpty("issuer", in.GetIssuer()), wire.Text("header", in.GetHeader()), atMost("claims", len(in.GetClaims()), maxClaims))
	if err == nil && int64(in.GetKeys()) >= int64(len(sets)) {
		err = fmt.Errorf("keys: there are no keys %d in the class", in.GetKeys())
	}
	if err != nil {
		return nil, fmt.Errorf("jwt: %w", err)
	}
	out := &policy.JWT{TokenSource: policy.TokenSource{Issuer: in.GetIssuer(), Keys: sets[in.GetKeys()], Header: in.GetHeader()}}
	for i, c := range in.GetClaims() {
		claim, err := claimFromProto(c)
		if err != nil {
			return nil, fmt.Errorf("jwt: claims[%d]: %w", i, err)
		}
		out.Claims = append(out.Claims, claim)
	}
	return out, nil
}

func claimFromProto(in *septumpb.Claim) (policy.Claim, error) {
	if len(in.GetPath()) == 0 || len(in.GetValues()) == 0 {
		return policy.Claim{}, errors.New("needs a path and values")
	}
	err := atMost("path", len(in.GetPath()), maxClaims)
	for _, name := range in.GetPath() {
		err = errors.Join(err, wire.NotEmpty("path", name))
	}
	values, errValues := matchesFromProto("values", in.GetValues())
	return policy.Claim{Path: in.GetPath(), Values: values}, errors.Join(err, errValues)
}
