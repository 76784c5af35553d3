package xds

import (
	"errors"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
	"github.com/septum-dev/septum/xds/wire"
)

func tlsToProto(r policy.TLSRule) *septumpb.TLSRule {
	out := &septumpb.TLSRule{Id: ruleToProto(r.ID), Names: namesToProto(r.Names)}
	if i := r.Inspect; r.Inspects() {
		out.Inspect = &septumpb.Inspection{Certificate: string(i.Certificate), ClientCa: string(i.ClientCA),
			TrustedCa: string(i.TrustedCA), ClientCertificate: string(i.ClientCertificate)}
	}
	return out
}

func namesToProto(in []policy.ServerName) []string {
	var out []string
	for _, n := range in {
		out = append(out, string(n))
	}
	return out
}

func tlsFromProto(in *septumpb.TLSRule) (policy.TLSRule, error) {
	id, errID := ruleFromProto(in.GetId())
	names, errNames := namesFromProto(in.GetNames())
	out := policy.TLSRule{ID: id, Names: names}
	if i := in.GetInspect(); i != nil {
		out.Inspect = policy.Inspection{
			Certificate: policy.SecretID(i.GetCertificate()), ClientCA: policy.SecretID(i.GetClientCa()),
			TrustedCA: policy.SecretID(i.GetTrustedCa()), ClientCertificate: policy.SecretID(i.GetClientCertificate()),
		}
		if err := errors.Join(wire.NotEmpty("certificate", i.GetCertificate()), wire.Text("client_ca", i.GetClientCa()),
			wire.Text("trusted_ca", i.GetTrustedCa()), wire.Text("client_certificate", i.GetClientCertificate())); err != nil {
			return out, err // without its certificate it would be passed on
		}
	}
	return out, errors.Join(errID, errNames)
}

func namesFromProto(in []string) ([]policy.ServerName, error) {
	if err := atMost("names", len(in), policy.MaxClassNames); err != nil {
		return nil, err
	}
	var out []policy.ServerName
	for _, n := range in {
		if err := errors.Join(wire.NotEmpty("names", n), atMost("names", len(n), maxServerName)); err != nil {
			return nil, err
		}
		out = append(out, policy.ServerName(n))
	}
	return out, nil
}

// maxServerName is the longest server name, in bytes.
const maxServerName = 255
