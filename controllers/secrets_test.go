package controllers

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/septum-dev/septum/policy/ingest"
)

// TestSecretReader: only Secrets that are named are asked for, each by its name; one that
// cannot be read for now neither opens nor closes anything.
func TestSecretReader(t *testing.T) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "token"}, Data: map[string][]byte{"v": []byte("one")}}
	var asked []string
	var fail error
	c := fake.NewClientBuilder().WithScheme(testScheme(t)).WithObjects(secret).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			asked = append(asked, key.String())
			switch {
			case key.Namespace == "closed":
				return apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, key.Name, errors.New("no"))
			case fail != nil:
				return fail
			}
			return c.Get(ctx, key, obj, opts...)
		},
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			t.Error("Secrets are listed")
			return nil
		},
	}).Build()
	r := &secretReader{reader: c, log: logr.Discard()}
	keys := []string{"closed/x", "demo/missing", "demo/token"}
	fail = errors.New("away")
	if _, err := r.want(t.Context(), keys); err == nil {
		t.Error("no error while the API server is away")
	}
	fail, asked = nil, nil
	if changed, err := r.want(t.Context(), keys); err != nil || !changed || len(asked) != 3 {
		t.Fatalf("changed %v, %v, asked %q", changed, err, asked)
	}
	var o ingest.Objects
	r.into(&o)
	if len(o.Secrets) != 1 || string(o.Secrets[0].Data["v"]) != "one" || len(o.UnreadableSecrets) != 2 {
		t.Errorf("got %d Secrets, unreadable %q", len(o.Secrets), o.UnreadableSecrets)
	}
	if changed, _ := r.want(t.Context(), keys); changed {
		t.Error("the same keys change something")
	}
	if r.refresh(t.Context()) {
		t.Error("changed without a change")
	}
	fail = errors.New("away")
	if r.refresh(t.Context()) {
		t.Error("changed while the API server is away")
	}
	fail = nil
	secret.Data["v"] = []byte("two")
	if err := c.Update(t.Context(), secret.DeepCopy()); err == nil {
		t.Log("updated")
	} else if err := c.Delete(t.Context(), secret.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	if !r.refresh(t.Context()) {
		t.Error("a rotated Secret is not seen")
	}
	if changed, err := r.want(t.Context(), nil); err != nil || changed || len(r.held) != 0 {
		t.Errorf("Secrets that nobody names any more are kept: %v %v", changed, err)
	}
}

// TestSecretTime: what is issued is asked for again when the time for it may have come, and not before.
func TestSecretTime(t *testing.T) {
	at := time.Date(2030, 5, 17, 23, 58, 0, 0, time.UTC)
	c := fake.NewClientBuilder().WithScheme(testScheme(t)).Build()
	r := &secretReader{reader: c, log: logr.Discard(), now: func() time.Time { return at }}
	var o ingest.Objects
	r.into(&o)
	if _, err := r.want(t.Context(), []string{"demo/ca"}); err != nil {
		t.Fatal(err)
	}
	if r.refresh(t.Context()) || o.Leaves == nil || !o.Time.Equal(at.Truncate(issueInterval)) {
		t.Errorf("changed at once, at %s", o.Time)
	}
	at = at.Add(3 * time.Minute)
	if !r.refresh(t.Context()) {
		t.Error("a new day changes nothing")
	}
	if r.into(&o); r.refresh(t.Context()) {
		t.Error("it changes twice")
	}
}
