// Package names keeps what the pods of a node learnt from the DNS: which addresses each was
// given for which names, and until when that holds. In: answers, moments, and which addresses
// are in use. Out: [policy.Learnt], and a form for the disk. It has no clock.
package names

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/septum-dev/septum/policy"
)

// The bounds. A name that has too many addresses loses the one that would be the first to
// expire; a pod or a node that has learnt too much learns nothing more until some expire.
const (
	MaxPerName = 256
	MaxPerPod  = 2048
	MaxAll     = 32768
)

// How long an address is kept: as long as its TTL says, within these, and a while more, since
// a client may connect with what it was told a moment ago.
const (
	minLife = 30 * time.Second
	maxLife = 24 * time.Hour
	grace   = 30 * time.Second
)

// Fact is that a pod was given an address for a name.
type Fact struct {
	// Pod is one of the pod's own addresses, UID the pod's: an address is used again.
	Pod     netip.Addr `json:"pod"`
	UID     string     `json:"uid"`
	Name    string     `json:"name"`
	Addr    netip.Addr `json:"addr"`
	Expires time.Time  `json:"expires"`
}

// Told is an answer that a pod got.
type Told struct {
	Pod   netip.Addr
	UID   string
	Name  string
	Addrs []netip.Addr
	TTL   time.Duration
}

type podName struct {
	uid  string
	name string
}

// Book holds facts. The zero value is empty. It belongs to one goroutine.
type Book struct {
	byName map[podName]map[netip.Addr]*Fact
	byPod  map[string]int // by UID
	byAddr map[podAddr][]string
	count  int
}

type podAddr struct {
	uid  string
	addr netip.Addr
}

// Learn notes an answer. It returns the facts that are new, and how many addresses were
// refused because there are too many.
func (b *Book) Learn(now time.Time, t Told) (fresh []Fact, refused int) {
	expires := now.Add(min(max(t.TTL, minLife), maxLife) + grace)
	key := podName{t.UID, t.Name}
	for _, addr := range t.Addrs {
		addr = addr.Unmap()
		if f := b.byName[key][addr]; f != nil {
			f.Expires = later(f.Expires, expires)
			continue
		}
		if len(b.byName[key]) >= MaxPerName {
			b.remove(b.oldest(key))
		}
		if b.byPod[t.UID] >= MaxPerPod || b.count >= MaxAll {
			refused++
			continue
		}
		f := Fact{Pod: t.Pod, UID: t.UID, Name: t.Name, Addr: addr, Expires: expires}
		b.add(f)
		fresh = append(fresh, f)
	}
	return fresh, refused
}

func (b *Book) add(f Fact) {
	if b.byName == nil {
		b.byName, b.byPod, b.byAddr = map[podName]map[netip.Addr]*Fact{}, map[string]int{}, map[podAddr][]string{}
	}
	key := podName{f.UID, f.Name}
	if b.byName[key] == nil {
		b.byName[key] = map[netip.Addr]*Fact{}
	}
	b.byName[key][f.Addr] = &f
	at := podAddr{f.UID, f.Addr}
	b.byAddr[at] = append(b.byAddr[at], f.Name)
	b.byPod[f.UID]++
	b.count++
}

func (b *Book) remove(f *Fact) {
	key := podName{f.UID, f.Name}
	delete(b.byName[key], f.Addr)
	if len(b.byName[key]) == 0 {
		delete(b.byName, key)
	}
	at := podAddr{f.UID, f.Addr}
	b.byAddr[at] = slices.DeleteFunc(b.byAddr[at], func(name string) bool { return name == f.Name })
	if len(b.byAddr[at]) == 0 {
		delete(b.byAddr, at)
	}
	if b.byPod[f.UID]--; b.byPod[f.UID] == 0 {
		delete(b.byPod, f.UID)
	}
	b.count--
}

