package conformance

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/septum-dev/septum/policy/ingest"
)

// cluster is the objects of a case, and how its requests call their addresses.
type cluster struct {
	objects ingest.Objects
	addrs   map[string]netip.Addr
	// nodeOf is the node of a pod or of "node:<name>".
	nodeOf map[string]string
	told   []Learnt
}

func parsePolicies(text string) ([]unstructured.Unstructured, error) {
	var out []unstructured.Unstructured
	for i, doc := range strings.Split("\n"+text, "\n---") {
		data, err := yaml.YAMLToJSON([]byte(doc))
		if err != nil {
			return nil, fmt.Errorf("read policy %d: %w", i+1, err)
		}
		if string(data) == "null" {
			continue
		}
		var u unstructured.Unstructured
		if err := u.UnmarshalJSON(data); err != nil {
			return nil, fmt.Errorf("read policy %d: %w", i+1, err)
		}
		if u.GetUID() == "" {
			u.SetUID(types.UID(u.GetKind() + "/" + u.GetNamespace() + "/" + u.GetName()))
		}
		if u.GetGeneration() == 0 {
			u.SetGeneration(1)
		}
		out = append(out, u)
	}
	return out, nil
}

func parseCluster(text string) (*cluster, error) {
	c := &cluster{addrs: map[string]netip.Addr{}, nodeOf: map[string]string{}}
	for _, line := range lines(text) {
		fields := strings.Fields(line)
		name := ""
		if len(fields) > 1 && !strings.Contains(fields[1], "=") {
			name = fields[1]
		}
		set, err := settings(fields[1:])
		if err != nil {
			return nil, fmt.Errorf("cluster line %q: %w", line, err)
		}
		switch fields[0] {
		case "node":
			err = c.node(name, set)
		case "namespace":
			c.objects.Namespaces = append(c.objects.Namespaces, corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labelsOf(set["labels"])}})
		case "pod":
			err = c.pod(name, set)
		case "service":
			err = c.service(name, set)
		case "secret":
			err = c.secret(name, fields[2:])
		case "learnt":
			err = c.learnt(name, set)
		case "apiserver":
			err = c.apiServer(set)
		default:
			err = fmt.Errorf("unknown kind %q", fields[0])
		}
		if err != nil {
			return nil, fmt.Errorf("cluster line %q: %w", line, err)
		}
	}
	return c, nil
}

// settings reads "key=value" words; a word without "=" is set to "true".
func settings(words []string) (map[string]string, error) {
	out := map[string]string{}
	for i, w := range words {
		key, value, ok := strings.Cut(w, "=")
		if !ok {
			if i == 0 {
				continue // the name
			}
			value = "true"
		}
		if _, twice := out[key]; twice {
			return nil, fmt.Errorf("%s is there twice", key)
		}
		out[key] = value
	}
	return out, nil
}

func labelsOf(text string) map[string]string {
	out := map[string]string{}
	for _, pair := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' }) {
		key, value, _ := strings.Cut(pair, "=")
		out[key] = value
	}
	return out
}

func (c *cluster) node(name string, set map[string]string) error {
	n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labelsOf(set["labels"])}}
	for _, ip := range strings.Split(set["ip"], ",") {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	if set["podcidr"] != "" {
		n.Spec.PodCIDRs = strings.Split(set["podcidr"], ",")
	}
	c.objects.Nodes = append(c.objects.Nodes, n)
	c.nodeOf["node:"+name] = name
	return c.name("node:"+name, strings.Split(set["ip"], ",")[0])
}

