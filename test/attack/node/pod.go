package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/enforcer/netns"
	"github.com/septum-dev/septum/enforcer/netns/nstest"
	"github.com/septum-dev/septum/policy"
)

// Namespace is where all pods are.
const Namespace = "demo"

// AddPod makes a pod on the node, joined to it as the ptp plugin does it. Its IPv6 address
// ends in the last number of the IPv4 one.
func (n *Node) AddPod(name, addr string, labels policy.Labels) *Pod {
	n.t.Helper()
	return n.add(&Pod{NS: nstest.Pod(n.Host, n.Path("netns"), name, addr, gateway), Name: name, Labels: labels, Node: Name}, addr, gateway6)
}

// AddRemote makes a pod that is on another node: for this one it is behind an interface
// without programs.
func (n *Node) AddRemote(name, addr string, labels policy.Labels) *Pod {
	n.t.Helper()
	return n.add(&Pod{NS: nstest.Pod(n.Host, n.t.TempDir(), name, addr, "10.244.2.1"), Name: name, Labels: labels, Node: "node2"}, addr, "fd00:244:2::1")
}

func (n *Node) add(p *Pod, addr, gateway string) *Pod {
	n.t.Helper()
	v4, v6 := netip.MustParseAddr(addr), netip.MustParseAddr(gateway).Prev()
	for range v4.As4()[3] {
		v6 = v6.Next()
	}
	p.Addrs = []netip.Addr{v4, v6}
	AddAddr(n, n.Host, p.HostVeth(), gateway+"/128")
	AddAddr(n, p.NS, "eth0", v6.String()+"/128")
	addRoute(n, n.Host, p.HostVeth(), v6.String()+"/128", "")
	addRoute(n, p.NS, "eth0", gateway+"/128", "")
	addRoute(n, p.NS, "eth0", "::/0", gateway)
	n.Pods[p.Name] = p
	return p
}

// AddAddr gives an interface an address that can be used at once.
func AddAddr(n *Node, ns *nstest.NS, name, cidr string) {
	n.t.Helper()
	addr, err := netlink.ParseAddr(cidr)
	n.must(err)
	addr.Flags = unix.IFA_F_NODAD
	n.must(ns.Netlink.AddrAdd(ns.Link(name), addr))
}

func addRoute(n *Node, ns *nstest.NS, name, cidr, via string) {
	n.t.Helper()
	_, dst, err := net.ParseCIDR(cidr)
	n.must(err)
	r := &netlink.Route{LinkIndex: ns.Link(name).Attrs().Index, Dst: dst}
	if via != "" {
		r.Gw = net.ParseIP(via)
	}
	n.must(ns.Netlink.RouteAdd(r))
}

// Listen opens a TCP socket in a namespace for as long as the test runs.
func (n *Node) Listen(ns *nstest.NS, addr string) net.Listener {
	n.t.Helper()
	var lis net.Listener
	ns.Do(func() (err error) {
		lis, err = net.Listen("tcp", addr)
		return err
	})
	n.t.Cleanup(func() { lis.Close() })
	return lis
}

// Dial connects from a namespace.
func Dial(ctx context.Context, ns *nstest.NS, d net.Dialer, network, addr string) (conn net.Conn, err error) {
	if d.Timeout == 0 {
		d.Timeout = 2 * time.Second
	}
	d.SetMultipathTCP(false)
	err = netns.Do(ns.File, func() (err error) {
		conn, err = d.DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// snapshot is the cluster of two nodes and the pods that there are.
func (n *Node) snapshot(policies []policy.Policy) policy.Snapshot {
	s := policy.Snapshot{
		Nodes: []policy.Node{
			{Name: Name, Addrs: []netip.Addr{netip.MustParseAddr(Addr)}},
			{Name: "node2", Addrs: []netip.Addr{netip.MustParseAddr(OtherNode)}},
		},
		Policies: policies, Secrets: n.Secrets,
	}
	identities := map[string]policy.Identity{}
	var names []string
	for name := range n.Pods {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		p := n.Pods[name]
		if p.Labels == nil {
			continue
		}
		labels := policy.Labels{policy.LabelNamespace: Namespace}
		for k, v := range p.Labels {
			labels[k] = v
		}
		text := fmt.Sprint(labels)
		id, ok := identities[text]
		if !ok {
			id = policy.FirstClusterIdentity + policy.Identity(len(identities))
			identities[text] = id
			s.Identities = append(s.Identities, policy.IdentityLabels{Identity: id, Labels: labels})
		}
		s.Endpoints = append(s.Endpoints, policy.Endpoint{
			Key: Namespace + "/" + name, UID: "uid-" + name, Node: p.Node, Identity: id, Labels: labels, Addrs: p.Addrs, Workload: name,
		})
	}
	slices.SortFunc(s.Endpoints, func(a, b policy.Endpoint) int { return strings.Compare(a.Key, b.Key) })
	return s
}

// AddBehind makes a pod whose interface leads into another pod, not to the node.
func (n *Node) AddBehind(name, addr string, other *Pod, labels policy.Labels) *Pod {
	n.t.Helper()
	ns := nstest.New(n.t, n.Path("netns"), name)
	other.Veth("to-"+name, ns, "eth0")
	ns.Addr("eth0", addr+"/32")
	p := &Pod{NS: ns, Name: name, Addrs: []netip.Addr{netip.MustParseAddr(addr)}, Labels: labels, Node: Name}
	n.Pods[name] = p
	return p
}

// RemovePod ends a pod.
func (n *Node) RemovePod(p *Pod) {
	p.Remove()
	delete(n.Pods, p.Name)
}

// Route leads a range to an interface of a namespace.
func (n *Node) Route(ns *nstest.NS, name, cidr string) {
	n.t.Helper()
	addRoute(n, ns, name, cidr, "")
}
