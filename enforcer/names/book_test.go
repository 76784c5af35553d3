package names

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
)

func start() time.Time { return time.Unix(1_700_000_000, 0).UTC() }

func addrs(texts ...string) (out []netip.Addr) {
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

func told(uid, name string, ttl time.Duration, list ...netip.Addr) Told {
	return Told{Pod: netip.MustParseAddr("10.0.0.1"), UID: uid, Name: name, Addrs: list, TTL: ttl}
}

func TestLife(t *testing.T) {
	var b Book
	b.Learn(start(), told("a", "zero.example", 0, addrs("192.0.2.1")...))
	b.Learn(start(), told("a", "hour.example", time.Hour, addrs("192.0.2.2", "2001:db8::2")...))
	b.Learn(start(), told("b", "huge.example", 1<<31*time.Second, addrs("192.0.2.3")...))
	if fresh, _ := b.Learn(start().Add(time.Second), told("a", "zero.example", 0, addrs("192.0.2.1")...)); len(fresh) != 0 {
		t.Errorf("a known address is fresh")
	}
	at := func(after time.Duration, want int, uid string, inUse ...netip.Addr) {
		t.Helper()
		b.Expire(start().Add(after), func(u string, a netip.Addr) bool { return u == uid && len(inUse) > 0 && a == inUse[0] })
		if b.Len() != want {
			t.Errorf("after %v there are %d facts, want %d", after, b.Len(), want)
		}
	}
	at(time.Minute, 4, "")
	at(62*time.Second, 4, "a", addrs("192.0.2.1")...)
	at(62*time.Second, 3, "b", addrs("192.0.2.1")...) // another pod's connection keeps nothing
	at(time.Hour+29*time.Second, 3, "")
	at(time.Hour+31*time.Second, 1, "")
	if b.Expired(start().Add(23*time.Hour)) || !b.Expired(start().Add(25*time.Hour)) {
		t.Error("expired at the wrong time")
	}
	at(25*time.Hour, 0, "")
	if len(b.byName)+len(b.byPod)+len(b.byAddr) != 0 {
		t.Errorf("left over: %v %v %v", b.byName, b.byPod, b.byAddr)
	}
}

func TestBounds(t *testing.T) {
	var b Book
	for i := range MaxPerName + 10 {
		b.Learn(start().Add(time.Duration(i)*time.Second), told("a", "many.example", time.Minute, netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)})))
	}
	if b.Len() != MaxPerName || b.NamesOf("a", netip.AddrFrom4([4]byte{192, 0, 0, 9})) != nil {
		t.Errorf("%d addresses of one name, the first of them too", b.Len())
	}
	refusals := 0
	for i := range MaxPerPod {
		_, refused := b.Learn(start(), told("a", fmt.Sprintf("n%d.example", i), time.Minute, addrs("192.0.2.1")...))
		refusals += refused
	}
	if refusals != MaxPerName {
		t.Errorf("%d refusals, want %d", refusals, MaxPerName)
	}
	if fresh, _ := b.Learn(start(), told("b", "another.example", time.Minute, addrs("192.0.2.1")...)); len(fresh) != 1 {
		t.Error("one pod's flood keeps another from learning")
	}
}

func TestRestore(t *testing.T) {
	var b Book
	b.Learn(start(), told("a", "a.example", time.Minute, addrs("192.0.2.2", "192.0.2.1")...))
	b.Learn(start(), told("b", "b.example", time.Minute, addrs("192.0.2.1", "::ffff:192.0.2.3")...))
	b.Learn(start(), told("b", "a.example", time.Minute, addrs("192.0.2.1")...))
	b.Learn(start(), told("c", "c.example", time.Minute, addrs("192.0.2.1")...))
	table := func(uid string) policy.TableID { return map[string]policy.TableID{"a": "t1", "b": "t2"}[uid] }
	want := []policy.Learnt{
		{Addr: addrs("192.0.2.1")[0], Names: []string{"a.example"}, Tables: []policy.TableID{"t1"}},
		{Addr: addrs("192.0.2.1")[0], Names: []string{"a.example", "b.example"}, Tables: []policy.TableID{"t2"}},
		{Addr: addrs("192.0.2.2")[0], Names: []string{"a.example"}, Tables: []policy.TableID{"t1"}},
		{Addr: addrs("192.0.2.3")[0], Names: []string{"b.example"}, Tables: []policy.TableID{"t2"}},
	}
	again := Restore(start(), append(b.Facts(), b.Facts()...))
	if got := again.Learnt(table); !reflect.DeepEqual(got, want) || !reflect.DeepEqual(again.Facts(), b.Facts()) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if gone := again.Keep(func(uid, name string) bool { return uid == "b" && name == "b.example" }); gone != 4 || again.Len() != 2 {
		t.Errorf("%d went, %d are left", gone, again.Len())
	}
	if late := Restore(start().Add(time.Hour), b.Facts()); late.Len() != b.Len() || late.Expired(start().Add(time.Hour)) {
		t.Error("what expired while the enforcer was away is lost at once")
	}
}
