package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/septum-dev/septum/policy"
)

// The keys whose requests have topics that are judged one by one.
const (
	keyProduce     = 0
	keyFetch       = 1
	keyListOffsets = 2
	keyMetadata    = 3
	keyCommit      = 8
	keyOffsets     = 9
	keyCoordinator = 10
	keySASL        = 17
	keyVersions    = 18
	keyEpochs      = 23
	keyAddToTxn    = 24
	keyTxnCommit   = 28
	keyHeartbeat   = 68
	keyPartitions  = 75
)

// exchange is a key's request and response.
type exchange struct {
	request *shape
	// response is nil where a denied topic denies the whole request.
	response *shape
}

// messages is what the proxy knows of Kafka's messages. It does not change.
type messages struct {
	exchanges map[int16]exchange
	listed    map[int16]*shape
	places    map[int16]place
	// latest is the last version of each key that is let through, flexible the first with tags.
	latest, flexible map[int16]int16
}

func newMessages() *messages {
	m := &messages{exchanges: exchanges(), listed: listed(), places: places(), latest: map[int16]int16{}, flexible: map[int16]int16{}}
	for k := int16(0); k <= kmsg.MaxKey; k++ {
		r := kmsg.RequestForKey(k)
		// Topics are found by Metadata alone, which is filtered.
		if r == nil || !policy.KafkaKey(k).Known() || k == keyPartitions {
			continue
		}
		m.latest[k], m.flexible[k] = r.MaxVersion(), r.MaxVersion()+1
		for v := r.MaxVersion(); v >= 0; v-- {
			if r.SetVersion(v); r.IsFlexible() {
				m.flexible[k] = v
			}
		}
		if e, ok := m.exchanges[k]; ok {
			m.latest[k] = min(m.latest[k], e.request.latest)
		}
		if s := m.listed[k]; s != nil {
			m.latest[k] = min(m.latest[k], s.latest)
		}
	}
	return m
}

func exchanges() map[int16]exchange {
	return map[int16]exchange{
		keyProduce: {
			newShape(9, 13, "s3- acks:h i topics:[ name:s-12 id:u13- [ index:i B ] ]"),
			newShape(9, 13, "topics:[ name:s-12 id:u13- [ index:i h l l2- l5- [8- i s ] s8- ] ] i1-"),
		},
		keyFetch: {
			newShape(12, 18, "i-14 i i i3- b4- session:i7- epoch:i7- topics:[ name:s-12 id:u13- [ index:i i9- l i12- l5- i ] ] [7- s-12 u13- *i ] s11-"),
			newShape(12, 18, "i1- h7- i7- topics:[ name:s-12 id:u13- [ index:i h l l4- l5- [4- l l ] i11- B ] ]"),
		},
		keyListOffsets: {
			newShape(6, 11, "i b2- topics:[ name:s [ index:i i4- l i-0 ] ] i10-"),
			newShape(6, 11, "i2- topics:[ name:s [ index:i h *l-0 l1- l1- i4- ] ]"),
		},
		keyMetadata: {
			newShape(9, 13, "topics:[ id:u10- name:s ] b4- b8-10 b8-"),
			newShape(9, 13, "i3- [ i s i s1- ] s2- i1- topics:[ h name:s id:u10- b1- [ h i i i7- *i *i *i5- ] i8- ] i8-10 h13-"),
		},
		keyCommit: {
			newShape(8, 10, "s i1- s1- s7- l2-4 topics:[ name:s-9 id:u10- [ index:i l l1-1 i6- s ] ]"),
			newShape(8, 10, "i3- topics:[ name:s-9 id:u10- [ index:i h ] ]"),
		},
		keyOffsets: {
			newShape(6, 10, "group:s-7 topics:[-7 name:s index:*i ] [8- group:s s9- i9- topics:[ name:s-9 id:u10- index:*i ] ] b7-"),
			newShape(6, 10, "i3- topics:[-7 name:s [ index:i l i5- s h ] ] h2-7 [8- group:s topics:[ name:s-9 id:u10- [ index:i l i s h ] ] h ]"),
		},
		keyEpochs: {
			newShape(4, 4, "i3- topics:[ name:s [ index:i i2- i ] ]"),
			newShape(4, 4, "i2- topics:[ name:s [ h index:i i1- l ] ]"),
		},
		// What a transaction begins with is done whole or not at all.
		keyAddToTxn: {request: newShape(3, 3, "s l h topics:[ name:s index:*i ]")},
		keyTxnCommit: {
			newShape(3, 6, "s s l h i3- s3- s3- topics:[ name:s-5 id:u6- [ index:i l i2- s ] ]"),
			newShape(3, 6, "i topics:[ name:s-5 id:u6- [ index:i h ] ]"),
		},
		keyHeartbeat: {request: newShape(0, 1, "s s i s s i topics:*s s1- s [ u *i ]")},
	}
}
