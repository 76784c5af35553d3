package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// Shares are how many connections the proxy serves at once, of one client (an address, on
// ingress and on egress) and of one class; 0 is any number. More are refused, also where they
// may go on unjudged.
type Shares struct{ Client, Class uint32 }

// SetShares says what each client and each class may have.
func (d *Datapath) SetShares(s Shares) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.updateNode(func(c *septumNodeConfig) { c.ClientLimit, c.ClassLimit = s.Client, s.Class })
}

// forgetShares forgets who has connections with a proxy that is gone: its sockets may end
// when no program sees it.
func (d *Datapath) forgetShares() error {
	shares, err := readMap[septumShareKey, uint32](d.objs.Shares)
	if err != nil {
		return fmt.Errorf("read the proxy's shares: %w", err)
	}
	for k := range shares {
		if err := d.objs.Shares.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget a share of the proxy: %w", err)
		}
	}
	return nil
}
