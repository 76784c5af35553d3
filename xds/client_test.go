package xds

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
)

func samePolicy(t *testing.T, want, got policy.NodePolicy) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("another policy (-want +got):\n%s", diff)
	}
}

func edited(np policy.NodePolicy, path string) policy.NodePolicy {
	np.Classes[0].HTTP[0].Path.Value = path
	return np
}

func TestAChangeSendsOnlyWhatDiffers(t *testing.T) {
	o := newOperator(t)
	c, _ := run(t, o.config("node1"))
	o.eventually(t, "the node is connected", func() bool { return o.connected["node1"] == 1 })
	select {
	case <-c.Updates():
		t.Fatal("an update before anything was published")
	case <-time.After(100 * time.Millisecond):
	}
	o.publish(samplePolicy("node1"))
	samePolicy(t, samplePolicy("node1"), next(t, c).NodePolicy)

	o.publish(edited(samplePolicy("node1"), "/other"))
	update := next(t, c)
	samePolicy(t, edited(samplePolicy("node1"), "/other"), update.NodePolicy)
	node, cluster := resources(t, edited(samplePolicy("node1"), "/other"))
	if update.NodeVersion != node[CheckpointName].GetCheckpoint().GetVersion() || update.ClusterVersion != cluster[CheckpointName].GetCheckpoint().GetVersion() {
		t.Error("the versions are not the checkpoints'")
	}
	o.publish(edited(samplePolicy("node1"), "/other")) // nothing new
	o.with(func() {
		if diff := cmp.Diff(map[string][]int{"node1 " + NodeType: {8, 2}, "node1 " + ClusterType: {7}}, o.pushed); diff != "" {
			t.Errorf("other responses (-want +got):\n%s", diff)
		}
	})
}

func TestReconnectResendsNothing(t *testing.T) {
	o := newOperator(t)
	o.publish(samplePolicy("node1"))
	c, _ := run(t, o.config("node1"))
	next(t, c)
	o.stop()
	o.eventually(t, "the node is away", func() bool { return o.connected["node1"] == 0 })
	o.with(func() { o.pushed = map[string][]int{} })
	o.start()
	o.publish(samplePolicy("node1"))
	o.eventually(t, "the node is back", func() bool { return len(o.pushed) == 2 })
	o.with(func() {
		if diff := cmp.Diff(map[string][]int{"node1 " + NodeType: {0}, "node1 " + ClusterType: {0}}, o.pushed); diff != "" {
			t.Errorf("something was sent again (-want +got):\n%s", diff)
		}
	})
	o.publish(edited(samplePolicy("node1"), "/new"))
	samePolicy(t, edited(samplePolicy("node1"), "/new"), next(t, c).NodePolicy)
}

func TestRestartWithoutTheOperator(t *testing.T) {
	o := newOperator(t)
	o.publish(samplePolicy("node1"))
	config := o.config("node1")
	c, stop := run(t, config)
	if err := SaveState(config.StateDir, next(t, c).State); err != nil {
		t.Fatal(err)
	}
	stop()
	o.stop()
	o.with(func() { o.pushed = map[string][]int{} })
	for _, file := range []string{resourcesPath(config), filepath.Join(config.StateDir, identityFile)} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", file, info.Mode(), err)
		}
	}
	// The token is gone, too: the certificate on disk is enough.
	if err := os.Remove(config.TokenFile); err != nil {
		t.Fatal(err)
	}
	var err error
	if config.State, err = LoadState(config.StateDir); err != nil {
		t.Fatal(err)
	}
	c, _ = run(t, config)
	samePolicy(t, samplePolicy("node1"), next(t, c).NodePolicy)
	o.start()
	o.publish(samplePolicy("node1"))
	o.eventually(t, "the node is in step", func() bool { return len(o.pushed) == 2 })
	o.with(func() {
		if diff := cmp.Diff(map[string][]int{"node1 " + NodeType: {0}, "node1 " + ClusterType: {0}}, o.pushed); diff != "" {
			t.Errorf("something was sent again (-want +got):\n%s", diff)
		}
	})
}

func resourcesPath(c ClientConfig) string { return filepath.Join(c.StateDir, stateFile) }

