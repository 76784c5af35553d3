package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// notice stands above the admission policies of a directory of CRDs.
const notice = `# Made by api/internal/crdpatch from the CRDs: make generate
# Refuses policies with keys that the API does not know. The CRDs keep such keys, so that
# they are seen whatever the client asks the API server to validate; dropped, they would
# leave a policy that allows more than its author wrote.
`

// pieces is how deep below a property of spec validations are split: as far as the rules of
// spec.ingress[].toPorts[], so that thousands of any of them are within the budget of each.
const pieces = 2

// admission is a ValidatingAdmissionPolicy for a CRD, with its binding, as YAML. The
// properties of the schema, of spec, and of every object below it are what is known. Each
// property of spec has a validation of its own, since each has a budget of its own.
func admission(crd apiextensionsv1.CustomResourceDefinition, schema map[string]any) ([]byte, error) {
	root, spec, err := rootAndSpec(schema)
	if err != nil {
		return nil, err
	}
	o, err := objectOf(spec)
	if err != nil {
		return nil, err
	}
	spec0, at := element(0), "variables.paths[variables.specs.indexOf("+element(0)+")]"
	validations := []admissionv1.Validation{
		validation(onlyKnown("dyn(object)", root), unknown("dyn(object)", root), "beside spec"),
		validationOfSpecs(onlyKnown(spec0, o.known), at+" + '.' + "+unknown(spec0, o.known), "in spec"),
	}
	for _, c := range o.children {
		for _, part := range c.parts(pieces) {
			validations = append(validations, validationOfSpecs(part.good(spec0, 0), part.first(spec0, at, 0), "in "+part.path("spec")))
		}
	}
	fail, name := admissionv1.Fail, "septum-fields-"+crd.Spec.Names.Plural
	policy := admissionv1.ValidatingAdmissionPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingAdmissionPolicy"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			FailurePolicy:    &fail,
			MatchConstraints: matching(crd),
			MatchConditions: []admissionv1.MatchCondition{{
				// A policy that is going away, and one whose rules do not change, are let be.
				Name: "rules-change",
				Expression: "!has(object.metadata.deletionTimestamp) && (oldObject == null" +
					" || dyn(object).exists(k, !(k in dyn(oldObject)) || (k in ['spec', 'specs'] && dyn(object)[k] != dyn(oldObject)[k])))",
			}},
			Variables: []admissionv1.Variable{
				{Name: "specs", Expression: specs(root, "[dyn(object.spec)]", "dyn(object.specs)")},
				// Where each of them stands.
				{Name: "paths", Expression: specs(root, "['spec']", "dyn(object.specs).map(s, 'specs[' + string(dyn(object.specs).indexOf(s)) + ']')")},
			},
			Validations: validations,
		},
	}
	binding := admissionv1.ValidatingAdmissionPolicyBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: policy.APIVersion, Kind: "ValidatingAdmissionPolicyBinding"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		},
	}
	return documents(policy, binding)
}

// rootAndSpec returns the keys of the object itself and the schema of its spec. Where there
// are specs, they have the same schema.
func rootAndSpec(schema map[string]any) ([]string, map[string]any, error) {
	properties, _ := schema["properties"].(map[string]any)
	spec, ok := properties["spec"].(map[string]any)
	if !ok {
		return nil, nil, fmt.Errorf("no spec")
	}
	return slices.Sorted(maps.Keys(properties)), spec, nil
}

// specs is an expression: one for spec and others for specs, as a list, for what the object has.
func specs(root []string, one, others string) string {
	out := "(has(object.spec) ? " + one + " : [])"
	if slices.Contains(root, "specs") {
		out += " + (has(object.specs) ? " + others + " : [])"
	}
	return out
}

// validation refuses an object that is not good. first is an expression for the path of an
// unknown key; where is said should it fail.
func validation(good, first, where string) admissionv1.Validation {
	return admissionv1.Validation{
		Expression: good,
		// It is evaluated for good objects too, and then has nothing to say.
		MessageExpression: fmt.Sprintf(`%s ? '' : 'unknown field "' + %s + '"'`, good, first),
		Message:           "unknown field " + where,
	}
}

// validationOfSpecs is a validation of each of the specs, which the expressions know as the
// element of depth 0.
func validationOfSpecs(good, first, where string) admissionv1.Validation {
	all := fmt.Sprintf("variables.specs.all(%s, %s)", element(0), good)
	one := fmt.Sprintf("[variables.specs.filter(%s, !(%s))[0]].map(%s, %s)[0]", element(0), good, element(0), first)
	return validation(all, one, where)
}

func matching(crd apiextensionsv1.CustomResourceDefinition) *admissionv1.MatchResources {
	rule := admissionv1.Rule{APIGroups: []string{crd.Spec.Group}, Resources: []string{crd.Spec.Names.Plural}}
	for _, version := range crd.Spec.Versions {
		rule.APIVersions = append(rule.APIVersions, version.Name)
	}
	return &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{
		RuleWithOperations: admissionv1.RuleWithOperations{
			Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update}, Rule: rule,
		},
	}}}
}

// documents writes objects as YAML, without the empty parts that their types add.
func documents(objects ...any) ([]byte, error) {
	var out bytes.Buffer
	for _, object := range objects {
		data, err := yaml.Marshal(object)
		if err != nil {
			return nil, err
		}
		var plain map[string]any
		if err := yaml.Unmarshal(data, &plain); err != nil {
			return nil, err
		}
		delete(plain, "status")
		if data, err = yaml.Marshal(plain); err != nil {
			return nil, err
		}
		out.WriteString("---\n")
		out.Write(data)
	}
	return out.Bytes(), nil
}
