package controllers

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// contactEvery is how often a replica asks the API server for something.
	contactEvery = 5 * time.Second
	// contactLost is how long the API server may not answer.
	contactLost = 30 * time.Second
)

// contact ends a replica that the API server has not answered for long: it serves what was
// true when it last did, and its nodes may find another replica that knows better. Nodes
// that find none keep what they have.
type contact struct {
	// reader asks the API server itself.
	reader    client.Reader
	namespace string
	log       logr.Logger
	every     time.Duration
	lost      time.Duration
}

// NeedLeaderElection says that it runs on every replica.
func (c *contact) NeedLeaderElection() bool { return false }

// Start asks until the context ends, and fails when there was no answer for too long.
func (c *contact) Start(ctx context.Context) error {
	last := time.Now()
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		asked, cancel := context.WithTimeout(ctx, c.every)
		err := c.reader.Get(asked, client.ObjectKey{Namespace: c.namespace, Name: caName}, &corev1.ConfigMap{})
		cancel()
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
			last = time.Now()
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		if away := time.Since(last); away > c.lost {
			return fmt.Errorf("the API server has not answered for %s: another replica may know better: %w", away.Round(time.Second), err)
		}
		c.log.Error(err, "the API server does not answer")
	}
}
