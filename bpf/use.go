package bpf

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/policy"
)

// Use is a pod's open connection, or flow of datagrams, to an address.
type Use struct{ Pod, Peer netip.Addr }

// How long a silent connection or flow counts as open. Of a connection whose ends are gone
// without a word nobody tells the data path.
const (
	connectionIdle = 24 * time.Hour
	flowIdle       = 3 * time.Minute
)

// InUse returns what pods have open, of what they began themselves.
func (d *Datapath) InUse() ([]Use, error) {
	conns, err := readMap[septumConnKey, septumConn](d.objs.Conns)
	if err != nil {
		return nil, fmt.Errorf("read connections: %w", err)
	}
	flows, err := readMap[septumConnKey, septumConn](d.objs.Datagrams)
	if err != nil {
		return nil, fmt.Errorf("read flows: %w", err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return nil, fmt.Errorf("read the clock: %w", err)
	}
	const finished = septumConnFlagsCONN_FIN_FORWARD | septumConnFlagsCONN_FIN_REPLY
	const ended = septumConnFlagsCONN_CUT | septumConnFlagsCONN_RST
	open := map[Use]bool{}
	note := func(k septumConnKey, c septumConn, idle time.Duration) {
		silent := time.Duration(now.Nano()) - time.Duration(c.Seen)
		denied := policy.Verdict(c.Verdict) == policy.Denied
		if policy.Direction(c.Direction) != policy.Egress || denied || silent > idle || c.Flags&ended != 0 || c.Flags&finished == finished {
			return
		}
		open[Use{Pod: addrOfKey(k.Pod), Peer: addrOfKey(k.Peer)}] = true
	}
	for k, c := range conns {
		note(k, c, connectionIdle)
	}
	for k, c := range flows {
		note(k, c, flowIdle)
	}
	out := make([]Use, 0, len(open))
	for u := range open {
		out = append(out, u)
	}
	return out, nil
}
