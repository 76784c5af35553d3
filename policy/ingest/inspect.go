package ingest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"

	ciliumv2 "github.com/septum-dev/septum/api/cilium/v2"
	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/policy"
)

// The names of the entries in a Secret, where a policy gives no others.
const (
	entryCertificate = "tls.crt"
	entryKey         = "tls.key"
	entryCA          = "ca.crt"
)

// maxSecretValue bounds certificates and keys, in bytes; minRSA is the proxy's own limit, in bits.
const (
	maxSecretValue = 128 << 10
	minRSA         = 2048
)

// ciliumInspection converts terminatingTLS and originatingTLS; false if they cannot be carried out.
func (s *scope) ciliumInspection(in *ciliumv2.PortRule, path string) (policy.Inspection, bool) {
	var out policy.Inspection
	begin, end := in.TerminatingTLS, in.OriginatingTLS
	if begin == nil {
		s.unsupported(path+".originatingTLS", "without terminatingTLS is not supported: the ports allow nothing")
		return out, false
	}
	if begin.Secret == nil || end != nil && end.Secret == nil {
		s.invalid(path, "terminatingTLS and originatingTLS need a secret")
		return out, false
	}
	good := true
	set := func(to *policy.SecretID, id policy.SecretID, ok bool) { *to, good = id, good && ok }
	at := path + ".terminatingTLS"
	id, ok := s.certificate(begin.Secret.Namespace, begin.Secret.Name, or(begin.Certificate, entryCertificate), or(begin.PrivateKey, entryKey), at)
	set(&out.Certificate, id, ok)
	if begin.TrustedCA != "" {
		id, ok := s.authority(begin.Secret.Namespace, begin.Secret.Name, begin.TrustedCA, at)
		set(&out.ClientCA, id, ok)
	}
	if end == nil {
		return out, good
	}
	at = path + ".originatingTLS"
	id, ok = s.authority(end.Secret.Namespace, end.Secret.Name, or(end.TrustedCA, entryCA), at)
	set(&out.TrustedCA, id, ok)
	if end.Certificate != "" || end.PrivateKey != "" {
		id, ok := s.certificate(end.Secret.Namespace, end.Secret.Name, or(end.Certificate, entryCertificate), or(end.PrivateKey, entryKey), at)
		set(&out.ClientCertificate, id, ok)
	}
	return out, good
}

// nativeInspection converts tls.inspect of a rule about those names. The IDs are there also for
// Secrets that cannot be used.
func (s *scope) nativeInspection(rule policy.TLSRule, in *v1alpha1.TLSInspection, path string) (policy.Inspection, bool) {
	var out policy.Inspection
	good := true
	set := func(to *policy.SecretID, id policy.SecretID, ok bool) { *to, good = id, good && ok }
	id, ok := s.shown(rule, in, path)
	set(&out.Certificate, id, ok)
	if c := in.ClientCA; c != nil {
		id, ok := s.authority(c.Namespace, c.Name, entryCA, path+".clientCA")
		set(&out.ClientCA, id, ok)
	}
	id, ok = s.authority(in.ServerCA.Namespace, in.ServerCA.Name, entryCA, path+".serverCA")
	set(&out.TrustedCA, id, ok)
	if c := in.ClientCertificate; c != nil {
		id, ok := s.certificate(c.Namespace, c.Name, entryCertificate, entryKey, path+".clientCertificate")
		set(&out.ClientCertificate, id, ok)
	}
	return out, good
}

// shown finds the certificate that clients are shown, or issues it.
func (s *scope) shown(rule policy.TLSRule, in *v1alpha1.TLSInspection, path string) (policy.SecretID, bool) {
	switch {
	case in.Certificate != nil && in.Issuer == nil:
		return s.certificate(in.Certificate.Namespace, in.Certificate.Name, entryCertificate, entryKey, path+".certificate")
	case in.Issuer != nil && in.Certificate == nil:
		return s.issued(rule, *in.Issuer, path+".issuer")
	}
	s.invalid(path, "exactly one of certificate and issuer must be set: the names are refused")
	return s.secretID("certificate", "", "", ""), false
}

// certificate finds a certificate with its key.
func (s *scope) certificate(namespace, name, cert, key, path string) (policy.SecretID, bool) {
	id := s.secretID("certificate", namespace, name, cert, key)
	secret, ok := s.secret(namespace, name, path)
	if !ok {
		return id, false
	}
	chain, private := secret.Data[cert], secret.Data[key]
	fail := func(why string) (policy.SecretID, bool) {
		s.add(path, policy.ReasonUnresolved, "Secret %q cannot be used: %s; what needs it allows nothing", secret.Namespace+"/"+secret.Name, why)
		return id, false
	}
	switch {
	case len(chain) == 0 || len(private) == 0:
		return fail("it has no " + cert + " and " + key)
	case len(chain) > maxSecretValue || len(private) > maxSecretValue:
		return fail(cert + " or " + key + " is larger than 128 KiB")
	}
	pair, err := tls.X509KeyPair(chain, private) // its errors have nothing of the key in them
	if err != nil {
		return fail(cert + " and " + key + " are not a certificate and its key: " + err.Error())
	}
	if wrong := wrongKey(pair.PrivateKey); wrong != "" {
		return fail(key + " " + wrong)
	}
	s.secrets.used[id] = policy.Secret{ID: id, Value: chain, Key: private}
	return id, true
}

// wrongKey says why a private key cannot be used; "" if it can.
func wrongKey(key crypto.PrivateKey) string {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if k.N.BitLen() < minRSA {
			return "is an RSA key of less than 2048 bits"
		}
	case *ecdsa.PrivateKey:
		if size := k.Curve.Params().BitSize; size < 256 {
			return "is on a curve that the proxy does not know; P-256, P-384 and P-521 are"
		}
	default:
		return "is neither an RSA nor an ECDSA key"
	}
	return ""
}

// authority finds the certificates of authorities.
func (s *scope) authority(namespace, name, entry, path string) (policy.SecretID, bool) {
	id := s.secretID("ca", namespace, name, entry)
	secret, ok := s.secret(namespace, name, path)
	if !ok {
		return id, false
	}
	value := secret.Data[entry]
	if len(value) > maxSecretValue || !certificates(value) {
		s.add(path, policy.ReasonUnresolved, "Secret %q cannot be used: %s is not certificates in PEM, of at most 128 KiB; what needs it allows nothing",
			secret.Namespace+"/"+secret.Name, entry)
		return id, false
	}
	s.secrets.used[id] = policy.Secret{ID: id, Value: value}
	return id, true
}

// certificates says whether text is one certificate or more, and nothing else.
func certificates(text []byte) bool {
	found := false
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return found
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil || block.Type != "CERTIFICATE" {
			return false
		}
		found = true
	}
}

func (s *scope) secretID(kind, namespace, name string, entries ...string) policy.SecretID {
	id := kind + "/" + or(namespace, s.namespace) + "/" + name
	for _, e := range entries {
		id += "/" + e
	}
	return policy.SecretID(id)
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
