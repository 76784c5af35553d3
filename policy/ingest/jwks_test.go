package ingest

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func jwk(t *testing.T, key any, change func(map[string]any)) string {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKey{Key: key, KeyID: "k"})
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(out)
	}
	text, err = json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func set(name string, value any) func(map[string]any) {
	return func(m map[string]any) { m[name] = value }
}

func newRSA(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newEC(t *testing.T, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestVerifyingKeys holds which keys are taken, that nothing but these is passed on, and that
// each refusal says what is wrong.
func TestVerifyingKeys(t *testing.T) {
	strong, weak, ec := newRSA(t, 2048), newRSA(t, 1024), newEC(t, elliptic.P256())
	edPublic, edPrivate, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	own := jwk(t, ec.Public(), nil)
	public := func(k crypto.Signer) string { return jwk(t, k.Public(), nil) }
	for _, tt := range []struct {
		name string
		keys []string
		// kept are the keys that go on; wrong is a part of the refusal.
		kept  []string
		wrong string
	}{
		{"RSA", []string{public(strong)}, []string{"RSA"}, ""},
		{"RSA with an algorithm", []string{jwk(t, strong.Public(), set("alg", "PS512"))}, []string{"RSA"}, ""},
		{"EC", []string{own}, []string{"EC"}, ""},
		{"all curves", []string{public(newEC(t, elliptic.P384())), public(newEC(t, elliptic.P521())), jwk(t, edPublic, nil)}, []string{"EC", "EC", "OKP"}, ""},
		{"a key for encryption", []string{jwk(t, strong.Public(), set("use", "enc")), own}, []string{"EC"}, ""},
		{"a key for encryption by its operations", []string{jwk(t, strong.Public(), set("key_ops", []string{"encrypt"})), own}, []string{"EC"}, ""},
		{"certificates and unknown members", []string{jwk(t, ec.Public(), func(m map[string]any) { m["x-own"], m["x5u"] = "v", "https://x.example" })}, []string{"EC"}, ""},
		{"only keys for encryption", []string{jwk(t, strong.Public(), set("use", "enc"))}, nil, "no key that verifies"},
		{"none", nil, nil, "no key that verifies"},
		{"a shared secret", []string{own, `{"kty":"oct","k":"c2VjcmV0","alg":"HS256"}`}, nil, "keys[1]: kty oct is a shared secret"},
		{"a private RSA key", []string{jwk(t, strong, nil)}, nil, "private key"},
		{"a private EC key", []string{jwk(t, ec, nil)}, nil, "private key"},
		{"a private Ed25519 key", []string{jwk(t, edPrivate, nil)}, nil, "private key"},
		{"another kind", []string{`{"kty":"AKP"}`}, nil, `kty "AKP" is not known`},
		{"no kind", []string{`{}`}, nil, `kty "" is not known`},
		{"a weak key", []string{public(weak)}, nil, "is of 1024 bits"},
		{"an exponent of one", []string{jwk(t, strong.Public(), set("e", "AQ"))}, nil, "bad e"},
		{"HS256 on a public key", []string{jwk(t, strong.Public(), set("alg", "HS256"))}, nil, `alg "HS256" does not go with the key`},
		{"none on a public key", []string{jwk(t, ec.Public(), set("alg", "none"))}, nil, `alg "none" does not go`},
		{"another curve's algorithm", []string{jwk(t, ec.Public(), set("alg", "ES512"))}, nil, `alg "ES512" does not go`},
		{"a point on no curve", []string{jwk(t, ec.Public(), set("x", base64.RawURLEncoding.EncodeToString(make([]byte, 32))))}, nil, "keys[0]"},
		{"a curve for agreement", []string{`{"kty":"OKP","crv":"X25519","x":"` + base64.RawURLEncoding.EncodeToString(x25519.PublicKey().Bytes()) + `"}`}, nil, "keys[0]"},
		{"a number", []string{`7`}, nil, "keys[0]: is no key"},
		{"a long ID", []string{jwk(t, ec.Public(), set("kid", strings.Repeat("k", 300)))}, nil, "kid: has 300 bytes"},
		{"too many", slices.Repeat([]string{own}, 17), nil, "has 17 keys"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text, err := verifyingKeys(`{"keys":[` + strings.Join(tt.keys, ",") + `]}`)
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) {
					t.Errorf("got %q, %v", text, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got struct{ Keys []map[string]any }
			if err := json.Unmarshal([]byte(text), &got); err != nil {
				t.Fatal(err)
			}
			var kinds []string
			for _, k := range got.Keys {
				kinds = append(kinds, k["kty"].(string))
				for name := range k {
					if !slices.Contains([]string{"kty", "kid", "alg", "use", "crv", "x", "y", "n", "e"}, name) {
						t.Errorf("%s goes on", name)
					}
				}
			}
			if !slices.Equal(kinds, tt.kept) {
				t.Errorf("kept %v", kinds)
			}
		})
	}
	if _, err := verifyingKeys(`{"keys":[], "x":"` + strings.Repeat("x", maxJWKS) + `"}`); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("a long set: %v", err)
	}
}

func TestClaimPath(t *testing.T) {
	for name, want := range map[string][]string{
		"sub": {"sub"}, "a.b": {"a", "b"}, `a\.b`: {"a.b"}, `a\\.b`: {`a\`, "b"}, `https://x\.example/r.s`: {"https://x.example/r", "s"},
		"": nil, ".": nil, "a.": nil, ".a": nil, "a..b": nil, `a\`: nil, `a\b`: nil, "a.b.c.d.e.f.g.h": {"a", "b", "c", "d", "e", "f", "g", "h"}, "a.b.c.d.e.f.g.h.i": nil,
	} {
		if got := claimPath(name); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
