package envoy

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/septum-dev/septum/policy"
)

// Set is everything that Envoy is given: each list sorted by name, equal for equal input.
type Set struct {
	Clusters  []*clusterv3.Cluster
	Listeners []*listenerv3.Listener
	Routes    []*routev3.RouteConfiguration
	Secrets   []*tlsv3.Secret
	// Sealed are the names of resources that hold secrets: Envoy's words about them, which
	// quote them, are not repeated.
	Sealed map[string]bool
}

// Resources returns the configuration for every class of np that Envoy serves. It fails when a class has no
// number or two have the same one: the caller must then leave the class out of the data
// path, which keeps it denied.
func Resources(np policy.NodePolicy, n policy.Numbers) (Set, error) {
	set := Set{Clusters: []*clusterv3.Cluster{clusterFor(policy.Egress), clusterFor(policy.Ingress)}, Sealed: map[string]bool{}}
	var problems []error
	ports := map[uint16]policy.ClassID{}
	for _, class := range np.Classes {
		if class.Backend() != policy.BackendEnvoy {
			continue
		}
		class = np.Reveal(class)
		port := n.Classes[class.ID]
		if port == 0 {
			problems = append(problems, fmt.Errorf("class %q has no port", class.ID))
			continue
		}
		if other, taken := ports[port]; taken {
			problems = append(problems, fmt.Errorf("class %q has port %d, which is %q's", class.ID, port, other))
			continue
		}
		if !class.HeaderActionsFit() {
			problems = append(problems, fmt.Errorf("class %q has more actions on headers than are possible", class.ID))
			continue
		}
		ports[port] = class.ID
		if class.IsTLS() {
			set.addTLS(class, port)
			continue
		}
		set.Listeners = append(set.Listeners, listenerFor(class.ID, class.Direction, port))
		set.Routes = append(set.Routes, routesFor(class))
		if len(class.Secrets()) > 0 {
			set.Sealed[ListenerName(class.ID)] = true
		}
	}
	set.addSecrets(np)
	slices.SortFunc(set.Listeners, func(a, b *listenerv3.Listener) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(set.Clusters, func(a, b *clusterv3.Cluster) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(set.Routes, func(a, b *routev3.RouteConfiguration) int { return cmp.Compare(a.Name, b.Name) })
	return set, errors.Join(problems...)
}

// IPv4Only is the set for a kernel without IPv6, on which Envoy could not open a class's second
// socket and would refuse the class.
func (s Set) IPv4Only() Set {
	listeners := make([]*listenerv3.Listener, 0, len(s.Listeners))
	for _, l := range s.Listeners {
		l = proto.CloneOf(l)
		l.AdditionalAddresses = nil
		listeners = append(listeners, l)
	}
	s.Listeners = listeners
	return s
}

// addTLS adds a class of TLS: its listener, and what its inspected connections need.
func (s *Set) addTLS(class policy.Class, port uint16) {
	ways := inspections(class)
	s.Listeners = append(s.Listeners, tlsListenerFor(class, ways, port))
	for _, way := range ways {
		routes := inspectRoutes(class, way)
		s.Routes = append(s.Routes, routes)
		s.Sealed[routes.Name] = len(class.Secrets()) > 0
		for _, c := range inspectClusters(class.Direction, way) {
			if !slices.ContainsFunc(s.Clusters, func(o *clusterv3.Cluster) bool { return o.Name == c.Name }) {
				s.Clusters = append(s.Clusters, c)
			}
		}
		for _, id := range way.Secrets() {
			s.Sealed[string(id)] = true
		}
	}
}

// addSecrets adds the secrets that were named while the classes were added, by name.
func (s *Set) addSecrets(np policy.NodePolicy) {
	for _, secret := range np.Secrets {
		if s.Sealed[string(secret.ID)] {
			s.Secrets = append(s.Secrets, secretFor(secret))
		}
	}
}

// Version is the hash of the whole set.
func (s Set) Version() string { return targetFor(s).version }

// The resource types, in the order in which Envoy must learn of them.
const (
	clusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	listenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	routeType    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	secretType   = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
)

// kinds is never changed.
var kinds = [...]string{clusterType, secretType, listenerType, routeType} //nolint:gochecknoglobals // a list in order cannot be a constant

// resource is one resource as it is sent. Its version is the hash of its bytes.
type resource struct {
	name, version string
	body          *anypb.Any
	sealed        bool
}

// resources returns the set's resources of one type, by name.
func (s Set) resources(kind string) []resource {
	var out []resource
	switch kind {
	case clusterType:
		for _, c := range s.Clusters {
			out = append(out, resourceFor(c.Name, c))
		}
	case listenerType:
		for _, l := range s.Listeners {
			out = append(out, resourceFor(l.Name, l))
		}
	case secretType:
		for _, secret := range s.Secrets {
			out = append(out, resourceFor(secret.Name, secret))
		}
	case routeType:
		for _, r := range s.Routes {
			out = append(out, resourceFor(r.Name, r))
		}
	}
	return out
}

func resourceFor(name string, m proto.Message) resource {
	body := anyFor(m)
	sum := sha256.Sum256(body.Value)
	return resource{name: name, version: hex.EncodeToString(sum[:8]), body: body}
}

// anyFor packs m, the same bytes each time. The messages are all made here, so packing
// can fail only for text that is not UTF-8, which the callers take care of.
func anyFor(m proto.Message) *anypb.Any {
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("pack %s: %v", m.ProtoReflect().Descriptor().FullName(), err))
	}
	return &anypb.Any{TypeUrl: "type.googleapis.com/" + string(m.ProtoReflect().Descriptor().FullName()), Value: body}
}
