package main

import (
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/enforcer"
	"github.com/septum-dev/septum/enforcer/cni"
	"github.com/septum-dev/septum/enforcer/conflist"
	"github.com/septum-dev/septum/relay/facts"
	"github.com/septum-dev/septum/xds"
)

// sayer says what is so on the node, for "kubectl septum doctor".
type sayer struct {
	options options
	client  *xds.Client
	loop    atomic.Pointer[enforcer.Enforcer]
}

func (s *sayer) facts() facts.Node {
	n := facts.Node{Kernel: kernelRelease(), Time: time.Now(), CertificateEnds: s.client.CertificateEnds(), CNI: s.plugin()}
	_, err := os.Stat("/sys/kernel/btf/vmlinux")
	n.BTF = err == nil
	loop := s.loop.Load()
	if loop == nil {
		return n
	}
	r := loop.LastReport()
	n.NodeVersion, n.ClusterVersion, n.ProxyReady = r.GetNodeVersion(), r.GetClusterVersion(), r.GetProxyReady()
	for _, p := range r.GetProblems() {
		if len(n.Problems) == facts.MaxProblems {
			n.More++
			continue
		}
		n.Problems = append(n.Problems, facts.Problem{Pod: p.GetEndpoint(), Reason: p.GetReason(), Message: p.GetMessage()})
	}
	return n
}

// plugin is whether the CNI plugin is where the runtime finds it.
func (s *sayer) plugin() string {
	o := s.options.cni
	if !o.enabled {
		return "off"
	}
	binDir := o.binDir
	if _, err := os.Stat(binDir); err != nil {
		binDir = "" // it is not mounted here: what put the program there saw it
	}
	if err := conflist.Check(o.confDir, binDir, cni.Binary); err != nil {
		return err.Error()
	}
	return "installed"
}

func kernelRelease() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}
