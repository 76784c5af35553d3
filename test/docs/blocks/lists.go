package blocks

// Elsewhere are the commands that are not run from the pages, each with the reason or with what runs it.
func Elsewhere() map[string]string {
	return map[string]string{
		"make demo": "the cluster of the e2e tests is made, and shown at work, by the same script",
		"make test": "runs these tests",
		"make push REGISTRY=registry.example/septum TAG=v0.1.0":                     "wants a registry; the images themselves are built for these tests, by the same program",
		"hubble observe -n demo --verdict DROPPED --print-policy-names --since 10m": "wants the variables of docs/observability.md, which is run with the like of it",
		"gh attestation verify oci://registry.example/septum/septum-enforcer:v0.1.0 --repo septum-dev/septum --signer-workflow septum-dev/septum/.github/workflows/release.yml": "wants a release and the GitHub CLI",
		"gh attestation verify septum-0.1.0.tgz --repo septum-dev/septum --signer-workflow septum-dev/septum/.github/workflows/release.yml":                                     "wants a release and the GitHub CLI",
		"sha256sum --check SHA256SUMS":          "wants a release",
		"helm rollback septum -n septum-system": "TestUpgradeAndRollBack rolls the release back, under load",
	}
}

// Change is what differs in a command when a test runs it.
type Change struct{ Page, Old, New string }

// Changes are the least that lets a command end by itself, or run in a cluster that has Septum already.
func Changes() []Change {
	const (
		readme        = "README.md"
		install       = "docs/install.md"
		observability = "docs/observability.md"
		operations    = "docs/operations.md"
		plugin        = "docs/kubectl-septum.md"
		quickstart    = "docs/quickstart.md"
		tls           = "docs/tls.md"
	)
	const namespace = "kubectl create namespace septum-system"
	return []Change{
		// The release is installed already.
		{readme, "helm install septum", "helm template septum"},
		{install, "helm install septum", "helm template septum"},
		{quickstart, "helm install septum", "helm template septum"},
		{install, namespace, "kubectl create namespace septum-docs --dry-run=server"},
		{quickstart, namespace, "kubectl create namespace septum-docs --dry-run=server"},
		// TestUpgradeAndRollBack upgrades, under load; here is no image of that name.
		{operations, "helm upgrade septum", "helm upgrade septum --dry-run=server"},
		// A denial is exit status 1.
		{readme, "kubectl septum can-i demo/frontend-app post http://backend-app/data",
			"{ kubectl septum can-i demo/frontend-app post http://backend-app/data || [ $? -eq 1 ]; } | grep -x denied"},
		// What follows ends with the reader's Ctrl-C.
		{observability, "--follow", "--last 5"},
		// A test has no terminal; so it sees at least that the named programs are there.
		{quickstart, "-it toolbox -- bash", "toolbox -- bash -c 'type curl dig openssl grpcurl kcat wrk'"},
		{plugin, "/usr/local/bin/", `"$HOME/"`},
		{"docs/migration.md", "policies/", "config/samples/allow-get-data.yaml"},
		// The page's files are the reader's own, and its Secrets are not for the other tests.
		{tls, "-keyout ca.key -out ca.crt", `-keyout "$HOME/ca.key" -out "$HOME/ca.crt"`},
		{tls, "--cert=ca.crt --key=ca.key", `--cert="$HOME/ca.crt" --key="$HOME/ca.key" --dry-run=server`},
		{tls, "=servers.crt", `="$HOME/ca.crt" --dry-run=server`},
	}
}

// Shown are the texts, by their first lines, each with the test that sees them.
func Shown() map[string]string {
	return map[string]string{
		"Before the policy: everything answers":                                                                                                            "TestReadmeShowsTheDemo",
		"After it: frontend-app may look up api.example.com, and connect to what that leads to":                                                            "TestReadmeShowsTheDemo",
		"After it: shop may write to orders, billing may read them, and that is all":                                                                       "TestKafka",
		`ValidatingAdmissionPolicy 'septum-fields-ciliumnetworkpolicies' … denied request: unknown field "spec.ingress[0].toPorts[0].rules.http[0].metod"`: "TestRefusals",
		"error: error parsing config/samples/announcement-as-published.yaml: error converting YAML to JSON: yaml: line 22: did not find expected key":      "TestRefusals",
		`spec.ingress[0].toPorts[0].ports[0].port: Invalid value: "80”": spec.ingress[0].toPorts[0].ports[0].port in body should match …`:                  "TestRefusals",
		"septum-cni: pod demo/app-1 does not start, as its policy is not in force on this node: waited 10s for the enforcer":                               "the tests of enforcer/cni",
	}
}

// Sessions are the commands that a page shows with their output, each with the golden file of the plugin's tests that has it.
func Sessions() map[string]string {
	return map[string]string{
		"$ kubectl septum can-i demo/frontend post http://backend/data": "can-i-denied",
		"$ kubectl septum flows -n demo --verdict DROPPED --since 5m":   "flows-denied",
		"$ kubectl septum doctor":                                       "doctor-no-proxy",
	}
}

// Head is what stands around an example that is only a part of an object.
func Head(b Block) string {
	const cilium = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: example, namespace: demo}\nspec:\n  endpointSelector: {matchLabels: {app: backend-app}}\n"
	const native = "apiVersion: septum.dev/v1alpha1\nkind: L7NetworkPolicy\nmetadata: {name: example, namespace: demo}\nspec:\n  endpointSelector: {matchLabels: {app: backend-app}}\n"
	switch b.First() {
	case "ingress:":
		return cilium
	case "toPorts:":
		return cilium + "  egress:\n  - toEntities: [world]\n"
	case "tls:":
		return native + "  egress:\n  - to: [{entities: [world]}]\n    ports: [{protocol: TCP, port: 443}]\n"
	case "http:":
		return native + "  ingress:\n  - ports: [{protocol: TCP, port: 80}]\n"
	}
	return ""
}
