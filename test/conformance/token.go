package conformance

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/token"
)

// addToken reads KEY{claims} or KEY@header{claims}, signs the claims and puts the token into the
// request. Only of a valid one the oracle hears.
func addToken(req *policy.HTTPRequest, text string, valid bool) error {
	at := strings.IndexByte(text, '{')
	if at < 0 {
		return fmt.Errorf("a token is KEY{claims} or KEY@header{claims}: %q", text)
	}
	name, header, _ := strings.Cut(text[:at], "@")
	var claims map[string]any
	if err := json.Unmarshal([]byte(text[at:]), &claims); err != nil {
		return fmt.Errorf("read the claims of %q: %w", text, err)
	}
	key, err := token.NewKey(name)
	if err != nil {
		return err
	}
	keys, err := token.Set(key)
	if err != nil {
		return err
	}
	signed, err := key.Sign(claims)
	if err != nil {
		return err
	}
	if header == "" {
		req.Header["authorization"] = append(req.Header["authorization"], "Bearer "+signed)
	} else {
		req.Header[header] = append(req.Header[header], signed)
	}
	if issuer, _ := claims["iss"].(string); valid {
		req.Tokens = append(req.Tokens, policy.Token{TokenSource: policy.TokenSource{Issuer: issuer, Keys: keys, Header: header}, Claims: claims})
	}
	return nil
}
