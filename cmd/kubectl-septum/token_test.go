package main

import (
	"strings"
	"testing"

	"github.com/septum-dev/septum/test/token"
)

// TestCanIToken asks with real tokens, which the policies' own keys verify.
func TestCanIToken(t *testing.T) {
	const issuer = "https://issuer.example"
	for _, tt := range []struct {
		key, method string
		claims      map[string]any
		want        string
	}{
		{"own", "get", map[string]any{"iss": issuer, "aud": "shop"}, "allowed"},
		{"own", "get", map[string]any{"iss": issuer, "aud": "mail"}, `the token's claim ["aud"] is not exactly "shop"`},
		{"other", "get", map[string]any{"iss": issuer, "aud": "shop"}, "no valid token of the issuer"},
		{"own", "get", map[string]any{"iss": issuer, "aud": "shop", "exp": 1000}, "no valid token of the issuer"},
		{"own", "get", map[string]any{"iss": issuer, "aud": "shop", "nbf": 4102444000}, "no valid token of the issuer"},
		{"own", "post", map[string]any{"iss": issuer, "aud": "shop"}, "denied"},
		{"own", "post", map[string]any{"iss": issuer, "aud": "shop", "realm_access": map[string]any{"roles": []any{"editor"}}}, "allowed"},
	} {
		key, err := token.NewKey(tt.key)
		if err != nil {
			t.Fatal(err)
		}
		text, err := key.Sign(tt.claims)
		if err != nil {
			t.Fatal(err)
		}
		got := run("can-i", "-f", "testdata/shop/app.yaml", "-f", "testdata/token", "demo/frontend", tt.method, "http://backend/data", "-H", "Authorization: Bearer "+text)
		if !strings.Contains(got, tt.want) || strings.Contains(got, text) {
			t.Errorf("%+v:\n%s", tt, got)
		}
	}
}
