// Package kafkatest is a real Kafka broker for tests: fetched once, and run from a
// configuration that is small enough for a machine that tests other things beside it.
package kafkatest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Tools is the directory with the broker's libraries and kcat.
type Tools string

// Fetch returns the tools; the first time they are downloaded.
func Fetch(t testing.TB) Tools {
	t.Helper()
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("the source's place is not known")
	}
	cmd := exec.Command("sh", filepath.Join(filepath.Dir(file), "../testdata/broker.sh"))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("fetch the broker: %v", err)
	}
	return Tools(strings.TrimSpace(string(out)))
}

// Java are the arguments of a small virtual machine with the broker's libraries, then args.
func (d Tools) Java(args ...string) []string {
	return append([]string{"-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", filepath.Join(string(d), "libs", "*")}, args...)
}

// Kcat is kcat's program, and the environment that it needs.
func (d Tools) Kcat(t testing.TB) (program string, env []string) {
	t.Helper()
	libs, err := filepath.Glob(filepath.Join(string(d), "usr/lib/*-linux-gnu"))
	if err != nil || len(libs) == 0 {
		t.Fatalf("kcat's libraries: %v", err)
	}
	return filepath.Join(string(d), "usr/bin/kcat"), []string{"LD_LIBRARY_PATH=" + libs[0]}
}

// Listener is one address of a broker. The first of a broker's is its own.
type Listener struct {
	Name string
	// Addr is where it listens, Advertised where clients are told to come; "" is Addr.
	Addr, Advertised string
	// User and Password are what SASL/PLAIN asks for; "" is no SASL.
	User, Password string
}

// Format writes the configuration of a broker that holds everything in dir, has its directory
// made, and returns the arguments of java that run it.
func (d Tools) Format(t testing.TB, dir, control string, listeners ...Listener) []string {
	t.Helper()
	bound, told, kinds := []string{"CONTROLLER://" + control}, []string(nil), []string{"CONTROLLER:PLAINTEXT"}
	sasl := ""
	for _, l := range listeners {
		kind := "PLAINTEXT"
		if l.User != "" {
			kind = "SASL_PLAINTEXT"
			sasl += fmt.Sprintf("listener.name.%s.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_%s=\"%s\";\n",
				strings.ToLower(l.Name), l.User, l.Password)
		}
		if l.Advertised == "" {
			l.Advertised = l.Addr
		}
		bound, told, kinds = append(bound, l.Name+"://"+l.Addr), append(told, l.Name+"://"+l.Advertised), append(kinds, l.Name+":"+kind)
	}
	properties := filepath.Join(dir, "server.properties")
	text := fmt.Sprintf(configuration, control, strings.Join(bound, ","), strings.Join(told, ","), strings.Join(kinds, ","), listeners[0].Name, dir) + sasl
	if err := os.WriteFile(properties, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	format := exec.Command("java", d.Java("kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", properties)...)
	if out, err := format.CombinedOutput(); err != nil {
		t.Fatalf("format the broker's directory: %v\n%s", err, out)
	}
	return d.Java("kafka.Kafka", properties)
}

const configuration = `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@%[1]s
listeners=%[2]s
advertised.listeners=%[3]s
listener.security.protocol.map=%[4]s
controller.listener.names=CONTROLLER
inter.broker.listener.name=%[5]s
log.dirs=%[6]s/logs
num.network.threads=2
num.io.threads=2
background.threads=2
log.cleaner.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=true
num.partitions=1
sasl.enabled.mechanisms=PLAIN
`
