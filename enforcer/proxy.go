package enforcer

import (
	"fmt"
	"time"

	"github.com/septum-dev/septum/bpf"
	"github.com/septum-dev/septum/enforcer/launch"
	"github.com/septum-dev/septum/enforcer/proxyns"
	"github.com/septum-dev/septum/policy"
)

// proxyCame makes the namespace of a launcher ready and answers it. The launcher that
// came last counts: an earlier one is a proxy pod that is being replaced.
func (e *Enforcer) proxyCame(p *launch.Proxy) {
	err := e.setUpProxy(p)
	e.outcome("ProxyNotAttached", err)
	reply := launch.Reply{OK: err == nil, Bootstrap: e.config.Bootstrap}
	if err != nil {
		reply = launch.Reply{Error: err.Error()}
	}
	if err := p.Reply(reply); err != nil {
		e.config.Log.Info("proxy went away during its hand-shake", "reason", err.Error())
		return
	}
	if reply.OK {
		e.config.Log.Info("proxy attached", "instance", p.Instance)
		e.proxy.launcher, e.proxy.gone, e.proxy.attached, e.proxy.fitted = p, p.Gone, true, 0
		e.fitMTU()
		return
	}
	if err := p.Close(); err != nil {
		e.config.Log.Info("proxy went away during its hand-shake", "reason", err.Error())
	}
}

func (e *Enforcer) setUpProxy(p *launch.Proxy) error {
	link, err := e.config.Namespace(p.NetNS, proxyns.Config{MTU: e.proxy.mtu})
	if err != nil {
		return fmt.Errorf("make the proxy's namespace ready: %w", err)
	}
	err = e.config.Datapath.AttachProxy(bpf.ProxyLink{
		HostIfindexes: link.HostIfindexes, HostMAC: link.HostMAC,
		ProxyIfindexes: link.ProxyIfindexes, ProxyMAC: link.ProxyMAC,
		NetNS: p.NetNS, Cookie: link.Cookie,
	})
	if err != nil {
		return fmt.Errorf("attach the proxy: %w", err)
	}
	e.proxy.interfaces = link.ProxyIfindexes
	return nil
}

// proxyWent leaves the data path as it is: what is redirected finds nobody and is
// refused, and a launcher that only lost its connection finds everything in its place.
func (e *Enforcer) proxyWent() {
	e.config.Log.Info("proxy went away", "instance", e.proxy.launcher.Instance)
	e.proxy.launcher, e.proxy.gone, e.proxy.attached = nil, nil, false
}

// proxyChanged gives a new proxy what the last one refused: it may take it.
func (e *Enforcer) proxyChanged() {
	connected := [2]bool{e.config.Proxy.Connected(), e.config.Own.Connected()}
	came := connected[0] && !e.proxy.connected[0] || connected[1] && !e.proxy.connected[1]
	e.config.Metrics.proxies(e.proxy.connected, connected)
	e.proxy.connected = connected
	if came && e.refused != nil && e.next == nil {
		e.next, e.refused = e.refused, nil
		e.force.seenNode = ""
	}
	if e.config.Proxy.Ready() && e.config.Own.Ready() {
		delete(e.problems, reasonSilent)
	}
	e.listenToProxies()
}

// silentAfter is how long a proxy may be away from its control plane before connections that
// may go on unjudged are no longer left to it. One that is alive comes back within a second
// when the enforcer has started again.
const silentAfter = 3 * time.Second

// listenToProxies tells the data path whether the proxies answer. One that hangs keeps its
// listening sockets, and the kernel goes on taking connections for it.
func (e *Enforcer) listenToProxies() {
	now := e.config.Now()
	for backend, connected := range [...]bool{
		policy.BackendEnvoy: e.config.Proxy.Connected(),
		policy.BackendOwn:   e.config.Own.Connected(),
	} {
		since := &e.proxy.silentSince[backend]
		switch {
		case connected:
			*since = time.Time{}
		case since.IsZero():
			*since = now
		}
		if connected || now.Sub(*since) >= silentAfter {
			e.outcome("ProxyStateNotWritten", e.config.Datapath.SetProxySilent(policy.Backend(backend), !connected))
		}
	}
}
