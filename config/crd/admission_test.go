package crd_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types/ref"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"
)

// TestExpressions evaluates the admission policy for Cilium's expressions as the API
// server does, on objects with good and bad ones.
func TestExpressions(t *testing.T) {
	vap := admissionPolicy(t, "admission/cilium-expressions.yaml")
	rule := func(http string) string {
		return "{endpointSelector: {}, ingress: [{}, {toPorts: [{ports: [{port: '80'}]}, {ports: [{port: '80', protocol: TCP}], rules: {http: [{}, " + http + "]}}]}]}"
	}
	for _, tc := range []struct{ name, object, old, want string }{
		{name: "good", object: "spec: " + rule(`{path: "/a/.*", method: "GET|POST", host: "a.b"}`)},
		{name: "path", object: "spec: " + rule(`{path: "/a(b"}`), want: "missing closing ): `/a(b`"},
		{name: "method in specs", object: "specs: [" + rule(`{method: "(?=G)"}`) + "]", want: "invalid or unsupported Perl syntax: `(?=`"},
		{name: "host on egress", object: "spec: " + strings.Replace(rule(`{host: "[z-a]"}`), "ingress", "egress", 1), want: "invalid character class range: `z-a`"},
		{name: "no rules", object: "spec: {endpointSelector: {}, ingressDeny: [{toPorts: [{ports: [{port: '1'}]}]}]}"},
		{name: "unchanged", object: "spec: " + rule(`{path: "("}`), old: "spec: " + rule(`{path: "("}`)},
		{name: "changed", object: "spec: " + rule(`{path: "("}`), old: "spec: " + rule(`{path: "(a"}`), want: "missing closing )"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := evaluate(t, vap, object(t, tc.object), object(t, tc.old))
			if tc.want == "" && got != "" || !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func admissionPolicy(t *testing.T, file string) admissionv1.ValidatingAdmissionPolicy {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	docs := bytes.Split(data, []byte("\n---\n"))
	var vap admissionv1.ValidatingAdmissionPolicy
	var binding admissionv1.ValidatingAdmissionPolicyBinding
	if err := yaml.UnmarshalStrict(docs[0], &vap); err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(docs[1], &binding); err != nil {
		t.Fatal(err)
	}
	if binding.Spec.PolicyName != vap.Name {
		t.Fatalf("the binding is for %q, the policy is %q", binding.Spec.PolicyName, vap.Name)
	}
	return vap
}

// evaluate returns why an object is refused; "" if it is admitted.
func evaluate(t *testing.T, vap admissionv1.ValidatingAdmissionPolicy, object, old any) string {
	t.Helper()
	set, err := environment.MustBaseEnvSet(version.MajorMinor(1, 30)).Extend(environment.VersionedOptions{
		IntroducedVersion: version.MajorMinor(1, 0),
		EnvOptions:        []cel.EnvOption{cel.Variable("object", cel.DynType), cel.Variable("oldObject", cel.DynType), cel.Variable("variables", cel.DynType)},
	})
	if err != nil {
		t.Fatal(err)
	}
	variables := map[string]any{}
	run := func(expression string) (ref.Val, error) {
		ast, issues := set.NewExpressionsEnv().Compile(expression)
		if issues.Err() != nil {
			t.Fatalf("%s: %v", expression, issues.Err())
		}
		program, err := set.NewExpressionsEnv().Program(ast)
		if err != nil {
			t.Fatalf("%s: %v", expression, err)
		}
		out, _, err := program.Eval(map[string]any{"object": object, "oldObject": old, "variables": variables})
		return out, err
	}
	for _, c := range vap.Spec.MatchConditions {
		if out, err := run(c.Expression); err != nil {
			return err.Error()
		} else if out.Value() != true {
			return ""
		}
	}
	for _, v := range vap.Spec.Variables {
		out, err := run(v.Expression)
		if err != nil {
			return err.Error()
		}
		variables[v.Name] = out
	}
	for _, v := range vap.Spec.Validations {
		if out, err := run(v.Expression); err != nil {
			return err.Error()
		} else if out.Value() != true {
			return v.Message
		}
	}
	return ""
}

func object(t *testing.T, text string) any {
	t.Helper()
	if text == "" {
		return nil
	}
	data, err := yaml.YAMLToJSONStrict([]byte("metadata: {name: a}\n" + text))
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
