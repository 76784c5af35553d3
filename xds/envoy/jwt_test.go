package envoy

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/token"
)

const issuer = "https://issuer.example"

func key(t testing.TB, name string) token.Key {
	t.Helper()
	k, err := token.NewKey(name)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func keySet(t testing.TB, keys ...token.Key) string {
	t.Helper()
	set, err := token.Set(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func signed(t testing.TB, k token.Key, claims map[string]any) string {
	t.Helper()
	out, err := k.Sign(claims)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func claim(path string, values ...policy.StringMatch) policy.Claim {
	return policy.Claim{Path: strings.Split(path, "/"), Values: values}
}

// TestTokens sends real tokens, good and hostile ones.
func TestTokens(t *testing.T) {
	own, other := key(t, "own"), key(t, "other")
	source := policy.TokenSource{Issuer: issuer, Keys: keySet(t, own)}
	rule := func(path string, claims ...policy.Claim) policy.HTTPRule {
		return policy.HTTPRule{Path: exact(path), JWT: &policy.JWT{TokenSource: source, Claims: claims}}
	}
	second := policy.HTTPRule{Path: exact("/second"), JWT: &policy.JWT{TokenSource: policy.TokenSource{Issuer: "second", Keys: keySet(t, other)}}}
	inHeader := policy.HTTPRule{Path: exact("/header"), JWT: &policy.JWT{TokenSource: policy.TokenSource{Issuer: issuer, Keys: source.Keys, Header: "x-app-token"}}}
	class := classOf("c", rule("/any"), rule("/alice", claim("sub", exact("alice"), exact("bob"))),
		rule("/deep", claim("realm/roles", exact("admin"))), rule("/scope", claim("scope", regex("(?:.* )?read(?: .*)?"))), second, inHeader,
		policy.HTTPRule{Path: exact("/plain")})
	e := startEnvoy(t, echo(t, hello))
	addr := e.apply(t, class)["c"]
	good := signed(t, own, map[string]any{"iss": issuer, "sub": "alice"})
	with := func(claims map[string]any) []string {
		claims["iss"] = issuer
		return []string{"authorization", "Bearer " + signed(t, own, claims)}
	}
	auth := func(token string) []string { return []string{"authorization", "Bearer " + token} }
	hs256 := func() string {
		head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT","kid":"own"}`)) + "." +
			base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+issuer+`","exp":4102444800,"sub":"alice"}`))
		mac := hmac.New(sha256.New, []byte(source.Keys))
		mac.Write([]byte(head))
		return head + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	now := time.Now().Unix()
	for _, tt := range []struct {
		name, path string
		header     []string
		code       int
	}{
		{"a good token", "/any", auth(good), 200},
		{"no token", "/any", nil, 403},
		{"no token where none is asked for", "/plain", nil, 200},
		{"a bad token where none is asked for", "/plain", auth("x.y.z"), 200},
		{"a claim", "/alice", auth(good), 200},
		{"another alternative", "/alice", with(map[string]any{"sub": "bob"}), 200},
		{"another value", "/alice", with(map[string]any{"sub": "eve"}), 403},
		{"no such claim", "/alice", with(map[string]any{}), 403},
		{"a list", "/scope", with(map[string]any{"scope": []any{"x", "read"}}), 200},
		{"a list where JWT wants a text", "/alice", with(map[string]any{"sub": []any{"eve", "alice"}}), 403},
		{"a claim that is an object", "/alice", with(map[string]any{"sub": map[string]any{"alice": "alice"}}), 403},
		{"a list in a list", "/alice", with(map[string]any{"sub": []any{[]any{"alice"}}}), 403},
		{"a number", "/alice", with(map[string]any{"sub": 1}), 403},
		{"true", "/alice", with(map[string]any{"sub": true}), 403},
		{"null", "/alice", with(map[string]any{"sub": nil}), 403},
		{"a claim in a claim", "/deep", with(map[string]any{"realm": map[string]any{"roles": []any{"user", "admin"}}}), 200},
		{"a name with a separator", "/deep", with(map[string]any{"realm/roles": "admin", "realm.roles": "admin"}), 403},
		{"an object that is a list", "/deep", with(map[string]any{"realm": []any{map[string]any{"roles": "admin"}}}), 403},
		{"one of the words", "/scope", with(map[string]any{"scope": "write read"}), 200},
		{"a part of a word", "/scope", with(map[string]any{"scope": "reader thread"}), 403},
		{"the other issuer", "/second", auth(signed(t, other, map[string]any{"iss": "second"})), 200},
		{"a token of another issuer", "/second", auth(good), 403},
		{"the right name by the wrong key", "/second", auth(signed(t, own, map[string]any{"iss": "second"})), 403},
		{"another issuer by the right key", "/any", auth(signed(t, own, map[string]any{"iss": "second"})), 403},
		{"no issuer", "/any", auth(signed(t, own, map[string]any{"sub": "alice"})), 403},
		{"the issuer with a slash", "/any", auth(signed(t, own, map[string]any{"iss": issuer + "/"})), 403},
		{"another header", "/header", []string{"x-app-token", good}, 200},
		{"another header, with a scheme", "/header", []string{"x-app-token", "Bearer " + good}, 403},
		{"another header, and the usual one", "/header", auth(good), 403},
		{"another header, twice", "/header", []string{"x-app-token", good, "x-app-token", good}, 403},
		{"another header, in two spellings", "/header", []string{"x-app-token", good, "x_app_token", "other"}, 403},
		{"expired", "/any", with(map[string]any{"exp": now - 120}), 403},
		{"expired within the skew", "/any", with(map[string]any{"exp": now - 10}), 200},
		{"without an end", "/any", with(map[string]any{"exp": nil}), 403},
		{"an end that is text", "/any", with(map[string]any{"exp": "4102444800"}), 403},
		{"not yet", "/any", with(map[string]any{"nbf": now + 600}), 403},
		{"alg none", "/any", auth(token.Raw(`{"alg":"none"}`, `{"iss":"`+issuer+`","exp":4102444800}`, nil)), 403},
		{"alg none with a signature", "/any", auth(token.Raw(`{"alg":"none"}`, `{"iss":"`+issuer+`","exp":4102444800}`, []byte("x"))), 403},
		{"HS256 with the public key", "/any", auth(hs256()), 403},
		{"signed by another key", "/any", auth(signed(t, other, map[string]any{"iss": issuer})), 403},
		{"a changed payload", "/any", auth(strings.Split(good, ".")[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+issuer+`","exp":4102444800}`)) + "." + strings.Split(good, ".")[2]), 403},
		{"no signature", "/any", auth(strings.Join(strings.Split(good, ".")[:2], ".") + "."), 403},
		{"two headers, the good one first", "/any", append(auth(good), auth("a.b.c")...), 403},
		{"two headers, the good one last", "/any", append(auth("a.b.c"), auth(good)...), 403},
		{"two good headers", "/any", append(auth(good), auth(good)...), 403},
		{"two schemes", "/any", append([]string{"authorization", "Basic eDp5"}, auth(good)...), 403},
		{"two tokens in one header", "/any", auth(good + "," + good), 403},
		{"more behind it", "/any", auth(good + " x"), 403},
		{"another scheme", "/any", []string{"authorization", "Basic " + good}, 403},
		{"no scheme", "/any", []string{"authorization", good}, 403},
		{"in the query", "/any?access_token=" + good, nil, 403},
		{"oversized", "/any", auth(strings.Repeat("a", 60<<10) + "." + strings.Repeat("b", 200<<10) + ".c"), 403},
		{"a large good one", "/any", with(map[string]any{"filler": strings.Repeat("x", 100<<10)}), 200},
		{"deep JSON", "/any", auth(token.Raw(`{"alg":"ES256","kid":"own"}`, strings.Repeat(`{"a":`, 20000)+"1"+strings.Repeat("}", 20000), make([]byte, 64))), 403},
		{"no JSON", "/any", auth(token.Raw("x", "y", []byte("z"))), 403},
	} {
		if got := send(t, addr, tt.path, tt.header); got != tt.code {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.code)
		}
	}
}

// send writes header lines as they are: names and values in turn.
func send(t *testing.T, addr, path string, header []string) int {
	t.Helper()
	c := dialHTTP(t, addr)
	defer func() { c.conn.Close() }()
	req := policy.HTTPRequest{Method: "GET", Path: path, Host: "server", Header: map[string][]string{}}
	for i := 0; i < len(header); i += 2 {
		req.Header[header[i]] = append(req.Header[header[i]], header[i+1])
	}
	return c.do(t, req)
}

// TestTokenKeys verifies tokens of each kind of key that policies can have.
func TestTokenKeys(t *testing.T) {
	strong, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	curve := func(c elliptic.Curve) *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	p256, p384, p521 := curve(elliptic.P256()), curve(elliptic.P384()), curve(elliptic.P521())
	var set jose.JSONWebKeySet
	for _, k := range []crypto.Signer{p256, strong, p384, p521, ed} {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Public(), Use: "sig"})
	}
	keys, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	class := classOf("c", policy.HTTPRule{JWT: &policy.JWT{TokenSource: policy.TokenSource{Issuer: issuer, Keys: string(keys)}}})
	e := startEnvoy(t, echo(t, hello))
	addr := e.apply(t, class)["c"]
	for _, tt := range []struct {
		algorithm jose.SignatureAlgorithm
		key       any
	}{
		{jose.ES256, p256}, {jose.ES384, p384}, {jose.ES512, p521}, {jose.EdDSA, ed}, {jose.RS256, strong}, {jose.RS384, strong},
		{jose.RS512, strong}, {jose.PS256, strong}, {jose.PS384, strong}, {jose.PS512, strong},
	} {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: tt.algorithm, Key: tt.key}, nil)
		if err != nil {
			t.Fatal(err)
		}
		made, err := signer.Sign([]byte(`{"iss":"` + issuer + `","exp":4102444800}`))
		if err != nil {
			t.Fatal(err)
		}
		text, err := made.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		if got := send(t, addr, "/", []string{"authorization", "Bearer " + text}); got != 200 {
			t.Errorf("%s: %d", tt.algorithm, got)
		}
		text = text[:len(text)-8] + "AAAAAAAA"
		if got := send(t, addr, "/", []string{"authorization", "Bearer " + text}); got != 403 {
			t.Errorf("%s with another signature: %d", tt.algorithm, got)
		}
	}
}

