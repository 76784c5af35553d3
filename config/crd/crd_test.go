package crd_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/json"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the expected refusals")

// TestAdmission admits objects as the API server does: decode, prune, default, schema, CEL,
// admission policies.
// In each txtar file "good" objects are admitted, "bad" ones refused with the messages
// in the section of the same name ending in ".err".
func TestAdmission(t *testing.T) {
	servers := kinds(t)
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			out := &txtar.Archive{Comment: archive.Comment}
			for _, f := range archive.Files {
				if strings.HasSuffix(f.Name, ".err") {
					continue
				}
				out.Files = append(out.Files, f)
				got := admit(t, servers, f)
				if strings.HasPrefix(f.Name, "good") {
					if len(got) > 0 {
						t.Errorf("%s was refused:\n%s", f.Name, strings.Join(got, "\n"))
					}
					continue
				}
				if len(got) == 0 {
					t.Errorf("%s was admitted", f.Name)
				}
				errName := strings.TrimSuffix(f.Name, ".yaml") + ".err"
				text := strings.Join(got, "\n") + "\n"
				out.Files = append(out.Files, txtar.File{Name: errName, Data: []byte(text)})
				if diff := cmp.Diff(section(archive, errName), text); diff != "" && !*update {
					t.Errorf("%s: refusal (-want +got):\n%s", f.Name, diff)
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(out), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestSamples admits what the project tells its users to apply.
func TestSamples(t *testing.T) {
	servers := kinds(t)
	for _, name := range []string{"allow-get-data.yaml", "allow-get-data-native.yaml", "jwt.yaml", "inspect-issuer.yaml"} {
		data, err := os.ReadFile(filepath.Join("..", "samples", name))
		if err != nil {
			t.Fatal(err)
		}
		if got := admit(t, servers, txtar.File{Name: name, Data: data}); len(got) > 0 {
			t.Errorf("%s was refused:\n%s", name, strings.Join(got, "\n"))
		}
	}
	name := "announcement-as-published.yaml"
	data, err := os.ReadFile(filepath.Join("..", "samples", name))
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(admit(t, servers, txtar.File{Name: name, Data: data}), "\n")
	// The string that begins at the port ends at the next quote, on the line that is named.
	if !strings.Contains(got, "yaml: line 22:") {
		t.Errorf("%s: the refusal does not say where:\n%s", name, got)
	}
}

// server is what the API server keeps of one kind.
type server struct {
	resource   string
	policies   []admissionPolicy
	structural *schema.Structural
	schema     validation.SchemaValidator
	cel        *cel.Validator
}

// kinds reads every CRD, checks it as the API server would, and builds its validators.
func kinds(t *testing.T) map[string]server {
	t.Helper()
	out := map[string]server{}
	policies := admissionPolicies(t)
	for _, dir := range []string{"bases", "cilium"} {
		files, err := filepath.Glob(dir + "/*.yaml")
		if err != nil || len(files) == 0 {
			t.Fatalf("no CRDs in %s: %v", dir, err)
		}
		for _, file := range files {
			kind, s := kind(t, file)
			s.policies = policies
			out[kind] = s
		}
	}
	return out
}

func kind(t *testing.T, file string) (string, server) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var v1 apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(data, &v1); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(&v1)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&v1.Spec)
	v1.Status.StoredVersions = []string{v1.Spec.Versions[0].Name}
	var crd apiextensions.CustomResourceDefinition
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&v1, &crd, nil); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if errs := crdvalidation.ValidateCustomResourceDefinition(context.Background(), &crd); len(errs) > 0 {
		t.Fatalf("%s: the API server would refuse the CRD: %v", file, errs.ToAggregate())
	}
	internal := crd.Spec.Validation
	if internal == nil {
		internal = crd.Spec.Versions[0].Schema
	}
	structural, err := schema.NewStructural(internal.OpenAPIV3Schema)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	sv, _, err := validation.NewSchemaValidator(internal.OpenAPIV3Schema)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return crd.Spec.Names.Kind, server{crd.Spec.Names.Plural, nil, structural, sv, cel.NewValidator(structural, true, celconfig.PerCallLimit)}
}

// admit returns the reasons to refuse an object, sorted.
func admit(t *testing.T, servers map[string]server, f txtar.File) []string {
	t.Helper()
	text, err := yaml.YAMLToJSONStrict(f.Data)
	if err != nil {
		return []string{fmt.Sprintf("error parsing: %v", err)}
	}
	var obj map[string]any
	if err := json.Unmarshal(text, &obj); err != nil { // with whole numbers as int64
		return []string{fmt.Sprintf("error parsing: %v", err)}
	}
	kind, _ := obj["kind"].(string)
	s, ok := servers[kind]
	if !ok {
		t.Fatalf("%s: no CRD for kind %q", f.Name, kind)
	}
	var out []string
	unknown := pruning.PruneWithOptions(obj, s.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	for _, path := range unknown {
		out = append(out, fmt.Sprintf("strict decoding error: unknown field %q", path))
	}
	defaulting.Default(obj, s.structural)
	errs := validation.ValidateCustomResource(nil, obj, s.schema)
	if len(errs) == 0 { // as the API server does: CEL sees objects of the right shape only
		celErrs, _ := s.cel.Validate(context.Background(), nil, s.structural, obj, nil, celconfig.RuntimeCELCostBudget)
		errs = append(errs, celErrs...)
	}
	for _, err := range errs {
		out = append(out, err.Error())
	}
	if len(out) == 0 {
		out = refusals(t, s.policies, s.resource, obj, nil)
	}
	slices.Sort(out)
	return out
}

func section(a *txtar.Archive, name string) string {
	for _, f := range a.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}
