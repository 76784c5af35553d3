package v1alpha1_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"

	ciliumv2 "github.com/septum-dev/septum/api/cilium/v2"
	"github.com/septum-dev/septum/api/v1alpha1"
)

func TestStatusName(t *testing.T) {
	long := strings.Repeat("a", 232) + "." + strings.Repeat("b", 20)
	seen := map[string]bool{}
	for _, tc := range []struct{ kind, name, want string }{
		{"CiliumNetworkPolicy", "allow-get-products", "cnp.allow-get-products"},
		{"CiliumClusterwideNetworkPolicy", "x", "ccnp.x"},
		{"L7NetworkPolicy", "x", "l7np.x"},
		{"ClusterL7NetworkPolicy", "x", "cl7np.x"},
		{"CiliumNetworkPolicy", long, ""},
		{"CiliumNetworkPolicy", long[:252] + "c", ""},
		{"CiliumNetworkPolicy", strings.Repeat("a", 249), "cnp." + strings.Repeat("a", 249)},
	} {
		got := v1alpha1.StatusName(tc.kind, tc.name)
		if tc.want != "" && got != tc.want {
			t.Errorf("%s %s: got %q, want %q", tc.kind, tc.name, got, tc.want)
		}
		if errs := validation.IsDNS1123Subdomain(got); len(errs) > 0 {
			t.Errorf("%s %s: %q is no object name: %v", tc.kind, tc.name, got, errs)
		}
		if seen[got] {
			t.Errorf("%q is the name for two policies", got)
		}
		seen[got] = true
	}
}

func TestAddToScheme(t *testing.T) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{v1alpha1.AddToScheme, ciliumv2.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []string{v1alpha1.KindL7NetworkPolicy, v1alpha1.KindClusterL7NetworkPolicy, v1alpha1.KindL7PolicyStatus} {
		if !s.Recognizes(v1alpha1.GroupVersion().WithKind(kind)) || !s.Recognizes(v1alpha1.GroupVersion().WithKind(kind+"List")) {
			t.Errorf("%s is not in the scheme", kind)
		}
	}
	for _, kind := range []string{ciliumv2.KindCiliumNetworkPolicy, ciliumv2.KindCiliumClusterwideNetworkPolicy} {
		if !s.Recognizes(ciliumv2.GroupVersion().WithKind(kind)) || !s.Recognizes(ciliumv2.GroupVersion().WithKind(kind+"List")) {
			t.Errorf("%s is not in the scheme", kind)
		}
	}
}
