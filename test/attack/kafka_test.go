package attack

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/septum-dev/septum/enforcer/proxy/kafka/kafkatest"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/attack/node"
)

// TestKafka has kcat in one pod work with a real broker in another, on a node with the real
// programs, enforcer and proxy.
func TestKafka(t *testing.T) {
	tools := kafkatest.Fetch(t)
	n := node.New(t)
	client := n.AddPod("client", "10.244.1.2", policy.Labels{"k8s:app": "client"})
	broker := n.AddPod("broker", "10.244.1.3", policy.Labels{"k8s:app": "broker"})
	const addr = "10.244.1.3:9092"
	n.Start(broker.NS, "java", tools.Format(t, t.TempDir(), "127.0.0.1:9093", kafkatest.Listener{Name: "PLAINTEXT", Addr: addr})...)
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
	program, env := tools.Kcat(t)
	kcat := func(input string, args ...string) string {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, append([]string{"-b", addr}, args...)...)
		cmd.Env, cmd.Stdin = env, strings.NewReader(input)
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
