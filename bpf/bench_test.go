package bpf

import (
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/septum-dev/septum/policy"
)

// BenchmarkVerdict measures the programs alone: a packet of a known connection, and one that
// is judged and dropped, with few and with very many identities.
func BenchmarkVerdict(b *testing.B) {
	for _, identities := range []int{10, 100_000} {
		s := testState()
		a := addr("10.2.0.0")
		for i := range identities {
			s.Addresses = append(s.Addresses, AddressEntry{Prefix: netip.PrefixFrom(a, 32), Identity: uint32(1000 + i)})
			s.Tables = append(s.Tables, TableEntry{Table: 1, Identity: uint32(1000 + i), Protocol: 6, Port: 80, PrefixLen: 16, Verdict: policy.Forwarded, Rule: 6})
			a = a.Next()
		}
		for name, flags := range map[string]uint8{"known": ack, "denied": syn} {
			b.Run(name+map[bool]string{true: "-many", false: "-few"}[identities > 10], func(b *testing.B) {
				d, err := Open(Config{PinPath: bpffs(b)})
				if err != nil {
					b.Fatal(err)
				}
				defer d.Close()
				mac := []byte{2, 0, 0, 0, 0, 9}
				if err := d.writePod(PodLink{Key: "b", Ifindex: lo, PodMAC: mac, HostMAC: mac, Addrs: pods()}); err != nil {
					b.Fatal(err)
				}
				if err := d.Apply(s); err != nil {
					b.Fatal(err)
				}
				from := "10.2.0.5:4000"
				if flags == syn {
					from = denyPeer + ":4000"
				}
				ctx := skbContext{IngressIfindex: 77}
				first := ebpf.RunOptions{Data: tcp(from, server4+":80", syn).bytes(), Context: ctx}
				if _, err := d.objs.ToPod.Run(&first); err != nil {
					b.Fatal(err)
				}
				data := tcp(from, server4+":80", flags).bytes()
				_, each, err := d.objs.ToPod.Benchmark(data, b.N, b.ResetTimer)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(each)/float64(time.Nanosecond), "ns/packet")
			})
		}
	}
}
