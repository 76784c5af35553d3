package enforcer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/go-logr/logr"

	"github.com/septum-dev/septum/bpf"
	"github.com/septum-dev/septum/enforcer/cni"
	"github.com/septum-dev/septum/enforcer/launch"
	"github.com/septum-dev/septum/enforcer/links"
	"github.com/septum-dev/septum/enforcer/names"
	"github.com/septum-dev/septum/enforcer/proxy/stream"
	"github.com/septum-dev/septum/enforcer/proxyns"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds"
	"github.com/septum-dev/septum/xds/envoy"
	"github.com/septum-dev/septum/xds/septumpb"
)

// Source is where policy comes from and reports go to.
type Source interface {
	Updates() <-chan xds.Update
	Report(*septumpb.NodeReport)
}

// Datapath is the BPF programs and maps. Listeners is called by another goroutine than the
// rest.
type Datapath interface {
	Apply(bpf.State) error
	SetHostAddrs([]netip.Addr) error
	// SetOwners says which addresses are behind which interface, of all the node's pods.
	SetOwners(map[int][]netip.Addr) error
	// Guard keeps pods from sending with others' addresses, at these interfaces and no others.
	Guard(interfaces []int) error
	// Shut lets nothing through pods' interfaces; with others, all others are opened.
	Shut(interfaces []bpf.PodInterface, others bool) error
	AttachPod(bpf.PodLink) error
	DetachPod(ifindex int) error
	// SetProxySilent says whether a proxy is there and does not answer.
	SetProxySilent(policy.Backend, bool) error
	Attached() ([]int, error)
	// Sweep returns the open connections that what is applied does not let go on.
	Sweep() ([]bpf.Ended, error)
	// InUse are the connections and flows that are open.
	InUse() ([]bpf.Use, error)
	// Proxied says whether a pod's connection with a peer is one with the proxy.
	Proxied(pod, peer netip.AddrPort) bool
	// KeepPinned pins maps again, and says which had lost their pins.
	KeepPinned() ([]string, error)
	// PutFirst puts pods' programs before those of others, and says where they were not there or not first.
	PutFirst() ([]int, error)
	// Audit says which maps hold something else than what was written to them.
	Audit() ([]string, error)
	AttachProxy(bpf.ProxyLink) error
	ProxyIsAttached() (bool, error)
	// Listeners are the class ports that redirected connections can be given to now.
	Listeners() ([]uint16, error)
	Counters() (map[uint32]bpf.Counter, map[string]uint64, error)
	// Fills are how full the maps are, by name.
	Fills() (map[string]bpf.Fill, error)
}

// Proxy is the server that gives Envoy its configuration ([envoy.Server]). Apply keeps
// the set for whenever Envoy asks, and returns when Envoy has taken it, or why not.
type Proxy interface {
	Apply(context.Context, envoy.Set) error
	Connected() bool
	Ready() bool
}

// Own is the end of Septum's own proxy ([stream.Server]): as Proxy, for the classes that
// Envoy does not serve. Ready is true where there is none.
type Own interface {
	Apply(context.Context, stream.Set) error
	Connected() bool
	Ready() bool
}

// Links finds pods' veths.
type Links interface {
	Scan(all bool) error
	Find([]netip.Addr) (links.Link, error)
	// Ways are the interfaces out of a pod's namespace but the one of Find.
	Ways([]netip.Addr) []links.Way
	Has(ifindex int) bool
	HostAddrs() ([]netip.Addr, error)
	Cut(l links.Link, keep func(links.Connection) bool) (int, error)
	// End ends connections of a namespace, of those that it has.
	End(ns *os.File, connections []links.Connection) error
	EndOf(l links.Link, connections []links.Connection) error
}

// Store is what outlives the enforcer.
type Store interface {
	// Load returns os.ErrNotExist where nothing was saved.
	Load() (xds.Update, policy.Numbers, error)
	SaveNumbers(policy.Numbers) error
	SaveUpdate(xds.Update) error
	// LoadStarts returns nothing where nothing was saved.
	LoadStarts() ([]Started, error)
	SaveStarts([]Started) error
	// LoadNames returns nothing where nothing was saved; AppendNames adds to what was.
	LoadNames() ([]names.Fact, error)
	AppendNames([]names.Fact) error
	SaveNames([]names.Fact) error
}

// Namespace makes the proxy's network namespace ready.
type Namespace func(ns *os.File, cfg proxyns.Config) (proxyns.Link, error)

// Inputs are the channels of what happens on the node.
type Inputs struct {
	// Starts are pods that the CNI plugin holds until their policy is in force.
	Starts <-chan *cni.Pod
	// Proxies are launchers that said hello.
	Proxies <-chan *launch.Proxy
	// Lookups are answers of the DNS that the proxy holds.
	Lookups <-chan Lookup
	// Changed says that interfaces, addresses or namespaces of the node changed.
	Changed <-chan struct{}
	// ProxyChanged says that Connected or Ready of Proxy or Own may have changed.
	ProxyChanged <-chan struct{}
	// Requests are what the proxies judged, Packets what the BPF programs judged.
	Requests <-chan policy.Event
	Packets  <-chan bpf.Event
}

// Flows keeps what is seen of verdicts. Both are called by the loop, and return at once.
type Flows interface {
	// Know takes who is behind the addresses of the events to come.
	Know(policy.NodePolicy)
	// Add takes a verdict, and the policies that one without a rule is laid to.
	Add(e policy.Event, responsible []policy.Ref)
}

// Config is what an Enforcer needs; every field without a default is required.
type Config struct {
	Source    Source
	Datapath  Datapath
	Proxy     Proxy
	Own       Own
	Links     Links
	Store     Store
	Namespace Namespace
	Inputs    Inputs
	// Bootstrap is the path of Envoy's bootstrap, as the proxy pod sees it.
	Bootstrap string
	// NoIPv6 says that the kernel has no IPv6, and so Envoy cannot listen on it.
	NoIPv6 bool
	// Instance is a name for this run.
	Instance string
	Metrics  *Metrics
	Log      logr.Logger
	// Flows may be nil.
	Flows Flows
	// AckTimeout is how long Envoy may take to acknowledge; 5 s if it is 0.
	AckTimeout time.Duration
	// DrainLimit is how long connections that the policy leaves alone now may stay with the
	// proxy; 30 s if it is 0.
	DrainLimit time.Duration
	// Now is the clock; time.Now if it is nil.
	Now func() time.Time
}

const (
	defaultAckTimeout = 5 * time.Second
	defaultDrainLimit = 30 * time.Second
)

func (c *Config) complete() error {
	var errs []error
	for name, missing := range map[string]bool{
		"Source": c.Source == nil, "Datapath": c.Datapath == nil, "Proxy": c.Proxy == nil, "Own": c.Own == nil, "Links": c.Links == nil,
		"Store": c.Store == nil, "Namespace": c.Namespace == nil, "Metrics": c.Metrics == nil, "Instance": c.Instance == "",
	} {
		if missing {
			errs = append(errs, fmt.Errorf("%s is missing", name))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("configure enforcer: %w", err)
	}
	if c.AckTimeout == 0 {
		c.AckTimeout = defaultAckTimeout
	}
	if c.DrainLimit == 0 {
		c.DrainLimit = defaultDrainLimit
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}
