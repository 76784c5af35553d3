package ingest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

const (
	// maxJWKS is how long a set of keys can be, in bytes.
	maxJWKS = 16384
	maxKeys = 16
	maxKid  = 256

	maxRSA = 8192
)

// keyUse is what a key is for. The rest of it is read only if it verifies signatures.
type keyUse struct {
	Kty       string   `json:"kty"`
	Use       string   `json:"use"`
	Operation []string `json:"key_ops"`
	Alg       string   `json:"alg"`
	// Private is the part that all private keys have.
	Private any `json:"d"`
}

// verifyingKeys reads a JSON Web Key Set, and writes it again with nothing but the public keys
// that verify signatures: what reads it next sees what was checked, and no more.
func verifyingKeys(text string) (string, error) {
	if len(text) > maxJWKS {
		return "", fmt.Errorf("has %d bytes, and at most %d are possible", len(text), maxJWKS)
	}
	var in struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return "", fmt.Errorf("is no JSON Web Key Set such as {\"keys\": [...]}: %w", err)
	}
	if len(in.Keys) > maxKeys {
		return "", fmt.Errorf("has %d keys, and at most %d are possible", len(in.Keys), maxKeys)
	}
	var out jose.JSONWebKeySet
	for i, raw := range in.Keys {
		key, ok, err := verifyingKey(raw)
		if err != nil {
			return "", fmt.Errorf("keys[%d]: %w", i, err)
		}
		if ok {
			out.Keys = append(out.Keys, key)
		}
	}
	if len(out.Keys) == 0 {
		return "", errors.New("has no key that verifies signatures")
	}
	written, err := json.Marshal(out)
	if err != nil {
		return "", fmt.Errorf("write the keys: %w", err)
	}
	return string(written), nil
}

// verifyingKey returns the key; false if it is for something else.
func verifyingKey(raw json.RawMessage) (jose.JSONWebKey, bool, error) {
	var use keyUse
	if err := json.Unmarshal(raw, &use); err != nil {
		return jose.JSONWebKey{}, false, fmt.Errorf("is no key: %w", err)
	}
	switch {
	case use.Kty == "oct":
		return jose.JSONWebKey{}, false, errors.New("kty oct is a shared secret, with which who reads the policy could make tokens: have the issuer sign with RSA, EC or Ed25519 keys")
	case use.Kty != "RSA" && use.Kty != "EC" && use.Kty != "OKP":
		return jose.JSONWebKey{}, false, fmt.Errorf("kty %q is not known: it must be RSA, EC or OKP", use.Kty)
	case use.Private != nil:
		return jose.JSONWebKey{}, false, errors.New("is a private key, with which who reads the policy could make tokens: give the issuer another, and write its public key here")
	case use.Use != "" && use.Use != "sig", len(use.Operation) > 0 && !slices.Contains(use.Operation, "verify"):
		return jose.JSONWebKey{}, false, nil
	}
	var key jose.JSONWebKey
	if err := json.Unmarshal(raw, &key); err != nil {
		return key, false, fmt.Errorf("is no key: %w", err)
	}
	if !key.Valid() || !key.IsPublic() {
		return key, false, errors.New("is no valid key")
	}
	if len(key.KeyID) > maxKid {
		return key, false, fmt.Errorf("kid: has %d bytes, and at most %d are possible", len(key.KeyID), maxKid)
	}
	algorithms, err := algorithmsOf(key.Key)
	if err != nil {
		return key, false, err
	}
	if use.Alg != "" && !slices.Contains(algorithms, use.Alg) {
		return key, false, fmt.Errorf("alg %q does not go with the key: it must be one of %v, or not be there", use.Alg, algorithms)
	}
	return jose.JSONWebKey{Key: key.Key, KeyID: key.KeyID, Algorithm: use.Alg, Use: "sig"}, true, nil
}

// algorithmsOf are those that a key can verify signatures of.
func algorithmsOf(key any) ([]string, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSA || bits > maxRSA {
			return nil, fmt.Errorf("is of %d bits: RSA keys must have from %d to %d", bits, minRSA, maxRSA)
		}
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, nil
	case *ecdsa.PublicKey:
		algorithm, ok := map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[k.Curve.Params().Name]
		if ok {
			return []string{algorithm}, nil
		}
	case ed25519.PublicKey:
		return []string{"EdDSA"}, nil
	}
	return nil, errors.New("is on a curve that is not known: it must be P-256, P-384, P-521 or Ed25519")
}