// TestTokenKeysChange: new keys act on the next request of an open connection, and the token
// goes on to the server as it came; nothing of it is an event's.
func TestTokenKeysChange(t *testing.T) {
	own, other := key(t, "own"), key(t, "other")
	got := make(chan []string, 1)
	e := startEnvoy(t, echo(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case got <- r.Header["Authorization"]:
		default:
		}
	}))
	class := func(k token.Key) policy.Class {
		return classOf("c", policy.HTTPRule{JWT: &policy.JWT{TokenSource: policy.TokenSource{Issuer: issuer, Keys: keySet(t, k)}}})
	}
	c := dialHTTP(t, e.apply(t, class(own))["c"])
	defer func() { c.conn.Close() }()
	bearer := "Bearer " + signed(t, own, map[string]any{"iss": issuer, "sub": "alice"})
	req := policy.HTTPRequest{Method: "GET", Path: "/", Host: "server", Header: map[string][]string{"authorization": {bearer}}}
	if code := c.do(t, req); code != 200 {
		t.Fatalf("got %d", code)
	}
	if header := <-got; !slices.Equal(header, []string{bearer}) {
		t.Errorf("the server got %q", header)
	}
	kept := c.conn
	e.apply(t, class(other))
	waitFor(t, "the new keys to act", func() bool { return c.do(t, req) == 403 })
	if c.conn != kept {
		t.Error("the connection ended")
	}
	for len(e.events) > 0 {
		if text := fmt.Sprintf("%+v", <-e.events); strings.Contains(text, "alice") || strings.Contains(text, "Bearer") {
			t.Errorf("the event tells of the token: %s", text)
		}
	}
}
