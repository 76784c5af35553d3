package controllers

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/septum-dev/septum/policy/ingest"
)

const (
	// secretsInterval is how often the Secrets that policies name are read again. They are
	// not watched: whoever may watch the Secrets of a namespace may read all of them.
	secretsInterval = 10 * time.Second
	// issueInterval is how often it is looked whether certificates that are issued for rules
	// must be others, as their issuer ends or a day begins.
	issueInterval = 10 * time.Minute
	// maxSecretKeys bounds the Secrets that all policies together can name.
	maxSecretKeys = 1000
)

// secretReader reads the Secrets that policies name, one by one, and no others.
type secretReader struct {
	// reader asks the API server itself.
	reader client.Reader
	shared []string
	// trigger asks for a compile.
	trigger func()
	log     logr.Logger
	// now is the time; nil for the clock's.
	now func() time.Time

	// leaves is used by the one that compiles.
	leaves ingest.Leaves

	mu sync.Mutex
	// at is when the last objects were given out, in steps of issueInterval.
	at   time.Time
	keys []string
	held map[string]heldSecret
}

// heldSecret is a Secret that was read, or why it could not be.
type heldSecret struct {
	secret     *corev1.Secret
	unreadable string
}

// into gives the objects what has been read.
func (r *secretReader) into(o *ingest.Objects) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o.SharedSecretNamespaces, o.UnreadableSecrets = r.shared, map[string]string{}
	r.at = r.step()
	o.Time, o.Leaves = r.at, &r.leaves
	for _, key := range r.keys {
		if h := r.held[key]; h.secret != nil {
			o.Secrets = append(o.Secrets, *h.secret)
		} else {
			o.UnreadableSecrets[key] = h.unreadable
		}
	}
}

// step is the time in steps, so that what is issued is compared with what was.
func (r *secretReader) step() time.Time {
	now := time.Now
	if r.now != nil {
		now = r.now
	}
	return now().UTC().Truncate(issueInterval)
}

// want says which Secrets the policies name, and reads those that are new. It returns
// whether into would give something else now. What cannot be read for now is an error: it
// must not close what is open.
func (r *secretReader) want(ctx context.Context, keys []string) (changed bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Equal(keys, r.keys) {
		return false, nil
	}
	held := make(map[string]heldSecret, len(keys))
	for i, key := range keys {
		h, known := r.held[key]
		switch {
		case i >= maxSecretKeys:
			h = heldSecret{unreadable: fmt.Sprintf("the policies name more than %d Secrets", maxSecretKeys)}
		case !known:
			changed = true
			if h, err = r.read(ctx, key); err != nil {
				return false, err
			}
		}
		held[key] = h
	}
	r.keys, r.held = slices.Clone(keys), held
	return changed, nil
}

func (r *secretReader) read(ctx context.Context, key string) (heldSecret, error) {
	namespace, name, _ := strings.Cut(key, "/")
	var got corev1.Secret
	err := r.reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &got)
	switch {
	case apierrors.IsNotFound(err):
		return heldSecret{unreadable: "it does not exist"}, nil
	case apierrors.IsForbidden(err):
		return heldSecret{unreadable: "the operator may not read it (docs/tls.md says how to allow it)"}, nil
	case err != nil:
		return heldSecret{}, fmt.Errorf("read Secret %q: %w", key, err)
	}
	return heldSecret{secret: &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: got.UID}, Data: got.Data, Type: got.Type,
	}}, nil
}

// run reads the Secrets again, once in a while, until the context ends.
func (r *secretReader) run(ctx context.Context) {
	tick := time.NewTicker(secretsInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if r.refresh(ctx) {
				r.trigger()
			}
		}
	}
}

// refresh says whether something is not as it was, the time among it.
func (r *secretReader) refresh(ctx context.Context) bool {
	r.mu.Lock()
	keys := r.keys[:min(len(r.keys), maxSecretKeys)]
	changed := len(keys) > 0 && !r.at.Equal(r.step())
	r.mu.Unlock()
	for _, key := range keys {
		now, err := r.read(ctx, key)
		if err != nil {
			r.log.Error(err, "a Secret that policies name could not be read; the last one stays")
			continue
		}
		r.mu.Lock()
		before, wanted := r.held[key]
		if wanted && !reflect.DeepEqual(before, now) {
			r.held[key], changed = now, true
		}
		r.mu.Unlock()
	}
	return changed
}
