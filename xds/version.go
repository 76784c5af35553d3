package xds

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
)

// resourceVersion is the version of one resource: the hash of its bytes on the wire. The
// delta cache computes the same.
func resourceVersion(wire []byte) string {
	sum := sha256.Sum256(wire)
	return hex.EncodeToString(sum[:])
}

// checkpointVersion is the version of a set of resources by their own versions. The
// checkpoint itself is no part of it.
func checkpointVersion(versions map[string]string) string {
	hash := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(versions)) {
		if name != CheckpointName {
			fmt.Fprintf(hash, "%d:%s=%s\n", len(name), name, versions[name])
		}
	}
	return hex.EncodeToString(hash.Sum(nil)[:16])
}

func setVersion[M proto.Message](set map[string]M) (string, error) {
	versions := make(map[string]string, len(set))
	for name, resource := range set {
		wire, err := marshal(resource)
		if err != nil {
			return "", fmt.Errorf("marshal %q: %w", name, err)
		}
		versions[name] = resourceVersion(wire)
	}
	return checkpointVersion(versions), nil
}

func marshal(m proto.Message) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}
