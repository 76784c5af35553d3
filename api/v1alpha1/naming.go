package v1alpha1

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// maxName is the longest name of a Kubernetes object.
const maxName = 253

// StatusName returns the name of the L7PolicyStatus of a policy: the short
// name of its kind, a dot, and the policy's name. Where that is too long,
// its end is a hash.
func StatusName(kind, name string) string {
	s := shortKind(kind) + "." + name
	if len(s) <= maxName {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return strings.TrimRight(s[:maxName-17], ".-") + "-" + hex.EncodeToString(sum[:8])
}

func shortKind(kind string) string {
	switch kind {
	case KindL7NetworkPolicy:
		return "l7np"
	case KindClusterL7NetworkPolicy:
		return "cl7np"
	case "CiliumNetworkPolicy":
		return "cnp"
	case "CiliumClusterwideNetworkPolicy":
		return "ccnp"
	}
	return "other"
}
