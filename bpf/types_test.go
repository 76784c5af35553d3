package bpf

import (
	"testing"
	"unsafe"
)

// Pinned maps outlive programs: a struct that changes needs a new layoutVersion.
func TestStructLayout(t *testing.T) {
	var (
		node  septumNodeConfig
		ep    septumEndpoint
		pod   septumPod
		ak    septumAddressKey
		tk    septumTableKey
		tv    septumTableValue
		ck    septumConnKey
		conn  septumConn
		ok    septumOwnerKey
		nk    septumNeighbourKey
		nb    septumNeighbour
		fk    septumFragmentKey
		frag  septumFragment
		rk    septumRefusalKey
		ref   septumRefusal
		count septumCounter
		event septumEvent
	)
	tests := []struct {
		name      string
		got, want uintptr
	}{
		{"node_config", unsafe.Sizeof(node), 88},
		{"node_config.l7p0_ifindex", unsafe.Offsetof(node.L7p0Ifindex), 8},
		{"node_config.generation", unsafe.Offsetof(node.Generation), 40},
		{"node_config.mark", unsafe.Offsetof(node.Mark), 44},
		{"node_config.l7p0_mac", unsafe.Offsetof(node.L7p0Mac), 48},
		{"node_config.l7p1_mac", unsafe.Offsetof(node.L7p1Mac), 54},
		{"node_config.flags", unsafe.Offsetof(node.Flags), 60},
		{"node_config.pass_key", unsafe.Offsetof(node.PassKey), 64},
		{"node_config.client_limit", unsafe.Offsetof(node.ClientLimit), 80},
		{"share_key", unsafe.Sizeof(septumShareKey{}), 32},
		{"share_key.class_port", unsafe.Offsetof(septumShareKey{}.ClassPort), 24},
		{"addr", unsafe.Sizeof(septumAddr{}), 16},
		{"endpoint", unsafe.Sizeof(ep), 16},
		{"endpoint.egress", unsafe.Offsetof(ep.Egress), 8},
		{"endpoint.flags", unsafe.Offsetof(ep.Flags), 12},
		{"pod", unsafe.Sizeof(pod), 16},
		{"pod.host_mac", unsafe.Offsetof(pod.HostMac), 10},
		{"address_key", unsafe.Sizeof(ak), 20},
		{"address_key.addr", unsafe.Offsetof(ak.Addr), 4},
		{"table_key", unsafe.Sizeof(tk), 16},
		{"table_key.identity", unsafe.Offsetof(tk.Identity), 8},
		{"table_key.protocol", unsafe.Offsetof(tk.Protocol), 12},
		{"table_key.port", unsafe.Offsetof(tk.Port), 13},
		{"table_value", unsafe.Sizeof(tv), 8},
		{"table_value.verdict", unsafe.Offsetof(tv.Verdict), 6},
		{"table_value.flags", unsafe.Offsetof(tv.Flags), 7},
		{"conn_key", unsafe.Sizeof(ck), 40},
		{"conn_key.pod_port", unsafe.Offsetof(ck.PodPort), 32},
		{"conn_key.protocol", unsafe.Offsetof(ck.Protocol), 36},
		{"conn", unsafe.Sizeof(conn), 32},
		{"conn.class_port", unsafe.Offsetof(conn.ClassPort), 20},
		{"conn.direction", unsafe.Offsetof(conn.Direction), 23},
		{"conn.flags", unsafe.Offsetof(conn.Flags), 24},
		{"owner_key", unsafe.Sizeof(ok), 20},
		{"owner_key.addr", unsafe.Offsetof(ok.Addr), 4},
		{"neighbour_key", unsafe.Sizeof(nk), 32},
		{"neighbour", unsafe.Sizeof(nb), 8},
		{"fragment_key", unsafe.Sizeof(fk), 40},
		{"fragment_key.direction", unsafe.Offsetof(fk.Direction), 37},
		{"fragment", unsafe.Sizeof(frag), 16},
		{"refusal_key", unsafe.Sizeof(rk), 48},
		{"refusal_key.direction", unsafe.Offsetof(rk.Direction), 44},
		{"refusal", unsafe.Sizeof(ref), 16},
		{"refusal.sequence", unsafe.Offsetof(ref.Sequence), 8},
		{"counter", unsafe.Sizeof(count), 40},
		{"event", unsafe.Sizeof(event), 72},
		{"event.src_port", unsafe.Offsetof(event.SrcPort), 40},
		{"event.rule", unsafe.Offsetof(event.Rule), 56},
		{"event.protocol", unsafe.Offsetof(event.Protocol), 62},
		{"event.reason", unsafe.Offsetof(event.Reason), 65},
	}
	for _, test := range tests {
		if test.got != test.want {
			t.Errorf("%s is at, or has a size of, %d bytes, want %d", test.name, test.got, test.want)
		}
	}
}