func TestLoadStateRefusesDamage(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadState(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing saved: %v", err)
	}
	node, cluster := resources(t, samplePolicy("node1"))
	v := view{name: "node1"}
	wires := func(set map[string]*septumpb.NodeResource) map[string][]byte {
		out := map[string][]byte{}
		for name, m := range set {
			out[name], _ = marshal(m)
		}
		return out
	}
	clusterWires := map[string][]byte{}
	for name, m := range cluster {
		clusterWires[name], _ = marshal(m)
	}
	n, errNode := restore(wires(node), emptyNode)
	c, errCluster := restore(clusterWires, emptyCluster)
	if err := errors.Join(errNode, errCluster, v.setNode(n), v.setCluster(c)); err != nil {
		t.Fatal(err)
	}
	update, _ := v.update()
	if err := SaveState(dir, update.State); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	if s, err := LoadState(dir); err != nil {
		t.Fatal(err)
	} else if u, err := s.Update(); err != nil {
		t.Fatal(err)
	} else {
		samePolicy(t, samplePolicy("node1"), u.NodePolicy)
	}
	for name, bad := range map[string][]byte{
		"empty": {}, "cut off": good[:len(good)-1], "a bit": append(good[:40:40], append([]byte{good[40] ^ 1}, good[41:]...)...),
	} {
		if err := os.WriteFile(filepath.Join(dir, stateFile), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadState(dir); err == nil {
			t.Errorf("%s: was loaded", name)
		}
	}
}

func TestARefusedChangeKeepsTheLastGood(t *testing.T) {
	o := newOperator(t)
	o.publish(samplePolicy("node1"))
	c, _ := run(t, o.config("node1"))
	next(t, c)

	bad := samplePolicy("node1")
	bad.Classes = nil // the table still names the class
	o.publish(bad)
	o.eventually(t, "the refusal", func() bool {
		return len(o.refused["node1"]) == 1 && strings.Contains(o.refused["node1"][0].Error(), "no such class")
	})
	// A change of the cluster's resources still comes through, with the last good tables.
	bad.Addresses = bad.Addresses[:3]
	o.publish(bad)
	want := samplePolicy("node1")
	want.Addresses = want.Addresses[:3]
	samePolicy(t, want, next(t, c).NodePolicy)

	o.publish(edited(samplePolicy("node1"), "/fixed"))
	for update := next(t, c); ; update = next(t, c) {
		if len(update.NodePolicy.Addresses) == 4 && update.NodePolicy.Classes[0].HTTP[0].Path.Value == "/fixed" {
			break
		}
	}
}

func TestReports(t *testing.T) {
	o := newOperator(t)
	o.publish(samplePolicy("node1"))
	c, stop := run(t, o.config("node1"))
	c.Report(&septumpb.NodeReport{NodeVersion: "one"})
	o.eventually(t, "the first report", func() bool { return len(o.reports["node1"]) > 0 && o.reports["node1"][0].NodeVersion == "one" })
	for range 50 {
		c.Report(&septumpb.NodeReport{NodeVersion: "many"})
	}
	c.Report(&septumpb.NodeReport{NodeVersion: "last"})
	last := func() bool {
		all := o.reports["node1"]
		return len(all) > 0 && all[len(all)-1].NodeVersion == "last"
	}
	o.eventually(t, "the last report", last)
	o.stop()
	o.with(func() {
		if n := len(o.reports["node1"]); n > 20 {
			t.Errorf("%d reports were sent for 52 that were made", n)
		}
		o.reports = map[string][]*septumpb.NodeReport{}
	})
	o.start()
	o.publish(samplePolicy("node1"))
	o.eventually(t, "the last report again, after a new connection", last)
	stop()
	o.eventually(t, "silence", func() bool { return o.silent["node1"] > 0 && o.connected["node1"] == 0 })
}

func TestANewCAGetsANewCertificate(t *testing.T) {
	o := newOperator(t)
	o.publish(samplePolicy("node1"))
	config := o.config("node1")
	c, stop := run(t, config)
	next(t, c)
	stop()
	old := c.identity.pair.Leaf
	o.stop()
	var err error
	if o.ca, err = NewCA(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config.RootsFile, o.ca.Bundle(), 0o600); err != nil {
		t.Fatal(err)
	}
	o.start()
	o.publish(samplePolicy("node1"))
	c, stop = run(t, config)
	next(t, c)
	stop()
	if c.identity.pair.Leaf.Equal(old) {
		t.Error("the certificate is still the old CA's")
	}
}

// TestARefusedCertificateIsReplaced: the client sees nothing wrong with its certificate,
// whose CA is still in its own bundle.
func TestARefusedCertificateIsReplaced(t *testing.T) {
	o := newOperator(t)
	o.publish(samplePolicy("node1"))
	config := o.config("node1")
	next, err := NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config.RootsFile, append(o.ca.Bundle(), next.Bundle()...), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, config)
	o.eventually(t, "the node is connected", func() bool { return o.connected["node1"] == 1 })
	o.stop()
	o.ca = next
	o.start()
	o.publish(samplePolicy("node1"))
	o.eventually(t, "the node is back with a new certificate", func() bool { return o.connected["node1"] == 1 })
}

func TestARemovedNodeIsCutOff(t *testing.T) {
	o := newOperator(t)
	o.publish(samplePolicy("node1"), samplePolicy("node2"))
	c, _ := run(t, o.config("node1"))
	next(t, c)
	o.publish(samplePolicy("node2"))
	o.eventually(t, "the node is cut off", func() bool { return o.connected["node1"] == 0 })
	select {
	case <-c.Updates():
		t.Error("being cut off changed what is enforced")
	case <-time.After(300 * time.Millisecond):
	}
}
