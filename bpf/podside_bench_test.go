package bpf

import (
	"errors"
	"net"
	"testing"
	"time"
)

// What the program at a pod's own interface costs: datagrams from pod to pod and back, in
// turns with it and without it. It reports the ratio of the two.
func BenchmarkPodSide(b *testing.B) {
	l := newLab(b, routed, true, false)
	allowed := labState(l.testNode, true, false)
	for i := range allowed.Tables {
		allowed.Tables[i].Protocol, allowed.Tables[i].Verdict, allowed.Tables[i].Class = 17, 1, 0
	}
	must(b, l.Apply(allowed))
	server, client := l.pods["b"], l.pods["a"]
	var at, from net.PacketConn
	server.do(func() (err error) { at, err = net.ListenPacket("udp4", server.ip4.String()+":80"); return err })
	client.do(func() (err error) { from, err = net.ListenPacket("udp4", client.ip4.String()+":0"); return err })
	defer func() { must(b, errors.Join(at.Close(), from.Close())) }()
	go func() {
		buf := make([]byte, 64)
		for {
			n, peer, err := at.ReadFrom(buf)
			if err != nil {
				return
			}
			at.WriteTo(buf[:n], peer)
		}
	}()
	round := func(n int) time.Duration {
		buf := make([]byte, 64)
		must(b, from.SetDeadline(time.Now().Add(30*time.Second)))
		begun := time.Now()
		for range n {
			if _, err := from.WriteTo(buf, net.UDPAddrFromAddrPort(l.at(servedPort))); err != nil {
				b.Fatal(err)
			}
			if _, _, err := from.ReadFrom(buf); err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(begun)
	}
	round(100)
	var with, without time.Duration
	const turn = 2000
	for b.Loop() {
		l.attach("b")
		round(10)
		with += round(turn)
		l.withoutPodSide("b")
		round(10)
		without += round(turn)
	}
	b.ReportMetric(float64(with)/float64(without), "with/without")
	b.ReportMetric(float64(without.Nanoseconds())/float64(b.N*turn), "ns/round-trip")
}
