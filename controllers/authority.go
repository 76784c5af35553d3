package controllers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/septum-dev/septum/xds"
)

const (
	// caName is the name of the authority's ConfigMap, and of its Secret where Septum makes it.
	caName = "septum-ca"
	// caEvery is how often the authority is looked at.
	caEvery = time.Minute
	// caFirst is how often while there is none.
	caFirst = 2 * time.Second
	// caPoll is how often its coming is looked for in memory.
	caPoll = 100 * time.Millisecond
)

// authority keeps the certificate authority's Secret, and the ConfigMap with the
// certificates that nodes trust: the leader writes them, every replica reads the Secret.
type authority struct {
	// client must read from the API server itself: the operator may read no other Secret.
	client    client.Client
	namespace string
	// secret is the Secret's name; external says that somebody else makes and renews it.
	secret   string
	external bool
	log      logr.Logger
	now      func() time.Time

	current atomic.Pointer[xds.CA]
}

// ca returns the authority in force; nil before the first sync.
func (a *authority) ca() *xds.CA { return a.current.Load() }

// sync makes the objects what they must be now, and takes over what they say. While it
// fails, what was in force stays.
func (a *authority) sync(ctx context.Context) error {
	ca, err := a.syncSecret(ctx)
	if err != nil {
		return err
	}
	if err := a.syncBundle(ctx, ca.Bundle()); err != nil {
		return err
	}
	a.current.Store(ca)
	return nil
}

// read returns what the leader has written, and changes nothing.
func (a *authority) read(ctx context.Context) (*xds.CA, error) {
	secret := &corev1.Secret{}
	if err := a.client.Get(ctx, client.ObjectKey{Namespace: a.namespace, Name: a.secret}, secret); err != nil {
		return nil, fmt.Errorf("read the certificate authority: %w", err)
	}
	ca, err := xds.ParseCA(secret.Data)
	if err != nil {
		return nil, fmt.Errorf("read the certificate authority in Secret %s: %w", a.secret, err)
	}
	return ca, nil
}

func (a *authority) syncSecret(ctx context.Context) (*xds.CA, error) {
	secret := &corev1.Secret{}
	err := a.client.Get(ctx, client.ObjectKey{Namespace: a.namespace, Name: a.secret}, secret)
	switch {
	case apierrors.IsNotFound(err) && !a.external:
		return a.createSecret(ctx)
	case err != nil:
		return nil, fmt.Errorf("read the certificate authority: %w", err)
	}
	ca, err := xds.ParseCA(secret.Data)
	if err != nil {
		// It is not replaced: every node trusts it, and somebody may be able to mend it.
		return nil, fmt.Errorf("read the certificate authority in Secret %s: %w", a.secret, err)
	}
	if a.external {
		return ca, nil
	}
	next, changed, err := ca.Rotate(a.now())
	if err != nil {
		return nil, fmt.Errorf("rotate the certificate authority: %w", err)
	}
	if !changed {
		return ca, nil
	}
	if secret.Data, err = next.Data(); err != nil {
		return nil, err
	}
	if err := a.client.Update(ctx, secret); err != nil { // fails if another has changed it since
		return nil, fmt.Errorf("write the rotated certificate authority: %w", err)
	}
	a.log.Info("certificate authority rotated")
	return next, nil
}

func (a *authority) createSecret(ctx context.Context) (*xds.CA, error) {
	ca, err := xds.NewCA(a.now())
	if err != nil {
		return nil, err
	}
	data, err := ca.Data()
	if err != nil {
		return nil, err
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: a.secret, Labels: ownLabels()},
		Type:       corev1.SecretTypeTLS, Data: data,
	}
	if err := a.client.Create(ctx, secret); err != nil {
		return nil, fmt.Errorf("make the certificate authority: %w", err)
	}
	a.log.Info("certificate authority made")
	return ca, nil
}

func (a *authority) syncBundle(ctx context.Context, bundle []byte) error {
	want := map[string]string{xds.KeyBundle: string(bundle)}
	bundleMap := &corev1.ConfigMap{}
	err := a.client.Get(ctx, client.ObjectKey{Namespace: a.namespace, Name: caName}, bundleMap)
	switch {
	case apierrors.IsNotFound(err):
		bundleMap = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: caName, Labels: ownLabels()}, Data: want}
		err = a.client.Create(ctx, bundleMap)
	case err == nil && !reflect.DeepEqual(bundleMap.Data, want):
		bundleMap.Data = want
		err = a.client.Update(ctx, bundleMap)
	}
	if err != nil {
		return fmt.Errorf("write the certificates that nodes trust: %w", err)
	}
	return nil
}

// run syncs until the context ends.
func (a *authority) run(ctx context.Context) {
	wait := caEvery
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		before := a.ca()
		err := a.sync(ctx)
		switch {
		case errors.Is(err, context.Canceled):
		case err != nil:
			a.log.Error(err, "certificate authority not in order")
		case before != nil && !bytes.Equal(before.Bundle(), a.ca().Bundle()):
			a.log.Info("the certificates that nodes trust have changed")
		}
	}
}

// follow reads what the leader has written, on every replica, until the context ends. The
// leader's own sync may find out first, and says the same.
func (a *authority) follow(ctx context.Context) {
	for {
		wait := caEvery
		ca, err := a.read(ctx)
		switch {
		case err == nil:
			a.current.Store(ca)
		case a.ca() == nil:
			wait = caFirst // the leader has yet to make it
		case ctx.Err() == nil:
			a.log.Error(err, "certificate authority not read")
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// wait returns when there is an authority.
func (a *authority) wait(ctx context.Context) error {
	for a.ca() == nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(caPoll):
		}
	}
	return nil
}

func ownLabels() map[string]string {
	return map[string]string{"app.kubernetes.io/part-of": "septum", "app.kubernetes.io/managed-by": "septum-operator"}
}