func (c *cluster) pod(key string, set map[string]string) error {
	namespace, name, ok := strings.Cut(key, "/")
	if !ok {
		return fmt.Errorf("a pod is namespace/name")
	}
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(key), Labels: labelsOf(set["labels"])}}
	p.Spec.NodeName = set["node"]
	p.Spec.ServiceAccountName = set["sa"]
	p.Spec.HostNetwork = set["hostnetwork"] != ""
	p.Status.Phase = corev1.PodRunning
	ips := strings.Split(set["ip"], ",")
	if p.Spec.HostNetwork {
		ips = []string{c.addrs["node:"+set["node"]].String()}
	}
	for _, ip := range ips {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	p.Status.PodIP = ips[0]
	var container corev1.Container
	for _, text := range strings.FieldsFunc(set["ports"], func(r rune) bool { return r == ',' }) {
		name, port, ok := strings.Cut(text, ":")
		if !ok {
			return fmt.Errorf("a port is name:number or name:number/protocol")
		}
		number, protocol, err := portOf(port)
		if err != nil {
			return err
		}
		container.Ports = append(container.Ports, corev1.ContainerPort{Name: name, ContainerPort: number, Protocol: protocol})
	}
	p.Spec.Containers = []corev1.Container{container}
	c.objects.Pods = append(c.objects.Pods, p)
	c.nodeOf[key] = set["node"]
	return c.name(key, ips[0])
}

func (c *cluster) service(key string, set map[string]string) error {
	namespace, name, _ := strings.Cut(key, "/")
	meta := metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labelsOf(set["labels"])}
	svc := corev1.Service{ObjectMeta: meta}
	svc.Spec.ClusterIP = set["ip"]
	svc.Spec.ClusterIPs = []string{set["ip"]}
	meta.Labels = map[string]string{discoveryv1.LabelServiceName: name}
	slice := discoveryv1.EndpointSlice{ObjectMeta: meta, AddressType: discoveryv1.AddressTypeIPv4}
	for _, text := range strings.FieldsFunc(set["ports"], func(r rune) bool { return r == ',' }) {
		portName, rest, ok := strings.Cut(text, ":")
		from, to, arrow := strings.Cut(rest, "->")
		if !ok || !arrow {
			return fmt.Errorf("a service's port is name:number->number")
		}
		port, _, err := portOf(from)
		if err != nil {
			return err
		}
		target, protocol, err := portOf(to)
		if err != nil {
			return err
		}
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: portName, Port: port, Protocol: protocol})
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &portName, Port: &target, Protocol: &protocol})
	}
	for _, b := range strings.FieldsFunc(set["backends"], func(r rune) bool { return r == ',' }) {
		addr, err := c.addr(b)
		if err != nil {
			return err
		}
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{addr.String()}})
	}
	c.objects.Services = append(c.objects.Services, svc)
	c.objects.EndpointSlices = append(c.objects.EndpointSlices, slice)
	if set["ip"] == corev1.ClusterIPNone {
		return nil
	}
	return c.name("service:"+key, set["ip"])
}

// secret makes a Secret of key=value words; certificate=name,name makes tls.crt, tls.key and ca.crt.
func (c *cluster) secret(key string, words []string) error {
	namespace, name, ok := strings.Cut(key, "/")
	if !ok {
		return fmt.Errorf("a secret is namespace/name")
	}
	s := corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string][]byte{}}
	for _, w := range words {
		entry, value, _ := strings.Cut(w, "=")
		if entry != "certificate" {
			s.Data[entry] = []byte(value)
			continue
		}
		cert, private, err := selfSigned(strings.Split(value, ",")...)
		if err != nil {
			return err
		}
		s.Data["tls.crt"], s.Data["tls.key"], s.Data["ca.crt"] = cert, private, cert
	}
	c.objects.Secrets = append(c.objects.Secrets, s)
	return nil
}

// apiServer makes the service default/kubernetes; its backends are nodes or addresses.
func (c *cluster) apiServer(set map[string]string) error {
	set["ports"] = "https:443->6443"
	return c.service("default/kubernetes", set)
}

func (c *cluster) name(name, ip string) error {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return fmt.Errorf("address of %s: %w", name, err)
	}
	c.addrs[name] = addr
	return nil
}

// addr returns the address of a pod, "node:<name>", "service:<key>" or the address itself.
func (c *cluster) addr(name string) (netip.Addr, error) {
	if a, ok := c.addrs[name]; ok {
		return a, nil
	}
	a, err := netip.ParseAddr(name)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("nothing is called %q", name)
	}
	return a, nil
}

func portOf(text string) (int32, corev1.Protocol, error) {
	number, protocol, ok := strings.Cut(text, "/")
	if !ok {
		protocol = "tcp"
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return 0, "", fmt.Errorf("read port: %w", err)
	}
	return int32(n), corev1.Protocol(strings.ToUpper(protocol)), nil
}
