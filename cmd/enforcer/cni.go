package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-logr/logr"

	"github.com/septum-dev/septum/enforcer/cni"
	"github.com/septum-dev/septum/enforcer/conflist"
)

// cniOptions are the flags of the CNI plugin.
type cniOptions struct {
	enabled           bool
	socket            string
	program           string
	binDir, confDir   string
	onFailure, exempt string
	timeout           time.Duration
}

func (o *cniOptions) flags(f *flag.FlagSet) {
	f.BoolVar(&o.enabled, "cni", false, "hold pods by the CNI plugin until their policy is in force")
	f.StringVar(&o.socket, "cni-socket", cni.DefaultSocket, "socket for the CNI plugin, at the same path on the node")
	f.StringVar(&o.program, "cni-program", "/"+cni.Binary, "the CNI plugin, to be copied")
	f.StringVar(&o.binDir, "cni-bin-dir", "/opt/cni/bin", "directory of the node's CNI plugins")
	f.StringVar(&o.confDir, "cni-conf-dir", "/etc/cni/net.d", "directory of the node's network configurations")
	f.DurationVar(&o.timeout, "cni-timeout", 10*time.Second, "how long a pod is held")
	f.StringVar(&o.onFailure, "cni-on-failure", "closed", "what becomes of a pod whose policy is not in force by then: closed or open")
	f.StringVar(&o.exempt, "cni-exempt-namespaces", "kube-system", "namespaces whose pods never wait, separated by commas")
}

// plugin is the entry in the network's list.
func (o *cniOptions) plugin() any {
	return struct {
		Type             string   `json:"type"`
		Socket           string   `json:"socket"`
		Timeout          string   `json:"timeout"`
		OnFailure        string   `json:"onFailure"`
		ExemptNamespaces []string `json:"exemptNamespaces"`
	}{cni.Binary, o.socket, o.timeout.String(), o.onFailure, strings.Split(o.exempt, ",")}
}

// setUpPlugin brings the node to what the flags say: with the plugin, or without it.
func setUpPlugin(log logr.Logger, o cniOptions) error {
	if !o.enabled {
		return removePlugin(o)
	}
	if err := conflist.Copy(o.program, o.binDir); err != nil {
		return err
	}
	_, err := conflist.Install(o.confDir, o.plugin())
	if errors.Is(err, conflist.ErrNoNetwork) || errors.Is(err, conflist.ErrNoList) {
		// The cluster's own CNI may come later; the enforcer goes on looking.
		log.Info("the CNI plugin is not in the network's list yet", "reason", err.Error())
		return nil
	}
	if err != nil {
		return fmt.Errorf("put the CNI plugin into the network's list: %w", err)
	}
	log.Info("the CNI plugin is in the network's list")
	return nil
}

// removePlugin takes the plugin out of the list, and removes it then.
func removePlugin(o cniOptions) error {
	if err := conflist.Remove(o.confDir, cni.Binary); err != nil {
		return fmt.Errorf("take the CNI plugin out of the network's list: %w", err)
	}
	if err := os.Remove(filepath.Join(o.binDir, cni.Binary)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the CNI plugin: %w", err)
	}
	return nil
}

// keepPlugin puts the plugin back whenever the cluster's CNI rewrites its list.
func keepPlugin(ctx context.Context, log logr.Logger, o cniOptions) error {
	last := ""
	done := func(changed bool, err error) {
		text := fmt.Sprint(err)
		switch {
		case err == nil && changed:
			log.Info("the CNI plugin is in the network's list again")
		case err != nil && text != last:
			log.Error(err, "the CNI plugin is not in the network's list: new pods are not held")
		}
		last = text
	}
	for ctx.Err() == nil {
		if err := conflist.Keep(ctx, o.confDir, o.plugin(), done); err != nil {
			log.Error(err, "network configurations not watched: watching again")
		}
		select {
		case <-ctx.Done():
		case <-time.After(watchAgain):
		}
	}
	return nil
}

func serveStarts(ctx context.Context, log logr.Logger, lis *net.UnixListener, starts chan<- *cni.Pod) error {
	came := func(p *cni.Pod) {
		select {
		case starts <- p:
		case <-p.Gone:
		case <-ctx.Done():
		}
	}
	return cni.Serve(ctx, lis, came, func(err error) { log.Info("pod's start not followed", "reason", err.Error()) })
}
