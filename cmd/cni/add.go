package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/septum-dev/septum/enforcer/cni"
)

// askInterval is how soon an enforcer that is not there is looked for again.
const askInterval = 200 * time.Millisecond

// add holds the pod and passes the result of the plugins before on.
func add(ctx context.Context, args *skel.CmdArgs) error {
	c, err := parse(args.StdinData)
	if err != nil {
		return fmt.Errorf("%s: %w", cni.Binary, err)
	}
	pod := podOf(args.Args)
	if pod.Namespace == "" && pod.Name == "" || c.exempt(pod.Namespace) {
		return types.PrintResult(c.PrevResult, c.CNIVersion)
	}
	pod.NetNS = args.Netns
	if err := hold(ctx, c, pod); err != nil {
		if c.OnFailure != failOpen {
			return fmt.Errorf("%s: pod %s does not start, as its policy is not in force on this node: %w", cni.Binary, pod.Key(), err)
		}
		fmt.Fprintf(os.Stderr, "%s: pod %s starts without its policy: %v\n", cni.Binary, pod.Key(), err)
	}
	return types.PrintResult(c.PrevResult, c.CNIVersion)
}

// hold waits until the enforcer says that the pod may start.
func hold(ctx context.Context, c config, pod cni.Request) error {
	if pod.UID == "" {
		return errors.New("the container runtime does not say the pod's UID (K8S_POD_UID)")
	}
	result, err := types100.NewResultFromResult(c.PrevResult)
	if err != nil {
		return fmt.Errorf("read the result of the plugins before: %w", err)
	}
	if pod.Addresses = addressesOf(result); len(pod.Addresses) == 0 {
		return errors.New("the plugins before gave it no address")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, fmt.Errorf("waited %s for the enforcer", c.timeout))
	defer cancel()
	for {
		reply, err := cni.Ask(ctx, c.Socket, pod)
		switch {
		case err == nil && reply.OK:
			return nil
		case err == nil:
			return fmt.Errorf("the enforcer: %s", reply.Error)
		case ctx.Err() != nil:
			return err
		}
		select { // an enforcer that is being replaced comes back
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(askInterval):
		}
	}
}

// addressesOf are the pod's own: those of interfaces in its namespace, or of none that is named.
func addressesOf(result *types100.Result) []netip.Addr {
	var out []netip.Addr
	for _, ip := range result.IPs {
		if ip.Interface != nil && *ip.Interface >= 0 && *ip.Interface < len(result.Interfaces) && result.Interfaces[*ip.Interface].Sandbox == "" {
			continue
		}
		if addr, ok := netip.AddrFromSlice(ip.Address.IP); ok {
			out = append(out, addr.Unmap())
		}
	}
	return out
}
