package xds

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
	"github.com/septum-dev/septum/xds/wire"
)

func secretToProto(s policy.Secret) *septumpb.Secret {
	return &septumpb.Secret{Id: string(s.ID), Value: s.Value, Key: s.Key}
}

// secretFromProto says nothing of the value in its errors.
func secretFromProto(in *septumpb.Secret) (policy.Secret, error) {
	out := policy.Secret{ID: policy.SecretID(in.GetId()), Value: in.GetValue(), Key: in.GetKey()}
	return out, errors.Join(wire.NotEmpty("id", in.GetId()), atMost("value", len(in.GetValue()), maxSecret), atMost("key", len(in.GetKey()), maxSecret))
}

// withoutSecrets returns a node's resources without its secrets, closed by a checkpoint of
// their own: a node that has only them says so by its version, and is sent the rest.
func withoutSecrets(set map[string][]byte) (map[string][]byte, error) {
	out, versions := map[string][]byte{}, map[string]string{}
	for name, wire := range set {
		if !strings.HasPrefix(name, secretPrefix) {
			out[name], versions[name] = wire, resourceVersion(wire)
		}
	}
	wire, ok := set[CheckpointName]
	if !ok || len(out) == len(set) {
		return out, nil
	}
	var checkpoint septumpb.NodeResource
	if err := proto.Unmarshal(wire, &checkpoint); err != nil {
		return nil, fmt.Errorf("read the checkpoint: %w", err)
	}
	if checkpoint.GetCheckpoint() == nil {
		return nil, errMissingCheckpoint
	}
	checkpoint.GetCheckpoint().Version = checkpointVersion(versions)
	body, err := marshal(&checkpoint)
	if err != nil {
		return nil, fmt.Errorf("write the checkpoint: %w", err)
	}
	out[CheckpointName] = body
	return out, nil
}
