package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func lookCertificates(s clinic) []finding {
	var out []finding
	look := func(where string, ends time.Time, soon time.Duration, right string) {
		switch left := ends.Sub(s.now); {
		case ends.IsZero():
		case left <= 0:
			out = append(out, finding{true, where, "it ended " + lasting(-left) + " ago", right})
		case left < soon:
			out = append(out, finding{false, where, "it ends in " + lasting(left), right})
		}
	}
	if s.authority == nil {
		out = append(out, finding{true, "certificate authority", "there is no ConfigMap septum-ca", "the operator makes it: look at its log"})
	} else {
		ends, err := lastToEnd([]byte(s.authority.Data["ca.crt"]))
		if err != nil {
			out = append(out, finding{true, "certificate authority", err.Error(), "certificates in ca.crt of ConfigMap septum-ca"})
		}
		look("certificate authority", ends, caEndsSoon, "the operator renews it when a third of its year is left; one from outside is renewed by who made it")
	}
	if s.reader != nil {
		ends, err := lastToEnd(s.reader.Data[corev1.TLSCertKey])
		if err != nil {
			out = append(out, finding{true, "certificate for flows", err.Error(), "the operator makes it anew when Secret " + readerSecret + " is deleted"})
		}
		look("certificate for flows", ends, endsSoon, "the operator renews it when a third of its day is left: look at its log")
	}
	for _, name := range slices.Sorted(maps.Keys(s.facts)) {
		look("certificate of node "+name, s.facts[name].CertificateEnds, endsSoon, "the enforcer renews it when a third of its day is left, if it reaches the operator")
	}
	return out
}

// lastToEnd is when the first certificate does, or the one of several that ends last.
func lastToEnd(text []byte) (time.Time, error) {
	var ends time.Time
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return ends, fmt.Errorf("it cannot be read: %w", err)
		}
		if cert.NotAfter.After(ends) {
			ends = cert.NotAfter
		}
	}
	if ends.IsZero() {
		return ends, errors.New("it is empty")
	}
	return ends, nil
}
