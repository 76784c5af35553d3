package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/enforcer/flow"
	"github.com/septum-dev/septum/relay/facts"
	"github.com/septum-dev/septum/xds"
)

// well is a cluster of two nodes in which nothing is wrong.
func well(t *testing.T) clinic {
	t.Helper()
	ca, err := xds.NewCA(noon)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := ca.ReaderData(noon)
	if err != nil {
		t.Fatal(err)
	}
	two := int32(2)
	s := clinic{
		now: noon.Add(time.Hour), system: "septum-system",
		operator: &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app.kubernetes.io/version": "0.1.0"}},
			Spec:       appsv1.DeploymentSpec{Replicas: &two}, Status: appsv1.DeploymentStatus{ReadyReplicas: 2},
		},
		authority: &corev1.ConfigMap{Data: map[string]string{"ca.crt": string(ca.Bundle())}}, reader: &corev1.Secret{Data: reader},
		facts: map[string]facts.Node{},
	}
	for _, name := range []string{"septum-enforcer", "septum-proxy"} {
		s.sets = append(s.sets, appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: appsv1.DaemonSetStatus{DesiredNumberScheduled: 2, NumberReady: 2}})
	}
	for _, node := range []string{"node1", "node2"} {
		n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}
		n.Status.NodeInfo.KernelVersion = "6.8.0-31-generic"
		s.nodes = append(s.nodes, n)
		for _, component := range []string{"enforcer", "proxy"} {
			p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: component + "-" + node, Labels: map[string]string{"app.kubernetes.io/name": "septum", "app.kubernetes.io/component": component}}}
			p.Spec.NodeName, p.Spec.Containers = node, []corev1.Container{{Image: "registry:5000/septum-" + component + ":0.1.0"}}
			s.pods = append(s.pods, p)
		}
		s.facts[node] = facts.Node{Kernel: "6.8.0", BTF: true, Time: s.now, CertificateEnds: s.now.Add(20 * time.Hour), NodeVersion: node, ClusterVersion: "c", ProxyReady: true, CNI: "installed"}
	}
	for _, name := range kindsNeeded() {
		crd := unstructured.Unstructured{Object: map[string]any{}}
		crd.SetName(name)
		crd.SetLabels(map[string]string{"app.kubernetes.io/version": "0.1.0"})
		s.crds = append(s.crds, crd)
	}
	return s
}