func (b *Book) oldest(key podName) *Fact {
	var out *Fact
	for _, f := range b.byName[key] {
		if out == nil || cmp.Or(f.Expires.Compare(out.Expires), f.Addr.Compare(out.Addr)) < 0 {
			out = f
		}
	}
	return out
}

// Expired says whether some fact's time is over.
func (b *Book) Expired(now time.Time) bool {
	return b.any(func(f *Fact) bool { return now.After(f.Expires) })
}

func (b *Book) any(holds func(*Fact) bool) bool {
	for _, facts := range b.byName {
		for _, f := range facts {
			if holds(f) {
				return true
			}
		}
	}
	return false
}

// Expire forgets the facts whose time is over and whose address its pod has no connection
// to, and returns how many.
func (b *Book) Expire(now time.Time, inUse func(uid string, addr netip.Addr) bool) int {
	return b.forget(func(f *Fact) bool { return now.After(f.Expires) && !inUse(f.UID, f.Addr) })
}

// Keep forgets what is not wanted any more, and returns how many facts.
func (b *Book) Keep(wanted func(uid, name string) bool) int {
	return b.forget(func(f *Fact) bool { return !wanted(f.UID, f.Name) })
}

func (b *Book) forget(gone func(*Fact) bool) (n int) {
	for _, facts := range b.byName {
		for _, f := range facts {
			if gone(f) {
				b.remove(f)
				n++
			}
		}
	}
	return n
}

// Len is how many facts there are.
func (b *Book) Len() int { return b.count }

// Learnt returns the addresses with their names by the tables of the pods that learnt them;
// a pod without a table has learnt nothing.
func (b *Book) Learnt(table func(uid string) policy.TableID) []policy.Learnt {
	type at struct {
		addr  netip.Addr
		table policy.TableID
	}
	names := map[at][]string{}
	for key, facts := range b.byName {
		id := table(key.uid)
		if id == "" {
			continue
		}
		for addr := range facts {
			names[at{addr, id}] = append(names[at{addr, id}], key.name)
		}
	}
	out := make([]policy.Learnt, 0, len(names))
	for a, list := range names {
		slices.Sort(list)
		out = append(out, policy.Learnt{Addr: a.addr, Names: slices.Compact(list), Tables: []policy.TableID{a.table}})
	}
	slices.SortFunc(out, func(x, y policy.Learnt) int {
		return cmp.Or(x.Addr.Compare(y.Addr), cmp.Compare(x.Tables[0], y.Tables[0]))
	})
	return out
}

// NamesOf returns the names that a pod was given an address for, sorted.
func (b *Book) NamesOf(uid string, addr netip.Addr) []string {
	return slices.Sorted(slices.Values(b.byAddr[podAddr{uid, addr}]))
}

// Facts returns everything, by pod, name and address.
func (b *Book) Facts() []Fact {
	out := make([]Fact, 0, b.count)
	for _, facts := range b.byName {
		for _, f := range facts {
			out = append(out, *f)
		}
	}
	slices.SortFunc(out, func(x, y Fact) int {
		return cmp.Or(cmp.Compare(x.UID, y.UID), cmp.Compare(x.Name, y.Name), x.Addr.Compare(y.Addr))
	})
	return out
}

// Restore is a Book with these facts, within the bounds; of one that is there twice the later
// end counts. None ends before a client that was told it had time to connect again.
func Restore(now time.Time, facts []Fact) *Book {
	b := &Book{}
	for _, f := range facts {
		f.Addr, f.Expires = f.Addr.Unmap(), later(f.Expires, now.Add(grace))
		key := podName{f.UID, f.Name}
		if known := b.byName[key][f.Addr]; known != nil {
			known.Expires = later(known.Expires, f.Expires)
			continue
		}
		if f.UID != "" && f.Name != "" && f.Addr.IsValid() && len(b.byName[key]) < MaxPerName && b.byPod[f.UID] < MaxPerPod && b.count < MaxAll {
			b.add(f)
		}
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
