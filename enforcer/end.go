package enforcer

import (
	"net/netip"

	"github.com/septum-dev/septum/enforcer/links"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/envoy"
)

// endOthers ends the open connections that the policy in force does not let go on as they
// are. The programs answer each packet of them with a reset; who waits and sends nothing is
// told by the end of the socket that he is connected with.
func (e *Enforcer) endOthers() {
	ended, err := e.config.Datapath.Sweep()
	e.outcome("ConnectionsNotJudged", err)
	var proxied []links.Connection
	direct := map[netip.Addr][]links.Connection{}
	for _, c := range ended {
		if c.Proxied {
			proxied = append(proxied, links.Connection{
				Local: c.Server(), Remote: c.Client(), Interface: e.proxy.interfaces[clientLeg(c.Direction)-1],
			})
			continue
		}
		direct[c.Pod.Addr()] = append(direct[c.Pod.Addr()], links.Connection{Local: c.Pod, Remote: c.Peer})
	}
	if len(proxied) > 0 && e.proxy.launcher != nil {
		e.told("the proxy", len(proxied), e.config.Links.End(e.proxy.launcher.NetNS, proxied))
	}
	for addr, connections := range direct {
		l, err := e.config.Links.Find([]netip.Addr{addr})
		if err == nil {
			err = e.config.Links.EndOf(l, connections)
		}
		e.told(addr.String(), len(connections), err)
	}
}

// clientLeg is the leg of Envoy's sockets towards clients.
func clientLeg(d policy.Direction) int {
	if d == policy.Egress {
		return envoy.MarkEgressDownstream
	}
	return envoy.MarkIngressDownstream
}

func (e *Enforcer) told(who string, n int, err error) {
	if err != nil {
		e.config.Log.Info("open connections not ended at once", "of", who, "reason", err.Error())
		return
	}
	e.config.Log.Info("open connections ended", "of", who, "connections", n)
}
