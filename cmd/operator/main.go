// The operator turns policies into what each node must enforce, and serves it.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/septum-dev/septum/controllers"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "septum-operator:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("septum-operator", flag.ContinueOnError)
	var config controllers.Config
	flags.StringVar(&config.Namespace, "namespace", "septum-system", "namespace of the operator and the enforcers")
	flags.StringVar(&config.Pod, "pod", os.Getenv("POD_NAME"), "name of the operator's own pod (default: POD_NAME)")
	flags.StringVar(&config.ClusterName, "cluster-name", "default", "value of the label io.cilium.k8s.policy.cluster")
	flags.StringVar(&config.EnforcerServiceAccount, "enforcer-service-account", "septum-enforcer", "service account whose tokens nodes may show")
	flags.StringVar(&config.GRPCAddress, "grpc-address", ":9443", "address for the nodes")
	flags.StringVar(&config.MetricsAddress, "metrics-address", ":8080", "address for metrics; 0 turns them off")
	flags.StringVar(&config.HealthAddress, "health-address", ":8081", "address for health checks; 0 turns them off")
	flags.StringVar(&config.FlowAddress, "flow-address", "0", "address to serve the whole cluster's flows at, with Hubble's API and mutual TLS, such as :4245; 0 turns it off")
	flags.IntVar(&config.FlowNodePort, "flow-node-port", 4247, "port of the nodes that enforcers serve their flows at")
	flowNames := flags.String("flow-server-names", "", "names in the certificate of flow-address, separated by commas (default: those of the Service septum-hubble-relay)")
	flags.StringVar(&config.CASecret, "ca-secret", "septum-ca", "Secret with the certificate authority (tls.crt, tls.key, ca.crt)")
	flags.BoolVar(&config.CAExternal, "ca-external", false, "the Secret is made and renewed by somebody else, such as cert-manager")
	flags.BoolVar(&config.LeaderElection, "leader-elect", true, "elect a leader among the replicas, which alone writes; all of them serve")
	names := flags.String("server-names", "", "names in the operator's certificate, separated by commas (default: those of the Service septum-operator)")
	shared := flags.String("shared-secret-namespaces", "", "namespaces whose Secrets policies of every namespace may name, separated by commas")
	level := flags.String("log-level", "info", "debug, info or error")
	kubeconfig := flags.String("kubeconfig", "", "file that says how to reach the API server (default: as a pod, or KUBECONFIG)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	log, err := logger(*level)
	if err != nil {
		return err
	}
	config.Log = log
	ctrl.SetLogger(log)
	klog.SetLogger(log)
	if *kubeconfig != "" {
		if err := os.Setenv("KUBECONFIG", *kubeconfig); err != nil {
			return fmt.Errorf("set KUBECONFIG: %w", err)
		}
	}
	if config.REST, err = ctrl.GetConfig(); err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	config.ServerNames = serviceNames("septum-operator", config.Namespace)
	if *names != "" {
		config.ServerNames = strings.Split(*names, ",")
	}
	config.FlowServerNames = serviceNames("septum-hubble-relay", config.Namespace)
	if *flowNames != "" {
		config.FlowServerNames = strings.Split(*flowNames, ",")
	}
	if *shared != "" {
		config.SharedSecretNamespaces = strings.Split(*shared, ",")
	}
	operator, err := controllers.New(config)
	if err != nil {
		return err
	}
	return operator.Run(ctrl.SetupSignalHandler())
}

// serviceNames are the DNS names of a Service.
func serviceNames(name, namespace string) []string {
	service := name + "." + namespace + ".svc"
	return []string{service, service + ".cluster.local"}
}

func logger(level string) (logr.Logger, error) {
	var least slog.Level
	switch level {
	case "debug":
		least = slog.LevelDebug
	case "info":
		least = slog.LevelInfo
	case "error":
		least = slog.LevelError
	default:
		return logr.Logger{}, fmt.Errorf("log-level: %q is not debug, info or error", level)
	}
	return logr.FromSlogHandler(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: least, ReplaceAttr: plain})), nil
}

// plain writes one word for each level that there is a flag for, and what can say itself
// in words that way: some of the libraries' values cannot be written as JSON.
func plain(_ []string, a slog.Attr) slog.Attr {
	switch v := a.Value.Any().(type) {
	case slog.Level:
		switch {
		case v < slog.LevelInfo:
			return slog.String(a.Key, "debug")
		case v < slog.LevelError:
			return slog.String(a.Key, "info")
		}
		return slog.String(a.Key, "error")
	case json.Marshaler, error:
		return a
	case fmt.Stringer:
		return slog.String(a.Key, v.String())
	}
	return a
}