func TestDoctor(t *testing.T) {
	node := func(s *clinic, name string, change func(*facts.Node)) {
		f := s.facts[name]
		change(&f)
		s.facts[name] = f
	}
	for name, c := range map[string]struct {
		harm   func(*clinic)
		unwell bool
	}{
		"well":        {func(*clinic) {}, false},
		"no-operator": {func(s *clinic) { s.operator = nil }, true},
		"no-replica":  {func(s *clinic) { s.operator.Status.ReadyReplicas = 0 }, true},
		"one-replica": {func(s *clinic) { s.operator.Status.ReadyReplicas = 1 }, false},
		"crashing": {func(s *clinic) {
			s.sets[0].Status.NumberReady = 1
			s.pods[0].Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
				LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: "open data path:\x1b[2J no bpffs"}}}}
			delete(s.facts, "node1")
		}, true},
		"no-set":      {func(s *clinic) { s.sets = s.sets[:1] }, true},
		"versions":    {func(s *clinic) { s.pods[2].Spec.Containers[0].Image = "registry:5000/septum-enforcer:0.2.0" }, false},
		"old-crd":     {func(s *clinic) { s.crds[2].SetLabels(nil) }, true},
		"no-crd":      {func(s *clinic) { s.crds = s.crds[:4] }, true},
		"old-kernel":  {func(s *clinic) { s.nodes[1].Status.NodeInfo.KernelVersion = "5.15.0-1" }, true},
		"no-enforcer": {func(s *clinic) { s.pods = s.pods[:2] }, true},
		"silent":      {func(s *clinic) { s.facts, s.silentWhy = nil, errors.New("there is no Secret") }, true},
		"no-btf":      {func(s *clinic) { node(s, "node2", func(f *facts.Node) { f.BTF = false }) }, true},
		"no-proxy":    {func(s *clinic) { node(s, "node2", func(f *facts.Node) { f.ProxyReady = false }) }, true},
		"no-plugin": {func(s *clinic) {
			node(s, "node2", func(f *facts.Node) { f.CNI = "septum-cni is not in 10-net.conflist" })
		}, true},
		"plugin-off": {func(s *clinic) { node(s, "node2", func(f *facts.Node) { f.CNI = "off" }) }, false},
		"skew":       {func(s *clinic) { node(s, "node2", func(f *facts.Node) { f.Time = f.Time.Add(-3 * time.Hour) }) }, false},
		"small-skew": {func(s *clinic) { node(s, "node2", func(f *facts.Node) { f.Time = f.Time.Add(50 * time.Second) }) }, false},
		"behind": {func(s *clinic) {
			s.facts["node3"] = s.facts["node1"]
			node(s, "node2", func(f *facts.Node) { f.ClusterVersion = "b" })
		}, false},
		"empty": {func(s *clinic) { node(s, "node2", func(f *facts.Node) { f.ClusterVersion = "" }) }, true},
		"hook": {func(s *clinic) {
			node(s, "node1", func(f *facts.Node) {
				f.Problems, f.More = []facts.Problem{{Pod: "demo/backend", Reason: "UnsupportedInterface", Message: "ipvlan"}, {Reason: "Datapath", Message: "map full"}}, 3
			})
		}, true},
		"leaf-ends":  {func(s *clinic) { node(s, "node1", func(f *facts.Node) { f.CertificateEnds = s.now.Add(time.Hour) }) }, false},
		"leaf-ended": {func(s *clinic) { node(s, "node1", func(f *facts.Node) { f.CertificateEnds = s.now.Add(-time.Hour) }) }, true},
		"ca-ends":    {func(s *clinic) { s.now = noon.Add(350 * 24 * time.Hour); s.reader = nil; s.facts = nil; s.nodes = nil }, false},
		"no-ca":      {func(s *clinic) { s.authority = nil }, true},
		"broken-ca":  {func(s *clinic) { s.authority.Data["ca.crt"] = "x" }, true},
		"no-rights":  {func(s *clinic) { s.unreadable = []error{errors.New("the CRDs: forbidden")} }, false},
		"policy": {func(s *clinic) {
			s.statuses = []v1alpha1.L7PolicyStatus{{PolicyRef: v1alpha1.PolicyReference{Kind: "CiliumNetworkPolicy", Namespace: "demo", Name: "reads"}, Status: v1alpha1.L7PolicyStatusStatus{Conditions: []metav1.Condition{
				{Type: v1alpha1.ConditionEnforced, Status: "False", Reason: "NodeUnreachable", Message: "node2 is not connected"}, {Type: v1alpha1.ConditionDegraded, Status: "True", Reason: "PartlyClosed", Message: "closed"}}}}}
		}, true},
		"no-pods": {func(s *clinic) {
			s.statuses = []v1alpha1.L7PolicyStatus{{Status: v1alpha1.L7PolicyStatusStatus{Conditions: []metav1.Condition{{Type: v1alpha1.ConditionEnforced, Status: "False", Reason: v1alpha1.ReasonNoPodSelected}}}}}
		}, false},
		"events": {func(s *clinic) {
			for i := range 8 {
				s.events = append(s.events, corev1.Event{InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "septum-proxy-x"}, Reason: "BackOff", Message: "again\x1b[2J",
					LastTimestamp: metav1.NewTime(s.now.Add(-time.Duration(i*20) * time.Minute))})
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := well(t)
			c.harm(&s)
			var out bytes.Buffer
			err := printFindings(&out, s, diagnose(s))
			if (err != nil) != c.unwell {
				t.Errorf("it ends with %v", err)
			}
			if bytes.ContainsRune(out.Bytes(), '\x1b') {
				t.Errorf("a control character reaches the terminal: %q", out.String())
			}
			golden(t, "doctor-"+name, out.String())
		})
	}
}

// What a node says comes to the doctor by the way of flows.
func TestDoctorAsksTheNodes(t *testing.T) {
	want := facts.Node{Kernel: "6.8.0", BTF: true, Time: noon, NodeVersion: "n", ClusterVersion: "c", CNI: "off"}
	for range facts.MaxProblems + 2 {
		want.Problems = append(want.Problems, facts.Problem{Pod: "demo/a", Reason: "R", Message: "m"})
	}
	r, err := flow.New(flow.Config{Node: "node1", Facts: func() facts.Node { return want }})
	if err != nil {
		t.Fatal(err)
	}
	s := clinic{facts: map[string]facts.Node{}}
	if err := s.ask(context.Background(), servedFrom(t, r, nil), io.Discard); err != nil {
		t.Fatal(err)
	}
	got, ok := s.facts["node1"]
	if !ok || !got.Time.Equal(noon) || got.Kernel != "6.8.0" || len(got.Problems) != facts.MaxProblems || got.More != 2 {
		t.Errorf("the node says %+v", s.facts)
	}
	nothing := served(t, nil)
	if err := s.ask(context.Background(), nothing, io.Discard); err != nil {
		t.Errorf("a node without facts: %v", err)
	}
}
