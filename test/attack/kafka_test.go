package attack

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/attack/node"
)

// TestKafka has kcat in one pod work with a real broker in another, on a node with the real
// programs, enforcer and proxy.
func TestKafka(t *testing.T) {
	cmd := exec.Command("sh", "../../enforcer/proxy/kafka/testdata/broker.sh")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("fetch the broker: %v", err)
	}
	tools := strings.TrimSpace(string(out))
	libs, err := filepath.Glob(filepath.Join(tools, "usr/lib/*-linux-gnu"))
	if err != nil || len(libs) == 0 {
		t.Fatalf("kcat's libraries: %v", err)
	}
	n := node.New(t)
	client := n.AddPod("client", "10.244.1.2", policy.Labels{"k8s:app": "client"})
	broker := n.AddPod("broker", "10.244.1.3", policy.Labels{"k8s:app": "broker"})
	const addr = "10.244.1.3:9092"
	properties := n.Path("server.properties")
	if err := os.WriteFile(properties, fmt.Appendf(nil, `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:9093
listeners=PLAINTEXT://%[1]s,CONTROLLER://127.0.0.1:9093
advertised.listeners=PLAINTEXT://%[1]s
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=%[2]s
num.io.threads=2
log.cleaner.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
num.partitions=1
`, addr, t.TempDir()), 0o600); err != nil {
		t.Fatal(err)
	}
	java := []string{"-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", filepath.Join(tools, "libs", "*")}
	format := append(append([]string(nil), java...), "kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", properties)
	if out, err := exec.Command("java", format...).CombinedOutput(); err != nil {
		t.Fatalf("format the broker's directory: %v\n%s", err, out)
	}
	n.Start(broker.NS, "java", append(append([]string(nil), java...), "kafka.Kafka", properties)...)
	for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		conn, err := node.Dial(context.Background(), broker.NS, net.Dialer{}, "tcp4", addr)
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the broker does not listen: %v", err)
		}
	}
	kcat := func(input string, args ...string) string {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, filepath.Join(tools, "usr/bin/kcat"), append([]string{"-b", addr}, args...)...)
		cmd.Env, cmd.Stdin = []string{"LD_LIBRARY_PATH=" + libs[0]}, strings.NewReader(input)
		out, err := n.Run(client.NS, cmd)
		return fmt.Sprint(string(out), " ", err)
	}
	// Without a policy: both topics are made.
	for _, topic := range []string{"orders", "secret"} {
		if out := kcat(topic+"-0\n", "-P", "-t", topic); !strings.Contains(out, "<nil>") {
			t.Fatalf("produce without a policy: %s", out)
		}
	}
	ref := policy.Ref{Kind: "L7NetworkPolicy", Namespace: node.Namespace, Name: "kafka"}
	id := policy.RuleID{Policy: ref, Path: "spec.ingress[0]"}
	n.Publish(policy.Policy{Ref: ref, UID: "u1", Generation: 1, Specs: []policy.Spec{{
		Path:    "spec",
		Subject: policy.Selector{Requirements: []policy.Requirement{{Key: "k8s:app", Operator: policy.In, Values: []string{"broker"}}}},
		Ingress: policy.Section{DefaultDeny: true, Rules: []policy.Rule{{
			ID: id, AnyPeer: true, Ports: []policy.Port{{Protocol: policy.ProtocolTCP, Port: 9092}},
			L7: &policy.Kafka{Rules: []policy.KafkaRule{{
				ID: policy.RuleID{Policy: ref, Path: "spec.ingress[0].kafka[0]"}, Topics: []policy.StringMatch{{Kind: policy.MatchExact, Value: "orders"}},
			}}},
		}}},
	}}})
	if out := kcat("one\n", "-P", "-t", "orders"); !strings.Contains(out, "<nil>") {
		t.Errorf("produce: %s", out)
	}
	if out := kcat("", "-C", "-t", "orders", "-e", "-o", "beginning"); !strings.Contains(out, "orders-0\none\n") {
		t.Errorf("consume: %s", out)
	}
	if out := kcat("one\n", "-P", "-t", "secret"); !strings.Contains(out, "authorization") {
		t.Errorf("produce to a denied topic: %s", out)
	}
	if out := kcat("", "-C", "-t", "secret", "-e", "-o", "beginning"); !strings.Contains(out, "authorization") || strings.Contains(out, "secret-0") {
		t.Errorf("consume a denied topic: %s", out)
	}
	if out := kcat("", "-L"); strings.Contains(out, "secret") || !strings.Contains(out, "orders") {
		t.Errorf("the list of topics: %s", out)
	}
}
