package controllers

import (
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/septum-dev/septum/relay"
	"github.com/septum-dev/septum/xds"
)

func TestFlowsAreReadWhereEnforcersRun(t *testing.T) {
	pod := func(namespace, name, account, node string, phase corev1.PodPhase, ip string) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec:       corev1.PodSpec{ServiceAccountName: account, NodeName: node},
			Status:     corev1.PodStatus{Phase: phase, PodIP: ip},
		}
	}
	c := fake.NewClientBuilder().WithScheme(testScheme(t)).WithObjects(
		pod("septum-system", "a", "septum-enforcer", "node1", corev1.PodRunning, "192.0.2.1"),
		pod("septum-system", "b", "septum-enforcer", "node2", corev1.PodRunning, "2001:db8::2"),
		pod("septum-system", "c", "septum-enforcer", "node3", corev1.PodPending, ""),
		pod("septum-system", "d", "septum-proxy", "node1", corev1.PodRunning, "192.0.2.1"),
		pod("demo", "e", "septum-enforcer", "node1", corev1.PodRunning, "192.0.2.9"),
	).Build()
	f := &flowServer{pods: c, namespace: "septum-system", serviceAccount: "septum-enforcer", port: 4247}
	got, err := f.nodes(t.Context())
	want := []relay.Node{{Name: "node1", Address: "192.0.2.1:4247"}, {Name: "node2", Address: "[2001:db8::2]:4247"}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("other nodes (%v):\n%s", err, diff)
	}
}

func TestReaderSecret(t *testing.T) {
	c := fake.NewClientBuilder().WithScheme(testScheme(t)).Build()
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := func() time.Time { return at }
	a := &authority{client: c, namespace: "septum-system", secret: "septum-ca", log: logr.Discard(), now: now}
	if err := a.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := &flowServer{client: c, namespace: "septum-system", authority: a, log: logr.Discard(), now: now}
	certificate := func() string {
		t.Helper()
		if err := f.syncReader(t.Context()); err != nil {
			t.Fatal(err)
		}
		var s corev1.Secret
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: "septum-system", Name: readerName}, &s); err != nil {
			t.Fatal(err)
		}
		return string(s.Data[xds.KeyCertificate])
	}
	first := certificate()
	if certificate() != first {
		t.Error("a good certificate was made anew")
	}
	at = at.Add(xds.LeafLifetime * 3 / 4)
	if certificate() == first {
		t.Error("a certificate that is due was kept")
	}
}
