package main

import (
	"bytes"
	"io"
	"maps"
	"slices"
	"strings"
)

// certificates makes the bundle that ca-certificates' own script would make.
func certificates(t tree) {
	var bundle bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if !strings.HasPrefix(name, "usr/share/ca-certificates/") || !strings.HasSuffix(name, ".crt") {
			continue
		}
		r, err := t[name].open()
		if err != nil {
			continue
		}
		_, _ = io.Copy(&bundle, r)
		_ = r.Close()
	}
	if bundle.Len() > 0 {
		t.bytes("etc/ssl/certs/ca-certificates.crt", 0o644, bundle.Bytes())
	}
}

// alternatives makes the links that the packages' scripts would make with update-alternatives.
func alternatives(t tree) {
	for _, link := range []struct{ name, target string }{
		{"usr/bin/awk", "mawk"},
		{"usr/bin/nc", "nc.openbsd"},
	} {
		if _, ok := t["usr/bin/"+link.target]; ok {
			t.symlink(link.name, link.target)
		}
	}
}
