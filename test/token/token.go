// Package token makes JSON Web Tokens as an issuer would, for tests. The keys are the same each
// time, so that policies in files can hold the public ones.
package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"

	"github.com/go-jose/go-jose/v4"
)

// never is the end of tokens that name none: the year 2100.
const never = 4102444800

// Key is an issuer's private key.
type Key struct {
	private *ecdsa.PrivateKey
	id      string
}

// NewKey returns the key of that name, which is also its ID.
func NewKey(name string) (Key, error) {
	seed := sha256.Sum256([]byte(name))
	curve := elliptic.P256()
	scalar := new(big.Int).SetBytes(seed[:])
	scalar.Mod(scalar, new(big.Int).Sub(curve.Params().N, big.NewInt(1))).Add(scalar, big.NewInt(1))
	private, err := ecdsa.ParseRawPrivateKey(curve, scalar.FillBytes(make([]byte, 32)))
	if err != nil {
		return Key{}, fmt.Errorf("make the key %q: %w", name, err)
	}
	return Key{private: private, id: name}, nil
}

// Set returns the public keys as a JSON Web Key Set.
func Set(keys ...Key) (string, error) {
	var set jose.JSONWebKeySet
	for _, k := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.private.Public(), KeyID: k.id, Algorithm: string(jose.ES256), Use: "sig"})
	}
	text, err := json.Marshal(set)
	if err != nil {
		return "", fmt.Errorf("write the keys: %w", err)
	}
	return string(text), nil
}

// Public returns the public key.
func (k Key) Public() crypto.PublicKey { return k.private.Public() }

// Sign returns a token with the claims. One without exp gets an end that is far away; one
// whose exp is null gets none.
func (k Key) Sign(claims map[string]any) (string, error) {
	body := map[string]any{"exp": never}
	for name, value := range claims {
		body[name] = value
	}
	if body["exp"] == nil {
		delete(body, "exp")
	}
	text, err := json.Marshal(body)
	if err != nil {
		return "", fmt.Errorf("write the claims: %w", err)
	}
	return k.SignText(text)
}

// SignText signs a payload that need not be JSON.
func (k Key) SignText(payload []byte) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: k.private, KeyID: k.id}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("make a signer: %w", err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	out, err := signed.CompactSerialize()
	if err != nil {
		return "", fmt.Errorf("write the token: %w", err)
	}
	return out, nil
}

// Raw puts a token together of a header, a payload and a signature as they are.
func Raw(header, payload string, signature []byte) string {
	e := base64.RawURLEncoding
	return e.EncodeToString([]byte(header)) + "." + e.EncodeToString([]byte(payload)) + "." + e.EncodeToString(signature)
}
