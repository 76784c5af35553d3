package xds

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/septum-dev/septum/policy"
)

// TestSecretsStayOffDisk: a node's secrets come over the wire and are not in the state that
// it saves; what was saved is whole without them, and says by its version that they are missing.
func TestSecretsStayOffDisk(t *testing.T) {
	const value = "do-not-write-me"
	np := policy.NodePolicy{Node: "n1", Secrets: []policy.Secret{{ID: "header/demo/token", Value: policy.Hidden(value), Key: policy.Hidden(value)}}}
	if text := fmt.Sprintf("%v %+v %#v %s %x", np, np, np.Secrets[0].Value, np.Secrets[0].Value, np.Secrets[0].Key); strings.Contains(text, value) || strings.Contains(text, fmt.Sprintf("%x", value)) {
		t.Errorf("a secret is printed: %s", text)
	}
	resources, err := NodeResources(np)
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := ClusterResources(policy.NodePolicy{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Assemble("n1", resources, cluster)
	if err != nil || len(got.Secrets) != 1 || string(got.Secrets[0].Value) != value || string(got.Secrets[0].Key) != value {
		t.Fatalf("assembled %v, %v", got.Secrets, err)
	}
	wires, clusterWires := map[string][]byte{}, map[string][]byte{}
	for name, r := range resources {
		wires[name], _ = marshal(r)
	}
	for name, r := range cluster {
		clusterWires[name], _ = marshal(r)
	}
	dir := t.TempDir()
	if err := SaveState(dir, State{node: "n1", nodeSet: wires, clusterSet: clusterWires}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil || bytes.Contains(text, []byte(value)) || bytes.Contains(text, []byte("token")) {
		t.Errorf("the state on disk names a secret (%v)", err)
	}
	state, err := LoadState(dir)
	if err != nil {
		t.Fatal(err)
	}
	update, err := state.Update()
	whole := resources[CheckpointName].GetCheckpoint().GetVersion()
	if err != nil || len(update.NodePolicy.Secrets) != 0 || update.NodeVersion == whole || update.NodeVersion == "" {
		t.Errorf("restored version %q of %q with %d secrets, %v", update.NodeVersion, whole, len(update.NodePolicy.Secrets), err)
	}
}
