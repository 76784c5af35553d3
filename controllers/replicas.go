package controllers

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/septum-dev/septum/xds"
	"github.com/septum-dev/septum/xds/septumpb"
)

const (
	// replicasEvery is how often the leader looks for replicas that it does not follow yet.
	replicasEvery = 2 * time.Second
	// replicaRetry is the wait before one is asked again.
	replicaRetry = time.Second
)

// replicas follows the operator's other replicas, on the leader: the statuses that it writes
// are of all nodes, whichever replica they are connected to.
type replicas struct {
	// pods are the cache.
	pods      client.Reader
	namespace string
	// pod is this replica's own; port is that of the replicas for nodes.
	pod, port string
	// follow asks the replica at an address until it does not answer any more.
	follow func(ctx context.Context, address string, take func(*septumpb.NodeState)) error
	fleet  *fleet
	log    logr.Logger
}

func (o *Operator) newReplicas() (*replicas, error) {
	_, port, err := net.SplitHostPort(o.config.GRPCAddress)
	if err != nil {
		return nil, fmt.Errorf("find the port for nodes: %w", err)
	}
	return &replicas{
		pods: o.manager.GetCache(), namespace: o.config.Namespace, pod: o.config.Pod, port: port, fleet: o.fleet,
		log: o.config.Log.WithName("replicas"),
		follow: func(ctx context.Context, address string, take func(*septumpb.NodeState)) error {
			return xds.FollowReplica(ctx, xds.ReplicaConfig{
				Address: address, ServerName: o.config.ServerNames[0], CA: o.authority.ca(), Now: time.Now,
			}, take)
		},
	}, nil
}

// run follows whoever is there until the context ends.
func (r *replicas) run(ctx context.Context) {
	if r.pod == "" {
		return // not a pod: there are no others
	}
	following := map[string]context.CancelFunc{}
	var group sync.WaitGroup
	defer group.Wait()
	for {
		others, err := r.others(ctx)
		if err != nil && ctx.Err() == nil {
			r.log.Error(err, "other replicas not found")
		}
		for name, cancel := range following {
			if _, there := others[name]; !there && err == nil {
				cancel()
				delete(following, name)
			}
		}
		for name, address := range others {
			if following[name] == nil {
				each, cancel := context.WithCancel(ctx)
				following[name] = cancel
				group.Go(func() { r.keep(each, name, address) })
			}
		}
		select {
		case <-ctx.Done():
			for _, cancel := range following {
				cancel()
			}
			return
		case <-time.After(replicasEvery):
		}
	}
}

// keep follows one replica, again and again, until the context ends.
func (r *replicas) keep(ctx context.Context, name, address string) {
	for {
		err := r.follow(ctx, address, func(s *septumpb.NodeState) { r.fleet.heard(name, s) })
		r.fleet.unheard(name)
		if ctx.Err() == nil {
			r.log.Info("replica does not answer", "pod", name, "reason", err.Error())
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(replicaRetry):
		}
	}
}

// others are the addresses of the other replicas, by their pods' names: pods that run with
// the operator's own service account, and so with all of its rights.
func (r *replicas) others(ctx context.Context) (map[string]string, error) {
	var pods corev1.PodList
	if err := r.pods.List(ctx, &pods, client.InNamespace(r.namespace)); err != nil {
		return nil, fmt.Errorf("list the operator's pods: %w", err)
	}
	account := ""
	for _, p := range pods.Items {
		if p.Name == r.pod {
			account = p.Spec.ServiceAccountName
		}
	}
	out := map[string]string{}
	for _, p := range pods.Items {
		if account != "" && p.Name != r.pod && p.Spec.ServiceAccountName == account && p.Status.Phase == corev1.PodRunning && p.Status.PodIP != "" {
			out[p.Name] = net.JoinHostPort(p.Status.PodIP, r.port)
		}
	}
	return out, nil
}
