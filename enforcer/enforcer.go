package enforcer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/septum-dev/septum/enforcer/launch"
	"github.com/septum-dev/septum/enforcer/names"
	"github.com/septum-dev/septum/enforcer/proxyns"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds"
	"github.com/septum-dev/septum/xds/septumpb"
)

// Intervals of the loop.
const (
	// tickInterval is how often counters are read and what failed is tried again.
	tickInterval = time.Second
	// rescanTicks is how many ticks lie between full scans of all namespaces and maps.
	rescanTicks = 30
	// podRetry is how soon a pod that is not found is looked for again, at first.
	podRetry = 100 * time.Millisecond
)

// Enforcer is the node agent. Its fields belong to Run's goroutine.
type Enforcer struct {
	config Config

	// next is the newest update that has not been begun.
	next *xds.Update
	// change is waiting for the proxies.
	change *change
	ask    ask
	// refused is the update that a proxy refused, until it takes one.
	refused *xds.Update
	// failed is a change whose map entries could not be written; it is tried again.
	failed *change
	// linger is what policy has left behind and connections still use, by class.
	linger  []lingering
	numbers policy.Numbers
	force   inForce
	pods    pods
	starts  starts
	names   namebook
	// last is the update that was committed last.
	last   xds.Update
	proxy  proxyState
	counts counts
	// problems that are not about one pod, by reason.
	problems map[string]string
	reported []byte
	// latest is what reported says, for other goroutines.
	latest atomic.Pointer[septumpb.NodeReport]
	ticks  int
}

// inForce is what the data path holds.
type inForce struct {
	known bool
	// told is the operator's policy, policy that and the addresses of pods that start.
	told, policy policy.NodePolicy
	// served is told with the classes that the proxies were given for what pods have learnt.
	served policy.NodePolicy
	// numbers are those of the maps.
	numbers policy.Numbers
	rules   map[uint32]policy.RuleID
	// responsible are the policies of each pod address and direction.
	responsible map[tableAt][]policy.Ref
	// nodeVersion and clusterVersion are the checkpoints that are completely in force.
	nodeVersion, clusterVersion string
	// awaited is the checkpoint that is in force when Envoy has taken what was last given to it.
	awaited string
	// seenNode and seenCluster are the last checkpoints that were acted upon, refused ones too.
	seenNode, seenCluster string
}

// proxyState is what is known of the proxy pod and of Envoy in it.
type proxyState struct {
	launcher *launch.Proxy
	gone     <-chan struct{}
	// attached is true while the veth to the launcher's namespace is in the data path.
	attached bool
	// connected is whether Envoy and the own proxy were connected when this was last asked.
	connected [2]bool
	// silentSince is when each was first found not connected; zero while it is.
	silentSince [2]time.Time
	// interfaces are the legs', in the launcher's namespace.
	interfaces [proxyns.Legs]int
	// mtu is what the interfaces have at least, fitted what they have at most too; 0: not known.
	mtu, fitted int
}

// New returns an Enforcer that has done nothing yet.
func New(config Config) (*Enforcer, error) {
	if err := config.complete(); err != nil {
		return nil, err
	}
	e := &Enforcer{config: config, problems: map[string]string{}}
	e.ask.answers = make(chan answer, 1)
	e.pods, e.starts = newPods(), newStarts()
	e.names.book = &names.Book{}
	e.counts = newCounts()
	return e, nil
}

// Run restores what was in force before, and then acts on what comes in until ctx ends.
// The data path stays as it is then: it goes on without the enforcer.
func (e *Enforcer) Run(ctx context.Context) error {
	defer e.ask.stop()
	if err := e.restore(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(tickInterval)
	defer tick.Stop()
	retry := time.NewTimer(podRetry)
	defer retry.Stop()
	for {
		e.config.Metrics.beat(e.config.Now())
		select {
		case <-ctx.Done():
			return nil
		case u := <-e.config.Source.Updates():
			e.next = &u
		case a := <-e.ask.answers:
			e.answered(ctx, a)
		case l := <-e.config.Inputs.Lookups:
			e.lookedUp(ctx, l)
			continue // answers wait for it; the next tick reports
		case p := <-e.config.Inputs.Starts:
			e.podStarts(p)
		case p := <-e.config.Inputs.Proxies:
			e.proxyCame(p)
		case <-e.proxy.gone:
			e.proxyWent()
		case <-e.config.Inputs.ProxyChanged:
			e.proxyChanged()
		case <-e.config.Inputs.Changed:
			e.hostAddrs()
			e.syncPods(false)
		case <-retry.C:
			e.syncPods(false)
		case <-tick.C:
			e.tick(ctx)
		case r := <-e.config.Inputs.Requests:
			e.request(r)
			e.flow(r)
			continue // there are many; the next tick reports what they came to
		case p := <-e.config.Inputs.Packets:
			e.packet(p)
			e.flow(e.eventOf(p))
			continue
		}
		e.advance(ctx)
		e.settle()
		if e.pods.missing() {
			retry.Reset(podRetry)
		}
		e.report()
	}
}

// restore puts in force what the last run had, before anybody is asked: after a reboot
// the maps are empty, and pods start before the operator answers.
func (e *Enforcer) restore(ctx context.Context) error {
	e.hostAddrs()
	e.baseline()
	e.loadStarts()
	e.loadNames()
	update, numbers, err := e.config.Store.Load()
	e.numbers = numbers
	if errors.Is(err, os.ErrNotExist) {
		e.config.Log.Info("no stored state: waiting for the operator")
		return nil
	}
	if err != nil {
		e.problem("StateUnreadable", err)
		return nil
	}
	c, err := e.prepare(update)
	if err != nil {
		return fmt.Errorf("restore stored state: %w", err)
	}
	// Envoy, if it runs, has this set already or gets it when it connects.
	e.startAsk(ctx, c.set, nil)
	e.commit(ctx, c)
	return nil
}

func (e *Enforcer) tick(ctx context.Context) {
	e.ticks++
	e.readCounters()
	if e.ticks%rescanTicks == 1 {
		fills, err := e.config.Datapath.Fills()
		e.outcome("MapsNotCounted", err)
		e.config.Metrics.fills(fills)
	}
	if e.failed != nil && e.change == nil {
		c := e.failed
		e.failed = nil
		e.commit(ctx, c)
	}
	e.drain(ctx)
	e.namesTick()
	e.hostAddrs()
	e.listenToProxies()
	e.keepProxy()
	e.syncPods(e.ticks%rescanTicks == 0)
	if e.ticks%rescanTicks == 0 {
		e.audit()
	}
}

func (e *Enforcer) hostAddrs() {
	addrs, err := e.config.Links.HostAddrs()
	if err == nil {
		err = e.config.Datapath.SetHostAddrs(addrs)
	}
	e.outcome("HostAddresses", err)
}

// outcome keeps err as a problem under the reason, or ends the problem.
func (e *Enforcer) outcome(reason string, err error) {
	if err != nil {
		e.problem(reason, err)
		return
	}
	delete(e.problems, reason)
}

func (e *Enforcer) problem(reason string, err error) {
	if e.problems[reason] != err.Error() {
		e.config.Log.Error(err, "not enforced as it should be", "reason", reason)
	}
	e.problems[reason] = err.Error()
}
