// Command septum-cni is a chained CNI plugin: it lets a pod start when the node's enforcer
// has the pod's policy in force. It changes nothing of the network itself.
package main

import (
	"context"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/version"
)

func main() {
	nothing := func(*skel.CmdArgs) error { return nil }
	skel.PluginMainFuncs(skel.CNIFuncs{
		Add: func(args *skel.CmdArgs) error { return add(context.Background(), args) },
		// Nothing was made that could be checked, deleted or collected. A deletion never
		// waits, and the node is ready for pods whether the enforcer is there or not: the
		// pods of exempt namespaces are to start without it.
		Check: nothing, Del: nothing, GC: nothing, Status: nothing,
	}, version.PluginSupports("0.3.1", "0.4.0", "1.0.0", "1.1.0"), "septum-cni: holds a pod until its policy is in force")
}
