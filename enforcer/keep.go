package enforcer

import "fmt"

// Whoever is root on the node can take away what the data path consists of. What is gone is put
// back by the next tick, and what was written over within half a minute; each time is logged and
// counted.

// keepFirst pins again what was unpinned, attaches again what was detached, and undoes it when
// another program has been attached before ours.
func (e *Enforcer) keepFirst() {
	pins, err := e.config.Datapath.KeepPinned()
	e.outcome("MapsNotPinned", err)
	if len(pins) > 0 {
		e.config.Log.Info("maps had lost their pins, and are pinned again", "maps", pins)
		e.config.Metrics.repaired("pin", len(pins))
	}
	moved, err := e.config.Datapath.PutFirst()
	e.outcome("ProgramOrder", err)
	if len(moved) > 0 {
		e.config.Log.Info("programs were gone, or others came before ours, which are first again", "interfaces", moved)
		e.config.Metrics.moved(len(moved))
	}
}

// keepProxy attaches the proxy again where a part of that is gone.
func (e *Enforcer) keepProxy() {
	if e.proxy.launcher == nil || !e.proxy.attached {
		return
	}
	whole, err := e.config.Datapath.ProxyIsAttached()
	if err == nil && !whole {
		e.config.Log.Info("programs of the proxy were gone, and are attached again")
		e.config.Metrics.repaired("proxy", 1)
		err = e.setUpProxy(e.proxy.launcher)
	}
	e.outcome("ProxyNotAttached", err)
}

// audit compares the maps with what was written to them.
func (e *Enforcer) audit() {
	wrong, err := e.config.Datapath.Audit()
	e.outcome("MapsNotRead", err)
	if len(wrong) == 0 {
		return
	}
	e.config.Log.Error(fmt.Errorf("somebody else has written to %q", wrong), "maps are written again")
	e.config.Metrics.repaired("map", len(wrong))
	e.starts.changed = true // settle writes, and again until it is written
}
