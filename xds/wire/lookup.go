package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
)

// Lookup is what an answer of the DNS says of a name, and which pod got it.
type Lookup struct {
	Client netip.Addr
	// Name is normalised.
	Name  string
	Addrs []netip.Addr
	TTL   time.Duration
}

// maxTTL is the longest that the DNS can say (RFC 2181, 8).
const maxTTL = 1<<31 - 1

// LookupMessage returns a lookup with its number.
func LookupMessage(number uint64, l Lookup) *septumpb.Lookup {
	out := &septumpb.Lookup{Number: number, Client: l.Client.String(), Name: wireName(l.Name), Ttl: uint32(min(max(l.TTL/time.Second, 0), maxTTL))}
	for _, a := range l.Addrs {
		out.Addresses = append(out.Addresses, a.String())
	}
	return out
}

// ReadLookup is the way back.
func ReadLookup(in *septumpb.Lookup) (Lookup, error) {
	out := Lookup{Name: in.GetName(), TTL: time.Duration(min(in.GetTtl(), maxTTL)) * time.Second}
	err := errors.Join(NotEmpty("name", in.GetName()), atMost("addresses", uint64(len(in.GetAddresses())), maxList))
	if err != nil {
		return out, err
	}
	if out.Client, err = netip.ParseAddr(in.GetClient()); err != nil {
		return out, fmt.Errorf("client: %w", err)
	}
	for _, text := range in.GetAddresses() {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return out, fmt.Errorf("addresses: %w", err)
		}
		out.Addrs = append(out.Addrs, a.Unmap())
	}
	return out, nil
}

// Names returns patterns as text.
func Names(patterns []policy.NamePattern) []string {
	var out []string
	for _, p := range patterns {
		out = append(out, string(p))
	}
	return out
}

// ReadNames is the way back.
func ReadNames(in []string) ([]policy.NamePattern, error) {
	var out []policy.NamePattern
	for i, text := range in {
		p, err := policy.ParsePattern(text)
		if err == nil && string(p) != text {
			err = errors.New("the name is not in its plain form")
		}
		if err != nil {
			return nil, fmt.Errorf("names[%d]: %w", i, err)
		}
		out = append(out, p)
	}
	return out, nil
}
