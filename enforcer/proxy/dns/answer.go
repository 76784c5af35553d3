package dns

import (
	"errors"
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/septum-dev/septum/policy"
)

// Answer is what an allowed answer says of a name.
type Answer struct {
	// Client is the pod that asked, and Name what it asked for, normalised.
	Client netip.Addr
	Name   string
	// Addrs are the addresses that were given for it, directly or over other names.
	Addrs []netip.Addr
	// TTL is the shortest on the way.
	TTL time.Duration
}

// The most that is read of one answer.
const (
	maxRecords = 1024
	maxAddrs   = 256
	maxAliases = 16
)

// summary is what flows show of an answer.
type summary struct {
	code    dnsmessage.RCode
	addrs   []netip.Addr
	aliases []string
	ttl     uint32
}

// read returns the addresses that a message gives for the name of q. Only those count that
// belong to the name itself or to what it is an alias of; addresses of other names, and those
// beside the answer, do not.
func read(b []byte, q question) (summary, error) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil {
		return summary{}, err
	}
	out := summary{code: h.RCode, ttl: 1<<32 - 1}
	if err := p.SkipAllQuestions(); err != nil {
		return summary{}, err
	}
	aliases, addrs := map[string]record{}, map[string][]record{}
	for range maxRecords {
		r, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil {
			return summary{}, err
		}
		name := policy.NormalizeName(r.Name.String())
		switch {
		case r.Class != dnsmessage.ClassINET:
			err = p.SkipAnswer()
		case r.Type == dnsmessage.TypeA:
			var a dnsmessage.AResource
			if a, err = p.AResource(); err == nil {
				addrs[name] = append(addrs[name], record{ttl: r.TTL, addr: netip.AddrFrom4(a.A)})
			}
		case r.Type == dnsmessage.TypeAAAA:
			var a dnsmessage.AAAAResource
			if a, err = p.AAAAResource(); err == nil {
				addrs[name] = append(addrs[name], record{ttl: r.TTL, addr: netip.AddrFrom16(a.AAAA)})
			}
		case r.Type == dnsmessage.TypeCNAME:
			var c dnsmessage.CNAMEResource
			if c, err = p.CNAMEResource(); err == nil {
				aliases[name] = record{ttl: r.TTL, name: policy.NormalizeName(c.CNAME.String())}
			}
		default:
			err = p.SkipAnswer()
		}
		if err != nil {
			return summary{}, err
		}
	}
	name := policy.NormalizeName(q.name)
	for range maxAliases {
		for _, a := range addrs[name] {
			if len(out.addrs) < maxAddrs {
				out.addrs, out.ttl = append(out.addrs, a.addr), min(out.ttl, a.ttl)
			}
		}
		alias, ok := aliases[name]
		delete(aliases, name) // a loop ends
		if !ok {
			break
		}
		out.aliases, out.ttl = append(out.aliases, alias.name), min(out.ttl, alias.ttl)
		name = alias.name
	}
	if len(out.addrs) == 0 {
		out.ttl = 0
	}
	return out, nil
}

type record struct {
	ttl  uint32
	addr netip.Addr
	name string
}
