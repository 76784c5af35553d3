package ingest

import (
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	ciliumv2 "github.com/septum-dev/septum/api/cilium/v2"
	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/draw"
)

// kind is a policy kind and the type that it is read into.
type kind struct {
	apiVersion, name, namespace string
	of                          reflect.Type
}

func policyKinds() []kind {
	return []kind{
		{"septum.dev/v1alpha1", "L7NetworkPolicy", "demo", reflect.TypeFor[v1alpha1.L7NetworkPolicy]()},
		{"septum.dev/v1alpha1", "ClusterL7NetworkPolicy", "", reflect.TypeFor[v1alpha1.ClusterL7NetworkPolicy]()},
		{"cilium.io/v2", "CiliumNetworkPolicy", "demo", reflect.TypeFor[ciliumv2.CiliumNetworkPolicy]()},
		{"cilium.io/v2", "CiliumClusterwideNetworkPolicy", "", reflect.TypeFor[ciliumv2.CiliumClusterwideNetworkPolicy]()},
	}
}

// hostile draws objects that have the shape of a policy in most places, and any other in some.
type hostile struct{ *draw.Draw }

func (h hostile) object() map[string]any {
	k := policyKinds()[h.N(4)]
	metadata := map[string]any{"name": "p"}
	if k.namespace != "" {
		metadata["namespace"] = k.namespace
	}
	out := map[string]any{"apiVersion": k.apiVersion, "kind": k.name, "metadata": metadata}
	for i := range k.of.NumField() {
		// The status is the operator's, and is not read.
		if name, _, _ := strings.Cut(k.of.Field(i).Tag.Get("json"), ","); name == "spec" || name == "specs" {
			if v := h.value(k.of.Field(i).Type, 12); v != nil && (name == "spec" || h.N(4) == 1) {
				out[name] = v
			}
		}
	}
	return out
}

// value draws a value of a type, depth deep; once in a while something else.
func (h hostile) value(t reflect.Type, depth int) any {
	if h.N(24) == 23 || depth == 0 {
		return draw.Pick[any](h.Draw, nil, int64(-1), int64(1<<40), true, "x", []any{}, map[string]any{}, []any{nil}, map[string]any{"x": nil}, 1.5)
	}
	switch t.Kind() {
	case reflect.Pointer:
		return h.value(t.Elem(), depth)
	case reflect.Struct:
		return h.fields(t, depth)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 { // raw JSON
			return h.value(reflect.TypeFor[string](), depth)
		}
		list := []any{}
		for range h.N(4) {
			list = append(list, h.value(t.Elem(), depth-1))
		}
		return list
	case reflect.Map:
		out := map[string]any{}
		for range h.N(3) {
			out[h.word()] = h.value(t.Elem(), depth-1)
		}
		return out
	case reflect.Bool:
		return h.N(2) == 1
	case reflect.String:
		return h.word()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return draw.Pick[any](h.Draw, int64(80), int64(0), int64(8080), int64(65535), int64(65536), int64(-1), int64(8))
	}
	return h.word()
}

func (h hostile) fields(t reflect.Type, depth int) map[string]any {
	out := map[string]any{}
	if t.NumField() == 0 {
		return out
	}
	// A few of the fields: what has all of them is refused before much of it is read.
	for range 1 + h.N(4) {
		f := t.Field(h.N(t.NumField()))
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "" && strings.Contains(options, "inline") && f.Type.Kind() == reflect.Struct:
			maps.Copy(out, h.fields(f.Type, depth-1))
		case name != "" && name != "-":
			out[name] = h.value(f.Type, depth-1)
		}
	}
	if h.N(32) == 31 {
		out["zzz"] = h.word()
	}
	return out
}

// word draws a string that some field takes, or that none should.
func (h hostile) word() string {
	return draw.Pick(h.Draw, "", "app", "backend-app", "k8s:app", "any:app", "k8s:io.kubernetes.pod.namespace", "io.cilium.k8s.policy.serviceaccount", "reserved:host", "demo", "other",
		"80", "0", "65536", "-1", "http", "“80”", "TCP", "UDP", "ANY", "ICMP", "SCTP", "tcp", "IPv4", "IPv6", "EchoRequest",
		"10.0.0.0/8", "0.0.0.0/0", "::/0", "10.1.0.0/16", "10.0.0.1", "10.0.0.0/33", "fe80::/10%eth0",
		"all", "world", "cluster", "host", "remote-node", "kube-apiserver", "none", "init", "In", "NotIn", "Exists", "DoesNotExist",
		"Allow", "Deny", "Audit", "Enforce", "Exact", "Prefix", "GET", "GET|POST", "/data", "/data/.*", "(", "(?i)a", "[a-z]{1000}", strings.Repeat("(a|b)", 200), "^$", ".*", "\\C",
		"X-Token", "X-Token: v", "X:v", ":path", "LOG", "ADD", "DELETE", "REPLACE", "produce", "consume", "*.example.com", "**.a", "example.com.", "shop.Cart",
		"\x00", "a\r\nb", strings.Repeat("x", 5000), "a/b/c", "../..", "{{", "1s", "100")
}

// FuzzHostile draws policies of all four kinds, out of the types that they are read into.
func FuzzHostile(f *testing.F) {
	f.Add([]byte("a policy, drawn from these bytes"))
	f.Fuzz(func(t *testing.T, data []byte) {
		takeHostile(t, hostile{&draw.Draw{Data: data[:min(len(data), 2000)]}}.object())
	})
}

// TestHostileObjects is a few rounds of FuzzHostile, the same ones each time.
func TestHostileObjects(t *testing.T) {
	read := 0
	for seed := range 3000 {
		random := rand.New(rand.NewPCG(uint64(seed), 11))
		data := make([]byte, 400)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		s := takeHostile(t, hostile{&draw.Draw{Data: data}}.object())
		read += len(slices.DeleteFunc(s.Policies, func(p policy.Policy) bool { return len(p.Specs) == 0 }))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if read < 300 {
		t.Errorf("only %d of 3000 objects were read", read)
	}
	t.Logf("%d of 3000 objects were read", read)
}
