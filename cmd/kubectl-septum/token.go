package main

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/septum-dev/septum/policy"
)

// clockSkew is what the nodes' proxies allow.
const clockSkew = time.Minute

// withTokens returns the request with the tokens in its headers that are valid for a source which the
// node's rules ask for, as the node's proxy would find them.
func withTokens(np policy.NodePolicy, req *policy.HTTPRequest, now time.Time) *policy.HTTPRequest {
	if req == nil {
		return nil
	}
	out := *req
	out.Tokens = nil
	for _, c := range np.Classes {
		for _, s := range c.TokenSources() {
			claims, ok := claimsOf(s, req.Header, now)
			if ok && !slices.ContainsFunc(out.Tokens, func(t policy.Token) bool { return t.TokenSource == s }) {
				out.Tokens = append(out.Tokens, policy.Token{TokenSource: s, Claims: claims})
			}
		}
	}
	return &out
}

// claimsOf returns what a valid token of the source says.
func claimsOf(s policy.TokenSource, header map[string][]string, now time.Time) (map[string]any, bool) {
	name, prefix := s.Header, ""
	if name == "" {
		name, prefix = "authorization", "Bearer "
	}
	if len(header[name]) != 1 {
		return nil, false
	}
	text, ok := strings.CutPrefix(header[name][0], prefix)
	if !ok {
		return nil, false
	}
	signed, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512,
		jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA})
	var keys jose.JSONWebKeySet
	if err != nil || json.Unmarshal([]byte(s.Keys), &keys) != nil {
		return nil, false
	}
	for _, key := range keys.Keys {
		if id := signed.Signatures[0].Header.KeyID; id != "" && key.KeyID != "" && id != key.KeyID {
			continue
		}
		payload, err := signed.Verify(key)
		var claims map[string]any
		if err != nil || json.Unmarshal(payload, &claims) != nil {
			continue
		}
		exp, _ := claims["exp"].(float64)
		nbf, _ := claims["nbf"].(float64)
		at, skew := float64(now.Unix()), clockSkew.Seconds()
		return claims, claims["iss"] == s.Issuer && at < exp+skew && at >= nbf-skew
	}
	return nil, false
}
