package controllers

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/septum-dev/septum/xds"
)

func TestAuthority(t *testing.T) {
	c := fake.NewClientBuilder().WithScheme(testScheme(t)).Build()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a := &authority{client: c, namespace: "septum-system", secret: "septum-ca", log: logr.Discard(), now: func() time.Time { return at }}
	trusted := func() string {
		t.Helper()
		var m corev1.ConfigMap
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: "septum-system", Name: caName}, &m); err != nil {
			t.Fatal(err)
		}
		return m.Data[xds.KeyBundle]
	}
	sync := func() {
		t.Helper()
		if err := a.sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if trusted() != string(a.ca().Bundle()) {
			t.Fatal("nodes trust something else")
		}
	}
	sync()
	first := trusted()
	other := &authority{client: c, namespace: "septum-system", secret: "septum-ca", log: logr.Discard(), now: a.now}
	if err := other.sync(t.Context()); err != nil || string(other.ca().Bundle()) != first {
		t.Errorf("another operator has another authority (%v)", err)
	}
	at = at.Add(xds.CALifetime * 3 / 4)
	sync()
	if n := strings.Count(trusted(), "BEGIN"); n != 2 || !strings.Contains(trusted(), first) {
		t.Errorf("%d certificates are trusted in the rotation", n)
	}

	secret := &corev1.Secret{}
	key := client.ObjectKey{Namespace: "septum-system", Name: "septum-ca"}
	if err := c.Get(t.Context(), key, secret); err != nil {
		t.Fatal(err)
	}
	good := secret.DeepCopy()
	secret.Data[xds.KeyPrivate] = []byte("damaged")
	if err := c.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	before := a.ca()
	if err := a.sync(t.Context()); err == nil || a.ca() != before {
		t.Error("a damaged Secret was taken, or replaced")
	}
	good.ResourceVersion = secret.ResourceVersion
	if err := c.Update(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	sync()
}

func TestExternalAuthority(t *testing.T) {
	ca, err := xds.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	data, err := ca.Data()
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "septum-system", Name: "from-cert-manager"}, Data: data}
	c := fake.NewClientBuilder().WithScheme(testScheme(t)).Build()
	// The operator's clock says that a rotation is due: it must leave that to others.
	a := &authority{client: c, namespace: "septum-system", secret: "from-cert-manager", external: true, log: logr.Discard(),
		now: func() time.Time { return time.Now().Add(xds.CALifetime * 3 / 4) }}
	if err := a.sync(t.Context()); err == nil {
		t.Error("an external Secret was made")
	}
	if err := c.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	version := secret.ResourceVersion
	if err := a.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(secret), secret); err != nil || secret.ResourceVersion != version {
		t.Errorf("the external Secret was written (%v)", err)
	}
	if !bytes.Equal(a.ca().Bundle(), ca.Bundle()) {
		t.Error("another authority is in force")
	}
}

func TestAuthenticate(t *testing.T) {
	enforcer := pod("septum-enforcer-x", "enforcer", "node1", "10.99.0.11")
	enforcer.Namespace, enforcer.UID, enforcer.Spec.ServiceAccountName = "septum-system", "uid-1", "septum-enforcer"
	other := enforcer.DeepCopy()
	other.Name, other.UID, other.Spec.ServiceAccountName = "other", "uid-2", "default"
	status := func(change func(*authenticationv1.TokenReviewStatus)) authenticationv1.TokenReviewStatus {
		s := authenticationv1.TokenReviewStatus{
			Authenticated: true, Audiences: []string{"septum"},
			User: authenticationv1.UserInfo{
				Username: "system:serviceaccount:septum-system:septum-enforcer",
				Extra: map[string]authenticationv1.ExtraValue{
					extraPodName: {"septum-enforcer-x"}, extraPodUID: {"uid-1"}, extraNodeName: {"node1"},
				},
			},
		}
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		change func(*authenticationv1.TokenReviewStatus)
		want   string // of the error; "" for node1
	}{
		"an enforcer's":          {func(*authenticationv1.TokenReviewStatus) {}, ""},
		"of an older API server": {func(s *authenticationv1.TokenReviewStatus) { delete(s.User.Extra, extraNodeName) }, ""},
		"not valid":              {func(s *authenticationv1.TokenReviewStatus) { s.Authenticated = false }, "not valid"},
		"for the API server":     {func(s *authenticationv1.TokenReviewStatus) { s.Audiences = []string{"kubernetes"} }, "another audience"},
		"of another account": {func(s *authenticationv1.TokenReviewStatus) {
			s.User.Username = "system:serviceaccount:demo:septum-enforcer"
		}, "is of"},
		"bound to no pod":          {func(s *authenticationv1.TokenReviewStatus) { s.User.Extra = nil }, "not bound"},
		"of a pod that is gone":    {func(s *authenticationv1.TokenReviewStatus) { s.User.Extra[extraPodName] = []string{"gone"} }, "not found"},
		"of an earlier pod":        {func(s *authenticationv1.TokenReviewStatus) { s.User.Extra[extraPodUID] = []string{"uid-0"} }, "not the one"},
		"of a pod on another node": {func(s *authenticationv1.TokenReviewStatus) { s.User.Extra[extraNodeName] = []string{"node2"} }, "the token says node2"},
		"of another kind of pod": {func(s *authenticationv1.TokenReviewStatus) {
			s.User.Extra[extraPodName], s.User.Extra[extraPodUID] = []string{"other"}, []string{"uid-2"}
		}, "another service account"},
	} {
		t.Run(name, func(t *testing.T) {
			api := fake.NewClientBuilder().WithScheme(testScheme(t)).WithObjects(enforcer.DeepCopy(), other.DeepCopy()).
				WithInterceptorFuncs(interceptor.Funcs{Create: func(_ context.Context, _ client.WithWatch, o client.Object, _ ...client.CreateOption) error {
					review := o.(*authenticationv1.TokenReview)
					if review.Spec.Token != "token" || len(review.Spec.Audiences) != 1 || review.Spec.Audiences[0] != "septum" {
						t.Errorf("asked for %+v", review.Spec)
					}
					review.Status = status(c.change)
					return nil
				}}).Build()
			a := &authenticator{client: api, reader: api, namespace: "septum-system", serviceAccount: "septum-enforcer"}
			node, err := a.authenticate(t.Context(), "token")
			if c.want == "" && (err != nil || node != "node1") {
				t.Errorf("node %q, error %v", node, err)
			}
			if c.want != "" && (err == nil || node != "" || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("node %q, error %v, want one with %q", node, err, c.want)
			}
		})
	}
}
