package envoy

import (
	"bytes"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

// TestBootstrap: that Envoy takes it is shown by every test with a real one. Here: nothing
// of it is on a network, and nothing that is needed can be left out.
func TestBootstrap(t *testing.T) {
	good := BootstrapConfig{Node: "n1", XDSSocket: "/run/septum/proxy/xds.sock", AdminSocket: "/run/septum/proxy/admin/admin.sock"}
	out, err := Bootstrap(good)
	if err != nil {
		t.Fatal(err)
	}
	var boot bootstrapv3.Bootstrap
	if err := protojson.Unmarshal(out, &boot); err != nil {
		t.Fatal(err)
	}
	if p := boot.GetAdmin().GetAddress().GetPipe(); p.GetPath() != good.AdminSocket || p.GetMode() != 0o660 {
		t.Errorf("admin is at %v", boot.GetAdmin())
	}
	if bytes.Contains(out, []byte("socket_address")) {
		t.Errorf("something is on a network: %s", out)
	}
	for name, c := range map[string]BootstrapConfig{
		"node":  {XDSSocket: "x", AdminSocket: "y"},
		"xDS":   {Node: "n", AdminSocket: "y"},
		"admin": {Node: "n", XDSSocket: "x"},
	} {
		if _, err := Bootstrap(c); err == nil {
			t.Errorf("without %s: no error", name)
		}
	}
}
