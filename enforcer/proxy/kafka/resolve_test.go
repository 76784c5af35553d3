package kafka

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/septum-dev/septum/policy"
)

// naming is a server that names ids as it is told, and keeps the keys of what else it is asked.
type naming struct {
	mu    sync.Mutex
	code  int16
	name  *string
	none  bool
	other []int16
}

func (n *naming) serve(conn net.Conn) {
	defer conn.Close()
	for {
		var size [4]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(conn, frame); err != nil {
			return
		}
		key, correlation := int16(binary.BigEndian.Uint16(frame)), binary.BigEndian.Uint32(frame[4:])
		if answer := n.answer(key, frame); answer != nil {
			body := append(binary.BigEndian.AppendUint32(nil, correlation), 0)
			body = answer.AppendTo(body)
			if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)); err != nil {
				return
			}
		}
	}
}

func (n *naming) answer(key int16, frame []byte) kmsg.Response {
	n.mu.Lock()
	defer n.mu.Unlock()
	if key != keyMetadata {
		n.other = append(n.other, key)
		r := kmsg.NewPtrProduceResponse()
		r.SetVersion(13)
		return r
	}
	q := kmsg.NewPtrMetadataRequest()
	q.SetVersion(idVersion)
	client := int(binary.BigEndian.Uint16(frame[8:]))
	if q.ReadFrom(frame[10+client+1:]) != nil {
		return nil
	}
	r := kmsg.NewPtrMetadataResponse()
	r.SetVersion(idVersion)
	for _, asked := range q.Topics {
		t := kmsg.NewMetadataResponseTopic()
		t.TopicID, t.ErrorCode, t.Topic = asked.TopicID, n.code, n.name
		if !n.none {
			r.Topics = append(r.Topics, t)
		}
	}
	return r
}

// A topic id that gets no name is refused, whatever the rules allow (SEMANTICS 30).
func TestUnresolvableID(t *testing.T) {
	name := func(s string) *string { return &s }
	for what, c := range map[string]struct {
		code int16
		name *string
		none bool
		rule policy.KafkaRule
		want int16
	}{
		"no such topic":             {code: errUnknownID, want: errUnknownID},
		"the server does not say":   {code: errTopicDenied, want: errTopicDenied},
		"the server has an error":   {code: 5, want: errTopicDenied},
		"an empty name":             {name: name(""), want: errTopicDenied},
		"nothing is said of the id": {none: true, want: errUnknownID},
		"a topic that is denied":    {name: name("secret"), rule: roles("orders", policy.RoleProduce), want: errTopicDenied},
		"a topic that is allowed":   {name: name("orders"), rule: roles("orders", policy.RoleProduce), want: 0},
	} {
		t.Run(what, func(t *testing.T) {
			n := &naming{code: c.code, name: c.name, none: c.none}
			l, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
					go n.serve(conn)
				}
			}()
			at := freePort(t)
			newThrough(t, at, l.Addr().String(), c.rule)
			conn, err := net.Dial("tcp4", at)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(20 * time.Second)) //nolint:errcheck // the reads say so
			q := kmsg.NewPtrProduceRequest()
			q.SetVersion(13)
			q.Acks = 1
			topic := kmsg.NewProduceRequestTopic()
			topic.TopicID = [16]byte{1}
			topic.Partitions = []kmsg.ProduceRequestTopicPartition{{Partition: 3, Records: []byte("records")}}
			q.Topics = append(q.Topics, topic)
			if _, err := conn.Write(kmsg.NewRequestFormatter().AppendRequest(nil, q, 9)); err != nil {
				t.Fatal(err)
			}
			head := make([]byte, 9) // size, correlation, tags
			if _, err := io.ReadFull(conn, head); err != nil {
				t.Fatal(err)
			}
			body := make([]byte, binary.BigEndian.Uint32(head)-5)
			if _, err := io.ReadFull(conn, body); err != nil {
				t.Fatal(err)
			}
			r := kmsg.NewPtrProduceResponse()
			r.SetVersion(13)
			if err := r.ReadFrom(body); err != nil {
				t.Fatal(err)
			}
			n.mu.Lock()
			defer n.mu.Unlock()
			if c.want == 0 {
				if len(n.other) != 1 {
					t.Error("it did not reach the server")
				}
				return
			}
			if len(n.other) != 0 {
				t.Error("it reached the server")
			}
			if len(r.Topics) != 1 || r.Topics[0].TopicID != topic.TopicID || len(r.Topics[0].Partitions) != 1 ||
				r.Topics[0].Partitions[0].ErrorCode != c.want || r.Topics[0].Partitions[0].Partition != 3 {
				t.Errorf("the answer is %+v, want error %d", r, c.want)
			}
		})
	}
}
