package crd_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"
)

// admissionPolicy is a ValidatingAdmissionPolicy as the API server runs it.
type admissionPolicy struct {
	resources []string
	validator validating.Validator
}

// admissionPolicies reads the policies that the CRDs are installed with.
func admissionPolicies(t *testing.T) []admissionPolicy {
	t.Helper()
	files, err := filepath.Glob("admission/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no admission policies: %v", err)
	}
	var out []admissionPolicy
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var bound string
		for _, doc := range bytes.Split(data, []byte("---\n")) {
			switch {
			case bytes.Contains(doc, []byte("\nkind: ValidatingAdmissionPolicy\n")):
				var vap admissionv1.ValidatingAdmissionPolicy
				if err := yaml.UnmarshalStrict(doc, &vap); err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				bound = vap.Name
				out = append(out, compile(t, vap))
			case bytes.Contains(doc, []byte("\nkind: ValidatingAdmissionPolicyBinding\n")):
				var binding admissionv1.ValidatingAdmissionPolicyBinding
				if err := yaml.UnmarshalStrict(doc, &binding); err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				if binding.Spec.PolicyName != bound || binding.Spec.ValidationActions[0] != admissionv1.Deny {
					t.Errorf("%s: binding %s does not deny what policy %s refuses", file, binding.Name, bound)
				}
				bound = ""
			}
		}
		if bound != "" {
			t.Errorf("%s: no binding for policy %s", file, bound)
		}
	}
	return out
}

// compile compiles a policy as the API server does, for the oldest Kubernetes that has them.
func compile(t *testing.T, vap admissionv1.ValidatingAdmissionPolicy) admissionPolicy {
	t.Helper()
	compiler, err := plugincel.NewCompositedCompiler(environment.MustBaseEnvSet(version.MajorMinor(1, 30)))
	if err != nil {
		t.Fatal(err)
	}
	declared := plugincel.OptionalVariableDeclarations{}
	for _, v := range vap.Spec.Variables {
		if result := compiler.CompileAndStoreVariable(&validating.Variable{Name: v.Name, Expression: v.Expression}, declared, environment.NewExpressions); result.Error != nil {
			t.Fatalf("%s: %s: %v", vap.Name, v.Name, result.Error)
		}
	}
	var conditions, validations, messages []plugincel.ExpressionAccessor
	for _, c := range vap.Spec.MatchConditions {
		conditions = append(conditions, (*matchconditions.MatchCondition)(&c))
	}
	for _, v := range vap.Spec.Validations {
		validations = append(validations, &validating.ValidationCondition{Expression: v.Expression, Message: v.Message})
		var message plugincel.ExpressionAccessor
		if v.MessageExpression != "" {
			message = &validating.MessageExpressionCondition{MessageExpression: v.MessageExpression}
		}
		messages = append(messages, message)
	}
	evaluator := func(accessors []plugincel.ExpressionAccessor) plugincel.ConditionEvaluator {
		e := compiler.CompileCondition(accessors, declared, environment.NewExpressions)
		for _, err := range e.CompilationErrors() {
			t.Errorf("%s: %v", vap.Name, err)
		}
		return e
	}
	matcher := matchconditions.NewMatcher(evaluator(conditions), vap.Spec.FailurePolicy, "policy", "validate", vap.Name)
	return admissionPolicy{
		resources: vap.Spec.MatchConstraints.ResourceRules[0].Resources,
		validator: validating.NewValidator(evaluator(validations), matcher, evaluator(nil), evaluator(messages), vap.Spec.FailurePolicy, nil),
	}
}

// refusals returns why the admission policies refuse an object of a resource that was old,
// or nil, before.
func refusals(t *testing.T, policies []admissionPolicy, resource string, object, old map[string]any) []string {
	t.Helper()
	u := &unstructured.Unstructured{Object: object}
	gvk := u.GroupVersionKind()
	gvr := gvk.GroupVersion().WithResource(resource)
	operation := admission.Create
	versioned := &admission.VersionedAttributes{VersionedObject: admission.NewLazyObject(u), VersionedKind: gvk}
	if old != nil {
		operation = admission.Update
		versioned.VersionedOldObject = admission.NewLazyObject(&unstructured.Unstructured{Object: old})
	}
	versioned.Attributes = admission.NewAttributesRecord(u, nil, gvk, u.GetNamespace(), u.GetName(), gvr, "", operation, nil, false, nil)
	var out []string
	for _, p := range policies {
		if !slices.Contains(p.resources, resource) {
			continue
		}
		result := p.validator.Validate(context.Background(), gvr, versioned, nil, nil, celconfig.RuntimeCELCostBudget, nil)
		for _, d := range result.Decisions {
			if d.Action == validating.ActionDeny {
				out = append(out, d.Message)
			}
		}
	}
	return out
}

