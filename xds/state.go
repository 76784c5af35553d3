package xds

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	"github.com/septum-dev/septum/xds/septumpb"
)

const stateFile = "resources.pb"

// State is everything that a node holds, as it came. It can be saved, and given to
// [NewClient] after a restart. The zero State holds nothing.
type State struct {
	node                        string
	nodeSet, clusterSet         map[string][]byte
	nodeVersion, clusterVersion string
}

// Versions returns the checkpoints of the two sets.
func (s State) Versions() (node, cluster string) { return s.nodeVersion, s.clusterVersion }

// SaveState writes the state into the directory: whole, or not at all. Secrets are left
// out: until the operator has sent them again, the rules that name them allow nothing.
func SaveState(dir string, s State) error {
	nodeSet, err := withoutSecrets(s.nodeSet)
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	body, err := marshal(&septumpb.StoredState{Node: s.node, NodeResources: nodeSet, ClusterResources: s.clusterSet})
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	sum := sha256.Sum256(body)
	if err := writeFile(filepath.Join(dir, stateFile), append(sum[:], body...)); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	return nil
}

// LoadState reads what [SaveState] wrote. The error is fs.ErrNotExist where nothing was
// saved; what is damaged is an error too, never half a state.
func LoadState(dir string) (State, error) {
	text, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return State{}, fmt.Errorf("load state: %w", err)
	}
	if len(text) < sha256.Size {
		return State{}, errors.New("load state: the file is cut off")
	}
	sum := sha256.Sum256(text[sha256.Size:])
	if !bytes.Equal(sum[:], text[:sha256.Size]) {
		return State{}, errors.New("load state: the file's checksum is wrong")
	}
	var stored septumpb.StoredState
	if err := proto.Unmarshal(text[sha256.Size:], &stored); err != nil {
		return State{}, fmt.Errorf("load state: %w", err)
	}
	node, errNode := restore(stored.GetNodeResources(), emptyNode)
	cluster, errCluster := restore(stored.GetClusterResources(), emptyCluster)
	if err := errors.Join(errNode, errCluster); err != nil {
		return State{}, fmt.Errorf("load state: %w", err)
	}
	return stateOf(stored.GetNode(), node, cluster), nil
}

func stateOf(name string, node held[*septumpb.NodeResource], cluster held[*septumpb.ClusterResource]) State {
	return State{
		node: name, nodeSet: node.wires(), clusterSet: cluster.wires(),
		nodeVersion: node.version, clusterVersion: cluster.version,
	}
}

// Update puts the state together, as a [Client] that was given it would.
func (s State) Update() (Update, error) {
	v, err := s.view(s.node)
	if err != nil {
		return Update{}, err
	}
	update, _ := v.update()
	return update, nil
}

func (s State) view(node string) (view, error) {
	if s.node != node {
		return view{}, fmt.Errorf("the state is node %q's, not %q's", s.node, node)
	}
	nodeSet, errNode := restore(s.nodeSet, emptyNode)
	clusterSet, errCluster := restore(s.clusterSet, emptyCluster)
	if err := errors.Join(errNode, errCluster); err != nil {
		return view{}, err
	}
	v := view{name: node}
	return v, errors.Join(v.setNode(nodeSet), v.setCluster(clusterSet))
}
