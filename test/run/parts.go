package main

import (
	"fmt"
	"slices"
)

// part is one thing to run.
type part struct {
	Name, About string
	// Command is run in the repository's root.
	Command []string
	// Packages, if set, are tested by "go test -json" with Flags; Command is empty then.
	Packages []string
	// Except are packages that Packages' patterns hold and another part tests.
	Except []string
	// Tags are the build tags of Packages.
	Tags  string
	Flags []string
	// Needs are the parts that must have succeeded before.
	Needs []string
	// Counts says that Command is a test of its own: one passed or one failed.
	Counts bool
	// Background is for long work that others should not wait for: it runs beside them, and yields to them.
	Background bool
}

// apart are the packages that are not among the unit tests, as they need the kernel, a cluster or helm.
func apart() []string {
	return []string{"./bpf/...", "./enforcer/...", "./xds/envoy/...", "./test/conformance/...", "./test/attack/...", "./test/bench/...", "./test/chart/...", "./test/flows/...", "./test/panels/...", "./test/e2e/...", "./test/cluster/..."}
}

// parts are all parts, in the order in which they are begun when nothing makes them wait.
func parts() []part {
	return []part{
		{Name: "deps", About: "Debian packages that are missing", Command: []string{"make", "--no-print-directory", "deps-test"}},
		{Name: "binaries", About: "Kubernetes, etcd, CoreDNS and helm, built once", Needs: []string{"deps"}, Background: true,
			Command: []string{"test/cluster/cluster", "binaries"}},
		{Name: "envoy", About: "the stock Envoy, fetched once", Needs: []string{"deps"},
			Command: []string{"xds/envoy/fetch-envoy.sh"}},
		{Name: "kafka", About: "a Kafka broker, fetched once", Needs: []string{"deps"}, Background: true,
			Command: []string{"enforcer/proxy/kafka/testdata/broker.sh"}},
		{Name: "prometheus", About: "Prometheus and promtool, unpacked once", Needs: []string{"deps"},
			Command: []string{"hack/prometheus.sh"}},
		{Name: "resolvers", About: "CoreDNS and dnsmasq, built and fetched once", Needs: []string{"deps"}, Background: true,
			Command: []string{"sh", "test/attack/resolvers.sh"}},
		{Name: "musl", About: "a program with musl's resolver, built once", Needs: []string{"deps"}, Background: true,
			Command: []string{"sh", "test/attack/musl.sh"}},
		{Name: "unit", About: "pure code, in every package that needs no kernel", Needs: []string{"deps", "prometheus"},
			Packages: []string{"./..."}, Except: apart(), Flags: []string{"-timeout=15m"}},
		{Name: "kernel", About: "BPF programs, network namespaces and a real Envoy on this kernel", Needs: []string{"deps", "envoy", "kafka", "prometheus", "resolvers", "musl"},
			Packages: []string{"./bpf/...", "./enforcer/...", "./xds/envoy/...", "./test/conformance/...", "./test/attack/...", "./test/bench/...", "./test/panels/..."}, Flags: []string{"-count=1", "-p=1", "-timeout=20m"}},
		{Name: "verify", About: "generated files are what their sources give", Needs: []string{"deps"}, Counts: true,
			Command: []string{"make", "--no-print-directory", "verify"}},
		{Name: "lint", About: "golangci-lint, with the import table", Needs: []string{"deps"}, Counts: true,
			Command: []string{"make", "--no-print-directory", "lint"}},
		{Name: "docs", About: "the documentation as a site, with every link in it", Needs: []string{"deps"}, Counts: true,
			Command: []string{"make", "--no-print-directory", "docs"}},
		{Name: "chart", About: "the Helm chart, with the real helm", Needs: []string{"binaries"},
			Packages: []string{"./test/chart/..."}, Flags: []string{"-count=1"}},
		{Name: "hubble", About: "the real Hubble CLI, built once", Needs: []string{"deps"}, Background: true,
			Command: []string{"test/hubble/build.sh"}},
		{Name: "hubble-relay", About: "the real Hubble Relay, built once", Needs: []string{"hubble"}, Background: true,
			Command: []string{"test/hubble/build.sh", "hubble-relay"}},
		{Name: "flows", About: "the enforcer's flows, read by the real Hubble CLI", Needs: []string{"hubble", "hubble-relay"},
			Packages: []string{"./test/flows/..."}, Flags: []string{"-count=1"}},
		{Name: "images", About: "the container images", Needs: []string{"envoy", "unit"},
			Command: []string{"make", "--no-print-directory", "images"}},
		{Name: "e2e", About: "Septum on a real two-node cluster", Needs: []string{"binaries", "images", "hubble", "kafka", "kernel", "lint", "verify", "chart"},
			Packages: []string{"./test/e2e/..."}, Tags: "e2e", Flags: []string{"-count=1", "-timeout=40m", "-v"}},
	}
}

// choose are the named parts and all that they need; without names, all parts.
func choose(all []part, names []string) ([]part, error) {
	if len(names) == 0 {
		return all, nil
	}
	wanted := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		i := slices.IndexFunc(all, func(p part) bool { return p.Name == name })
		if i < 0 {
			return fmt.Errorf("there is no part %q; -list prints them", name)
		}
		wanted[name] = true
		for _, need := range all[i].Needs {
			// The order of kernel, lint and chart before e2e only keeps it from sharing the machine.
			if isTest(all, need) {
				continue
			}
			if err := add(need); err != nil {
				return err
			}
		}
		return nil
	}
	for _, name := range names {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(p part) bool { return !wanted[p.Name] }), nil
}

// isTest is true for a part whose outcome is counted; others only prepare something.
func isTest(all []part, name string) bool {
	i := slices.IndexFunc(all, func(p part) bool { return p.Name == name })
	return i >= 0 && (all[i].Counts || len(all[i].Packages) > 0)
}