// TestAdmissionPolicies evaluates the admission policies for Cilium policies, which have one
// for expressions, on what the schema admits.
func TestAdmissionPolicies(t *testing.T) {
	policies := admissionPolicies(t)
	rule := func(http string) string {
		return "{endpointSelector: {}, ingress: [{}, {toPorts: [{ports: [{port: '80'}]}, {ports: [{port: '80', protocol: TCP}], rules: {http: [{}, " + http + "]}}]}]}"
	}
	for _, tc := range []struct{ name, object, old, want string }{
		{name: "good", object: "spec: " + rule(`{path: "/a/.*", method: "GET|POST", host: "a.b"}`)},
		{name: "path", object: "spec: " + rule(`{path: "/a(b"}`), want: "missing closing ): `/a(b`"},
		{name: "path is named", object: "spec: " + rule(`{path: "/a(b"}`), want: "spec.ingress[].toPorts[].rules.http[].path: Invalid value"},
		{name: "method in specs", object: "specs: [" + rule(`{method: "(?=G)"}`) + "]", want: "invalid or unsupported Perl syntax: `(?=`"},
		{name: "host on egress", object: "spec: " + strings.Replace(rule(`{host: "[z-a]"}`), "ingress", "egress", 1), want: "invalid character class range: `z-a`"},
		{name: "no rules", object: "spec: {endpointSelector: {}, ingressDeny: [{toPorts: [{ports: [{port: '1'}]}]}]}"},
		{name: "unchanged", object: "spec: " + rule(`{path: "("}`), old: "spec: " + rule(`{path: "("}`)},
		{name: "changed", object: "spec: " + rule(`{path: "("}`), old: "spec: " + rule(`{path: "(a"}`), want: "missing closing )"},
		{name: "unknown key", object: "spec: " + rule(`{metod: GET}`), want: `unknown field "spec.ingress[1].toPorts[1].rules.http[1].metod"`},
		{name: "unknown key in specs", object: "spec: " + rule(`{}`) + "\nspecs: [" + rule(`{}`) + ", " + rule(`{x: y}`) + "]", want: `unknown field "specs[1].ingress[1].toPorts[1].rules.http[1].x"`},
		{name: "unknown key in an element like another", object: "spec: {egress: [{toCIDRSet: [{cidr: 10.0.0.0/8}]}, {toCIDRSet: [{cidr: 10.0.0.0/8, excpt: []}]}, {toCIDRSet: [{cidr: 10.0.0.0/8, excpt: []}]}]}", want: `unknown field "spec.egress[1].toCIDRSet[0].excpt"`},
		{name: "unknown key of an object in a list", object: "spec: {ingress: [{authentication: {mod: required}}]}", want: `unknown field "spec.ingress[0].authentication.mod"`},
		{name: "unknown key of spec", object: "spec: {egres: []}", want: `unknown field "spec.egres"`},
		{name: "unknown key beside spec", object: "spec: {}\negress: []", want: `unknown field "egress"`},
		{name: "free keys", object: "spec: {endpointSelector: {matchLabels: {anything: x}}, ingress: [{fromEndpoints: [{matchLabels: {k8s:app: y}}]}]}"},
		{name: "stored before, labels change", object: "spec: {egres: []}\nfoo: 1", old: "spec: {egres: []}\nfoo: 1"},
		{name: "stored before, spec changes", object: "spec: {egres: [], ingress: []}", old: "spec: {egres: []}", want: `unknown field "spec.egres"`},
		{name: "going away", object: "spec: {egres: []}\nmetadata: {name: a, deletionTimestamp: '2026-01-01T00:00:00Z'}", old: "spec: {}"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var before map[string]any
			if tc.old != "" {
				before = object(t, tc.old)
			}
			got := refusals(t, policies, "ciliumnetworkpolicies", object(t, tc.object), before)
			if tc.want == "" && len(got) > 0 || !strings.Contains(strings.Join(got, "\n"), tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// TestManyRules holds that a large policy is within the API server's budgets for expressions,
// however its rules are spread, and that an unknown key in one is refused.
func TestManyRules(t *testing.T) {
	policies := admissionPolicies(t)
	const rules = 5000
	for _, perIngress := range []int{1, rules} {
		var ingress []any
		for range rules / perIngress {
			http := make([]any, perIngress)
			for i := range http {
				http[i] = map[string]any{
					"path": "/api/v1/products/.*", "method": "GET|HEAD", "host": "products.example", "headers": []any{"X-A: b"},
					"headerMatches": []any{map[string]any{"name": "X-B", "value": "c"}},
				}
			}
			ingress = append(ingress, map[string]any{
				"fromEndpoints": []any{map[string]any{"matchLabels": map[string]any{"app": "a"}}},
				"toPorts":       []any{map[string]any{"ports": []any{map[string]any{"port": "80", "protocol": "TCP"}}, "rules": map[string]any{"http": http}}},
			})
		}
		policy := object(t, "")
		policy["spec"] = map[string]any{"endpointSelector": map[string]any{}, "ingress": ingress}
		if got := refusals(t, policies, "ciliumnetworkpolicies", policy, nil); len(got) > 0 {
			t.Errorf("%d rules, %d in each ingress: %q", rules, perIngress, got)
		}
		if perIngress == 1 {
			continue
		}
		ingress[len(ingress)-1].(map[string]any)["fromEndpoint"] = []any{}
		got := refusals(t, policies, "ciliumnetworkpolicies", policy, nil)
		if !strings.Contains(strings.Join(got, "\n"), "unknown field") {
			t.Errorf("%d rules, %d in each ingress: the unknown key is not refused: %q", rules, perIngress, got)
		}
	}
}

// object is an object of Cilium's from its spec in YAML.
func object(t *testing.T, text string) map[string]any {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte("apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\n" + text))
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	if out["metadata"] == nil {
		out["metadata"] = map[string]any{"name": "a"}
	}
	return out
}
