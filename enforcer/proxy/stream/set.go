package stream

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
	"github.com/septum-dev/septum/xds/wire"
)

// Set is all classes that the proxy serves, by ID.
type Set struct {
	Classes []Served
	// Names are the patterns of the names whose lookups the proxy has to tell.
	Names []policy.NamePattern
}

// Served is a class and the port of its listener.
type Served struct {
	Class policy.Class
	Port  uint16
}

// SetFor returns the classes of np that are the proxy's. It fails when one has no number;
// the class is left out then, and must be left out of the data path.
func SetFor(np policy.NodePolicy, n policy.Numbers) (Set, error) {
	var set Set
	var problems []error
	serves := func(c policy.Class) bool { return c.Kind == policy.KindDNS }
	if slices.ContainsFunc(np.Classes, serves) {
		set.Names = np.NamePatterns()
	}
	for _, c := range np.Classes {
		if c.Backend() != policy.BackendOwn {
			continue
		}
		port := n.Classes[c.ID]
		if port == 0 {
			problems = append(problems, fmt.Errorf("class %q has no port", c.ID))
			continue
		}
		set.Classes = append(set.Classes, Served{Class: c, Port: port})
	}
	return set, errors.Join(problems...)
}

// Version is the hash of the whole set.
func (s Set) Version() string { return s.message().GetVersion() }

func (s Set) message() *septumpb.ProxyClasses {
	out := &septumpb.ProxyClasses{Names: wire.Names(s.Names)}
	for _, c := range s.Classes {
		out.Classes = append(out.Classes, &septumpb.ProxyClass{Class: wire.Class(c.Class), Port: uint32(c.Port)})
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(out)
	if err != nil {
		// The text is not UTF-8: it cannot have come over the wire. No set has this version.
		return &septumpb.ProxyClasses{Version: "invalid"}
	}
	sum := sha256.Sum256(body)
	out.Version = hex.EncodeToString(sum[:8])
	return out
}

// read is the way back. A set with a field or a kind of class that this proxy does not know is refused.
func read(in *septumpb.ProxyClasses) (Set, error) {
	var set Set
	if err := wire.Known(in.ProtoReflect()); err != nil {
		return Set{}, err
	}
	ports := map[uint32]bool{}
	for i, c := range in.GetClasses() {
		class, err := wire.ReadClass(c.GetClass())
		if err == nil && class.Backend() != policy.BackendOwn {
			err = errors.New("its kind is none that this proxy serves")
		}
		if err == nil && (c.GetPort() == 0 || c.GetPort() > 65535 || ports[c.GetPort()]) {
			err = fmt.Errorf("%d is no port, or another class's", c.GetPort())
		}
		if err != nil {
			return Set{}, fmt.Errorf("classes[%d]: %w", i, err)
		}
		ports[c.GetPort()] = true
		set.Classes = append(set.Classes, Served{Class: class, Port: uint16(c.GetPort())})
	}
	names, err := wire.ReadNames(in.GetNames())
	if err != nil {
		return Set{}, err
	}
	set.Names = names
	return set, nil
}
