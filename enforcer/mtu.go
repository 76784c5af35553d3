package enforcer

import "github.com/septum-dev/septum/enforcer/proxyns"

// raiseMTU lets the largest packets of a pod through to the proxy.
func (e *Enforcer) raiseMTU(mtu int) {
	if mtu <= e.proxy.mtu {
		return
	}
	e.proxy.mtu, e.proxy.fitted = mtu, 0
	if e.proxy.launcher == nil {
		return
	}
	_, err := e.config.Namespace(e.proxy.launcher.NetNS, proxyns.Config{MTU: mtu})
	e.outcome("ProxyMTU", err)
}

// fitMTU gives the proxy's interfaces the MTU of the pods', the largest if they differ: its
// sockets then offer a peer the segment size that the pod's own would. Where the way between
// nodes takes smaller packets than 1500 bytes, peers would else learn so by ICMP alone.
func (e *Enforcer) fitMTU() {
	mtu := 0
	for _, pod := range e.pods.attached {
		mtu = max(mtu, pod.mtu)
	}
	if mtu == 0 || mtu == e.proxy.fitted || e.proxy.launcher == nil {
		return
	}
	_, err := e.config.Namespace(e.proxy.launcher.NetNS, proxyns.Config{MTU: mtu, Fit: true})
	e.outcome("ProxyMTU", err)
	if err == nil {
		e.proxy.mtu, e.proxy.fitted = mtu, mtu
	}
}
