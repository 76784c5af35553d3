package xds

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/septum-dev/septum/xds/septumpb"
)

// How often a client tries again, and looks whether its certificate must be renewed.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 10 * time.Second
	renewEvery = time.Minute
	// distrustAfter is how often the operator refuses a certificate before it is doubted.
	distrustAfter = 3
)

// ClientConfig is what a [Client] needs.
type ClientConfig struct {
	// Target is the operator's address, "host:port".
	Target string
	// ServerName is the name in the operator's certificate.
	ServerName string
	// Node is the name of the client's own node.
	Node string
	// RootsFile has the certificates to trust, in PEM. It is read again before each
	// connection, and need not exist yet.
	RootsFile string
	// TokenFile has the service account token that a certificate is given for.
	TokenFile string
	// StateDir is where the certificate and its key are kept; it must exist.
	StateDir string
	// State is what was saved before a restart; the zero State if nothing was.
	State State
	// Log takes what goes wrong and is tried again; the zero Logger drops it.
	Log logr.Logger
	// Now is the clock; time.Now if it is nil.
	Now func() time.Time
}

// Client is the enforcer's side: it holds what its node must enforce, and reports.
type Client struct {
	config   ClientConfig
	updates  chan Update
	identity *identity
	// shown is the identity for those who connect to the node.
	shown atomic.Pointer[identity]
	// view belongs to the goroutine of the xDS stream.
	view view
	// features are those that the operator is told.
	features []string

	reportMu sync.Mutex
	report   *septumpb.NodeReport
	reported chan struct{}
}

// NewClient returns a client that is not connected. If the config has a State, it is the
// first of Updates.
func NewClient(config ClientConfig) (*Client, error) {
	var errs []error
	for field, value := range map[string]string{
		"Target": config.Target, "ServerName": config.ServerName, "Node": config.Node,
		"RootsFile": config.RootsFile, "TokenFile": config.TokenFile, "StateDir": config.StateDir,
	} {
		if value == "" {
			errs = append(errs, fmt.Errorf("%s is empty", field))
		}
	}
	err := errors.Join(errs...)
	if err != nil {
		return nil, fmt.Errorf("xDS client: %w", err)
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	c := &Client{
		config: config, updates: make(chan Update, 1), reported: make(chan struct{}, 1), view: view{name: config.Node}, features: Features(),
	}
	if config.State.node != "" {
		if c.view, err = config.State.view(config.Node); err != nil {
			config.Log.Error(err, "stored state not used")
			c.view = view{name: config.Node}
		}
		c.deliver()
	}
	if c.identity, err = loadIdentity(config.StateDir, config.Node); err != nil && !errors.Is(err, os.ErrNotExist) {
		config.Log.Error(err, "stored certificate not used")
	}
	c.shown.Store(c.identity)
	return c, nil
}

// Updates returns what the node must enforce, each time that it changes. Whoever is late
// gets the newest only.
func (c *Client) Updates() <-chan Update { return c.updates }

// deliver puts the newest state in place of one that nobody has taken. Only one
// goroutine calls it, so that it never waits.
func (c *Client) deliver() {
	update, ok := c.view.update()
	if !ok {
		return
	}
	select {
	case <-c.updates:
	default:
	}
	c.updates <- update
}

// Report sends what the node has in its data path. The newest report replaces one that
// has not been sent, and is sent again on each new connection. It must not be changed
// afterwards.
func (c *Client) Report(report *septumpb.NodeReport) {
	c.reportMu.Lock()
	c.report = report
	c.reportMu.Unlock()
	select {
	case c.reported <- struct{}{}:
	default:
	}
}

// CertificateEnds is when the node's certificate does; zero while it has none.
func (c *Client) CertificateEnds() time.Time {
	shown := c.shown.Load()
	if shown == nil || shown.pair.Leaf == nil {
		return time.Time{}
	}
	return shown.pair.Leaf.NotAfter
}

func (c *Client) lastReport() *septumpb.NodeReport {
	c.reportMu.Lock()
	defer c.reportMu.Unlock()
	return c.report
}

// Run connects, and connects again, until the context ends. What it holds stays good
// while there is no connection.
func (c *Client) Run(ctx context.Context) error {
	wait, failures := firstRetry, 0
	for {
		answered, err := c.session(ctx, failures >= distrustAfter)
		if ctx.Err() != nil {
			return nil
		}
		if answered {
			wait, failures = firstRetry, 0
		}
		if refused(err) {
			failures++
		}
		// Nodes that lost the operator together must not come back together.
		pause := time.Duration((0.5 + rand.Float64()/2) * float64(wait))
		c.config.Log.Info("not connected to the operator", "reason", err.Error(), "retry", pause.Round(time.Millisecond).String())
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
		wait = min(wait*8/5, lastRetry)
	}
}

// refused says whether the operator does not take the certificate. With TLS 1.3 the
// client learns that after its own handshake, by an alert that has no error of its own.
func refused(err error) bool {
	return status.Code(err) == codes.Unauthenticated || strings.Contains(err.Error(), "remote error: tls:")
}

// session is one connection, from the certificate to its end. It says whether the
// operator answered with anything that could be used. With distrust it asks for a new
// certificate first: the operator may have a reason to refuse the old one.
func (c *Client) session(ctx context.Context, distrust bool) (answered bool, err error) {
	roots, err := c.roots()
	if err != nil {
		return false, err
	}
	if err := c.identity.good(roots, c.config.Now()); err != nil {
		if err := c.authenticate(ctx, roots); err != nil {
			return false, err
		}
	} else if distrust {
		if err := c.authenticate(ctx, roots); err != nil {
			c.config.Log.Error(err, "certificate not renewed")
		}
	}
	conn, err := c.dial(roots, &c.identity.pair)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.follow(ctx, conn, &answered) })
	group.Go(func() error { return c.sendReports(ctx, conn) })
	group.Go(func() error { return c.renew(ctx) })
	err = group.Wait()
	return answered, err
}

// renew gets a new certificate when it is time. The connection goes on with the old one.
func (c *Client) renew(ctx context.Context) error {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		roots, err := c.roots()
		if err == nil && c.identity.due(roots, c.config.Now()) {
			err = c.authenticate(ctx, roots)
		}
		if err != nil && ctx.Err() == nil {
			c.config.Log.Error(err, "certificate not renewed")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
