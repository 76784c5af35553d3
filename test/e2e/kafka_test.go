//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// named is the last version of Fetch that has its topics by name.
const named = 12

// kcat runs kcat in a pod of the demo's Kafka clients, and returns what it says.
func (c cluster) kcat(from, record string, args ...string) string {
	out, _ := c.tool(record, append([]string{"kubectl", "-n", "demo", "exec", "-i", from, "--", "timeout", "20", "kcat",
		"-b", "kafka:9092", "-X", "message.timeout.ms=10000"}, args...)...)
	return out
}

// TestKafka has kcat in pods on both nodes work with a real broker under the sample policies, and
// then compares the counts of the policy's status, the flows, and the requests of a client that is counted.
func TestKafka(t *testing.T) {
	c := here()
	c.clear(t)
	if err := c.demo("kafka-install"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.kubectl(t, "delete", "--wait=false", "-f", filepath.Join(c.root, "test/demo/kafka")) })
	const shop, billing = "deployment/shop", "deployment/billing"
	produce := func(from, topic string) string { return c.kcat(from, "a record\n", "-P", "-t", topic) }
	consume := func(from, topic string) string {
		return c.kcat(from, "", "-C", "-t", topic, "-o", "beginning", "-c", "1", "-e", "-q")
	}
	for _, from := range []string{shop, billing} {
		for _, topic := range []string{"orders", "salaries"} {
			within(t, 60*time.Second, func() string { return produce(from, topic) })
		}
	}
	const refused = "Topic authorization failed"
	for _, sample := range []struct{ file, status string }{{"kafka-orders.yaml", "cnp.kafka-orders"}, {"kafka-orders-native.yaml", "l7np.kafka-orders"}} {
		t.Run(sample.status, func(t *testing.T) {
			c.kubectl(t, "-n", "demo", "delete", "ciliumnetworkpolicy,l7networkpolicy", "--all")
			c.apply(t, sample.status, c.sample(t, sample.file))
			for what, got := range map[string][2]string{
				"shop writes orders":       {produce(shop, "orders"), ""},
				"shop writes salaries":     {produce(shop, "salaries"), refused},
				"shop reads orders":        {consume(shop, "orders"), refused},
				"billing reads orders":     {consume(billing, "orders"), "a record"},
				"billing reads salaries":   {consume(billing, "salaries"), refused},
				"billing writes orders":    {produce(billing, "orders"), refused},
				"the toolbox has no entry": {c.kcat("pod/toolbox", "", "-L", "-m", "3"), "transport failure"},
			} {
				if !strings.Contains(got[0], got[1]) || got[1] == "" && got[0] != "" {
					t.Errorf("%s: want %q, got %q", what, got[1], got[0])
				}
			}
			if list := c.kcat(billing, "", "-L"); !strings.Contains(list, `"orders"`) || strings.Contains(list, "salaries") {
				t.Errorf("billing's list of topics: %s", list)
			}
		})
	}
	t.Run("counted", func(t *testing.T) { c.kafkaCounted(t) })
}

// correlation is the number of the requests that are counted.
const correlation = 4711

// fetch is a request for the beginning of a topic.
func fetch(topic string) []byte {
	q := kmsg.NewPtrFetchRequest()
	q.SetVersion(named)
	q.MaxBytes = 1 << 16
	t, p := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	t.Topic, p.PartitionMaxBytes = topic, 1<<12
	t.Partitions = append(t.Partitions, p)
	q.Topics = append(q.Topics, t)
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("counted")).AppendRequest(nil, q, correlation)
}

// kafkaCounted makes Fetch requests for an allowed and a denied topic on one connection, while the policy changes.
func (c cluster) kafkaCounted(t *testing.T) {
	sample := strings.Replace(c.sample(t, "kafka-orders.yaml"), "app: billing", "client: frontend-remote", 1)
	c.kubectl(t, "-n", "demo", "delete", "ciliumnetworkpolicy,l7networkpolicy", "--all")
	c.apply(t, "cnp.kafka-orders", sample)
	args := []string{"kubectl", "-n", "demo", "exec", "deployment/frontend-remote", "--", "/septum-demo", "kafka", "-for", "20s", "-every", "200ms", "kafka:9092"}
	for _, topic := range []string{"orders", "salaries"} {
		args = append(args, hex.EncodeToString(fetch(topic)))
	}
	allowedBefore, deniedBefore := c.counts(t, "cnp.kafka-orders")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := c.command(ctx, filepath.Join(c.root, "test/cluster/cluster"), args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	c.apply(t, "cnp.kafka-orders", strings.ReplaceAll(sample, "topic: orders", "topic: salaries"))
	time.Sleep(time.Second)
	c.apply(t, "cnp.kafka-orders", sample)
	err := cmd.Wait()
	outcomes := map[string][]string{}
	for _, m := range regexp.MustCompile(`request (\d): (.*)`).FindAllStringSubmatch(out.String(), -1) {
		outcomes[m[1]] = append(outcomes[m[1]], strings.TrimSpace(m[2]))
	}
	const yes, no = "answered", "refused: error 29"
	if err != nil || fmt.Sprint(outcomes) != fmt.Sprint(map[string][]string{"0": {yes, no, yes}, "1": {no, yes, no}}) {
		t.Fatalf("on one connection (%v):\n%s", err, out.String())
	}
	made := regexp.MustCompile(`requests (\d+) each`).FindStringSubmatch(out.String())
	requests, err := strconv.Atoi(made[1])
	if err != nil {
		t.Fatal(err)
	}
	// Each request has one topic, and one of the two is denied at any time.
	within(t, 20*time.Second, func() string {
		allowed, denied := c.counts(t, "cnp.kafka-orders")
		if allowed-allowedBefore+denied-deniedBefore != 2*requests || allowed-allowedBefore < requests-2 || denied-deniedBefore < requests-2 {
			return fmt.Sprintf("%d requests for each topic, the status counts %d allowed and %d denied", requests, allowed-allowedBefore, denied-deniedBefore)
		}
		flows, err := c.plugin(t, "flows", "-n", "demo", "--protocol", "kafka", "--last", "4000")
		if err != nil {
			return flows
		}
		seen := map[string]int{}
		for _, line := range strings.Split(flows, "\n") {
			if strings.Contains(line, "frontend-remote") && strings.Contains(line, "Kafka request fetch correlation id "+strconv.Itoa(correlation)) {
				for _, verdict := range []string{"FORWARDED", "DROPPED"} {
					if strings.Contains(line, verdict) {
						seen[verdict]++
					}
				}
			}
		}
		if seen["FORWARDED"] != allowed-allowedBefore || seen["DROPPED"] != denied-deniedBefore {
			return fmt.Sprintf("the flows are %v, the status counts %d allowed and %d denied", seen, allowed-allowedBefore, denied-deniedBefore)
		}
		return ""
	})
}
