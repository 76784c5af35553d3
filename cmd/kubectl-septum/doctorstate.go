package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	observerpb "github.com/cilium/cilium/api/v1/observer"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/relay/facts"
)

// clinic is all that a diagnosis is made of.
type clinic struct {
	now time.Time
	// system is the namespace that Septum is installed in.
	system     string
	operator   *appsv1.Deployment
	sets       []appsv1.DaemonSet
	pods       []corev1.Pod
	nodes      []corev1.Node
	crds       []unstructured.Unstructured
	events     []corev1.Event
	statuses   []v1alpha1.L7PolicyStatus
	authority  *corev1.ConfigMap
	reader     *corev1.Secret
	facts      map[string]facts.Node
	silentWhy  error // why no node could be asked
	asked      time.Duration
	unreadable []error
}

// examine reads the cluster. What cannot be read is a finding, and not the end.
func examine(ctx context.Context, src *source, c client.Client, errOut io.Writer) (clinic, error) {
	s := clinic{now: time.Now(), system: src.system, facts: map[string]facts.Node{}}
	var nodes corev1.NodeList
	if err := c.List(ctx, &nodes); err != nil {
		return s, fmt.Errorf("list the nodes: %w", err)
	}
	s.nodes = nodes.Items
	read := func(what string, err error) bool {
		if client.IgnoreNotFound(err) != nil {
			s.unreadable = append(s.unreadable, fmt.Errorf("%s: %w", what, err))
		}
		return err == nil
	}
	in := client.InNamespace(s.system)
	operator, config, secret := &appsv1.Deployment{}, &corev1.ConfigMap{}, &corev1.Secret{}
	if read("the operator", c.Get(ctx, client.ObjectKey{Namespace: s.system, Name: "septum-operator"}, operator)) {
		s.operator = operator
	}
	if read("the authority", c.Get(ctx, client.ObjectKey{Namespace: s.system, Name: "septum-ca"}, config)) {
		s.authority = config
	}
	if read("the certificate for flows", c.Get(ctx, client.ObjectKey{Namespace: s.system, Name: readerSecret}, secret)) {
		s.reader = secret
	}
	var sets appsv1.DaemonSetList
	var pods corev1.PodList
	var events corev1.EventList
	read("the DaemonSets", c.List(ctx, &sets, in))
	read("the pods", c.List(ctx, &pods, in))
	read("the events", c.List(ctx, &events, in, client.MatchingFields{"type": corev1.EventTypeWarning}))
	s.sets, s.pods, s.events = sets.Items, pods.Items, events.Items
	crds := unstructured.UnstructuredList{}
	crds.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinitionList"})
	if read("the CRDs", c.List(ctx, &crds, client.MatchingLabels{"app.kubernetes.io/name": "septum"})) {
		s.crds = crds.Items
	}
	var err error
	s.statuses, err = statuses(ctx, c)
	read("the policies' status", err)
	before := time.Now()
	s.silentWhy = s.ask(ctx, src, errOut)
	s.asked = time.Since(before)
	return s, nil
}

// ask has each node's enforcer say what is so.
func (s *clinic) ask(ctx context.Context, src *source, errOut io.Writer) error {
	conn, done, err := src.connect(ctx, errOut)
	if err != nil {
		return err
	}
	defer done()
	ctx, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	stream, err := observerpb.NewObserverClient(conn).GetAgentEvents(ctx, &observerpb.GetAgentEventsRequest{})
	if err != nil {
		return fmt.Errorf("ask the nodes: %w", err)
	}
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("ask the nodes: %w", err)
		}
		n, ok, err := facts.Of(res)
		if err != nil {
			return err
		}
		if ok {
			s.facts[res.GetNodeName()] = n
		}
	}
}
