package enforcer

import (
	"testing"

	"github.com/septum-dev/septum/enforcer/proxyns"
	"github.com/septum-dev/septum/xds/envoy"
)

// Envoy's sockets are bound to the interfaces that the enforcer makes.
func TestLegsHaveTheirInterfaces(t *testing.T) {
	for leg := 1; leg <= proxyns.Legs; leg++ {
		if got, want := envoy.Device(leg), proxyns.ProxyName(leg); got != want {
			t.Errorf("sockets of leg %d are bound to %s, and its interface is %s", leg, got, want)
		}
	}
}
