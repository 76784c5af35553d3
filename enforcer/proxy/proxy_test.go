package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/septum-dev/septum/enforcer/netns/nstest"
	"github.com/septum-dev/septum/enforcer/proxy/stream"
	"github.com/septum-dev/septum/policy"
)

// teller answers each line with the class's first rule, and reports it.
type teller struct{ event func(policy.Event) }

func (h teller) Serve(_ context.Context, c *Conn) {
	lines := bufio.NewScanner(c.Client)
	for lines.Scan() {
		class := c.Class()
		h.event(policy.Event{Source: policy.SourceProxy, Direction: class.Direction, Verdict: policy.Denied, Rule: class.Kafka[0].ID,
			Src: c.Src, Dst: c.Dst, Protocol: policy.ProtocolTCP, DropReason: "told",
			Kafka: &policy.KafkaEvent{Key: policy.KafkaFetch, Version: 18, Correlation: 7, ClientID: "\xffid", Topic: "orders", Error: 29}})
		fmt.Fprintln(c.Client, class.Kafka[0].ID.Path)
	}
}

func class(id, path string) policy.Class {
	return policy.Class{ID: policy.ClassID(id), Kind: policy.KindKafka, Kafka: []policy.KafkaRule{{
		ID: policy.RuleID{Policy: policy.Ref{Kind: "P", Name: "p"}, Path: path}, Keys: []policy.KafkaKey{1}, Versions: []int16{2}, ClientIDs: []string{"c"},
		Topics: []policy.StringMatch{{Kind: policy.MatchPrefix, Value: "t"}},
	}}}
}

// loopback is where the tests' clients are.
func loopback(int) string { return "lo" }

// ask sends a line to each family's listener and returns the answers.
func ask(t *testing.T, ns *nstest.NS, port uint16) (conns []net.Conn, answers []string) {
	t.Helper()
	for _, host := range []string{"127.0.0.1", "::1"} {
		var conn net.Conn
		ns.Do(func() (err error) {
			conn, err = net.Dial("tcp", net.JoinHostPort(host, fmt.Sprint(port)))
			if errors.Is(err, syscall.ECONNRESET) { // it was ended before Dial looked
				return nil
			}
			return err
		})
		if conn == nil {
			answers = append(answers, "ended")
			continue
		}
		t.Cleanup(func() { conn.Close() })
		conns, answers = append(conns, conn), append(answers, say(t, conn))
	}
	return conns, answers
}

func say(t *testing.T, conn net.Conn) string {
	t.Helper()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintln(conn, "?")
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "ended"
	}
	return strings.TrimSpace(answer)
}

// The enforcer's end gives the proxy its classes, which listen when it says so; an edited
// rule is there on the next request of an open connection; a class that goes takes its
// connections along; verdicts come back; and what is refused leaves all as it was.
func TestServe(t *testing.T) {
	ns := nstest.New(t, t.TempDir(), "proxy")
	ns.Do(func() error { return ns.Netlink.LinkSetUp(ns.Link("lo")) })
	events, changed := make(chan policy.Event, 16), make(chan struct{}, 64)
	server := stream.NewServer(stream.Config{Node: "n1", OnEvent: func(e policy.Event) { events <- e }, OnChange: func() { changed <- struct{}{} }})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	socket := filepath.Join(t.TempDir(), "proxy.sock")
	lis, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	wg.Go(func() { server.Serve(ctx, lis) })
	apply := func(classes ...stream.Served) error {
		t.Helper()
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return server.Apply(ctx, stream.Set{Classes: classes})
	}
	one := stream.Served{Class: class("a", "first"), Port: 33001}
	if err := apply(one); !errors.Is(err, stream.ErrNotConnected) || server.Ready() {
		t.Fatalf("without a proxy: %v, ready %v", err, server.Ready())
	}
	client := stream.NewClient(socket)
	own := New(ctx, Config{Handlers: map[policy.Kind]Handler{policy.KindKafka: teller{client.Event}}, Device: loopback, MaxConnections: 20, Failed: func(err error) { t.Error(err) }})
	defer own.Close()
	client.Apply = func(s stream.Set) (err error) {
		// A socket is in the namespace of the thread that makes it.
		ns.Do(func() error { err = own.Apply(s); return nil })
		return err
	}
	wg.Go(func() { client.Run(ctx) })
	for !server.Ready() {
		<-changed
	}

	conns, answers := ask(t, ns, 33001)
	if want := []string{"first", "first"}; !reflect.DeepEqual(answers, want) {
		t.Fatalf("answers %q, want %q", answers, want)
	}
	e := <-events
	want := policy.KafkaEvent{Key: policy.KafkaFetch, Version: 18, Correlation: 7, ClientID: "�id", Topic: "orders", Error: 29}
	if e.Kafka == nil || *e.Kafka != want || e.Node != "n1" || e.Rule.Path != "first" || e.Verdict != policy.Denied || e.Dst.Port() != 33001 || e.Source != policy.SourceProxy {
		t.Errorf("event %+v, %+v", e, e.Kafka)
	}

	one.Class = class("a", "second")
	two := stream.Served{Class: class("b", "other"), Port: 33002}
	if err := apply(one, two); err != nil {
		t.Fatal(err)
	}
	if got := say(t, conns[0]); got != "second" {
		t.Errorf("an open connection is judged by %q", got)
	}
	others, answers := ask(t, ns, 33002)
	if !reflect.DeepEqual(answers, []string{"other", "other"}) {
		t.Errorf("answers %q", answers)
	}

	// A class has half of all room.
	for range 8 {
		more, answers := ask(t, ns, 33001)
		if reflect.DeepEqual(answers, []string{"ended", "ended"}) {
			break
		}
		conns = append(conns, more...)
	}
	if len(conns) != 10 {
		t.Errorf("%d connections of a class are served, want 10", len(conns))
	}
	if got := say(t, others[0]); got != "other" {
		t.Errorf("another class: %q", got)
	}
	for _, c := range conns[2:] {
		c.Close()
	}

	bad := stream.Served{Class: class("c", "third"), Port: 33001}
	var refused *stream.RefusedError
	if err := apply(one, two, bad); !errors.As(err, &refused) {
		t.Errorf("two classes with one port: %v", err)
	}
	if got := say(t, others[1]); got != "other" {
		t.Errorf("after a refusal: %q", got)
	}

	if err := apply(two); err != nil {
		t.Fatal(err)
	}
	if got := say(t, conns[1]); got != "ended" {
		t.Errorf("a connection of a class that has gone: %q", got)
	}
	if got := say(t, others[0]); got != "other" {
		t.Errorf("a class that stays: %q", got)
	}
}
