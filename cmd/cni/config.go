package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/septum-dev/septum/enforcer/cni"
)

// The values of onFailure.
const (
	failClosed = "closed"
	failOpen   = "open"
)

// config is the plugin's part of the network configuration.
type config struct {
	types.PluginConf
	// Socket is the enforcer's; cni.DefaultSocket if it is empty.
	Socket string `json:"socket"`
	// Timeout is how long a pod is held, such as "10s".
	Timeout string `json:"timeout"`
	// OnFailure says what becomes of a pod whose policy is not in force by then: "closed"
	// (it does not start, and the kubelet tries again) or "open".
	OnFailure string `json:"onFailure"`
	// ExemptNamespaces are those whose pods never wait.
	ExemptNamespaces []string `json:"exemptNamespaces"`

	timeout time.Duration
}

const defaultTimeout = 10 * time.Second

// parse reads the configuration and the result of the plugins before.
func parse(text []byte) (config, error) {
	c := config{Socket: cni.DefaultSocket, OnFailure: failClosed, timeout: defaultTimeout}
	if err := json.Unmarshal(text, &c); err != nil {
		return c, fmt.Errorf("read configuration: %w", err)
	}
	if c.Timeout != "" {
		var err error
		if c.timeout, err = time.ParseDuration(c.Timeout); err != nil || c.timeout <= 0 {
			return c, fmt.Errorf("timeout %q is no length of time above 0", c.Timeout)
		}
	}
	if c.OnFailure != failClosed && c.OnFailure != failOpen {
		return c, fmt.Errorf("onFailure is %q, not %s or %s", c.OnFailure, failClosed, failOpen)
	}
	if err := version.ParsePrevResult(&c.PluginConf); err != nil {
		return c, fmt.Errorf("read the result of the plugins before: %w", err)
	}
	if c.PrevResult == nil {
		return c, fmt.Errorf("%s is chained after another plugin, and there is no result of one", cni.Binary)
	}
	return c, nil
}

func (c config) exempt(namespace string) bool { return slices.Contains(c.ExemptNamespaces, namespace) }

// podOf reads the pod from CNI_ARGS. It is empty for a container that is no pod's.
func podOf(args string) cni.Request {
	var r cni.Request
	for _, pair := range strings.Split(args, ";") {
		key, value, _ := strings.Cut(pair, "=")
		switch key {
		case "K8S_POD_NAMESPACE":
			r.Namespace = value
		case "K8S_POD_NAME":
			r.Name = value
		case "K8S_POD_UID":
			r.UID = value
		}
	}
	return r
}
