package kafka

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"

	"github.com/septum-dev/septum/policy"
)

// stream sends a large Produce request on as it comes, if its beginning says that it is for
// one topic, and that is allowed: whatever follows is that topic's. What is not for this is
// left to be read whole; nothing of it has been taken then.
func (c *conn) stream(in *bufio.Reader, size int) (done bool, err error) {
	head, err := in.Peek(readerSize)
	if err != nil {
		return false, err
	}
	if binary.BigEndian.Uint16(head) != keyProduce {
		return false, nil
	}
	r, err := c.header(head)
	if err != nil {
		return false, err
	}
	m := onlyTopic(r.version, r.version >= c.h.messages.flexible[keyProduce], r.body())
	if m == nil {
		return false, nil
	}
	unknown, err := c.resolve(r, m)
	if err != nil {
		return false, err
	}
	t := m.lists[0].topics[0]
	d, _ := c.decideTopic(r, t, unknown)
	if d.Verdict == policy.Denied {
		return false, nil // what answers it has to name its partitions
	}
	event := r.event()
	event.Topic = cut(t.name)
	c.report(d, event)
	if m.acks != 0 {
		if err := c.answers.push(waiting{correlation: r.correlation}); err != nil {
			return false, err
		}
	}
	if _, err := c.server.Write(binary.BigEndian.AppendUint32(make([]byte, 0, 4), uint32(size))); err != nil {
		return false, err
	}
	return true, pass(c.server, c.Client, in, size)
}

// onlyTopic reads the beginning of a Produce request for one topic; nil is any other.
func onlyTopic(version int16, flexible bool, body []byte) *message {
	w := walker{body: body, version: version, flexible: flexible}
	if version >= 3 {
		if _, err := w.text(false); err != nil {
			return nil
		}
	}
	fixed, err := w.take(6) // acks, timeout
	if err != nil {
		return nil
	}
	if n, _, err := w.count(); err != nil || n != 1 {
		return nil
	}
	var t topic
	if version >= 13 {
		id, err := w.take(16)
		if err != nil {
			return nil
		}
		t.id = [16]byte(id)
	} else {
		name, err := w.text(false)
		if err != nil {
			return nil
		}
		t.name = string(name)
	}
	return &message{acks: int16(binary.BigEndian.Uint16(fixed)), topics: 1, lists: []list{{topics: []topic{t}}}}
}

// pass copies n bytes, of which the reader has read some; the others go from socket to socket
// in the kernel.
func pass(to, from net.Conn, in *bufio.Reader, n int) error {
	part := min(n, in.Buffered())
	head, err := in.Peek(part)
	if err == nil {
		_, err = to.Write(head)
	}
	if err == nil {
		_, err = in.Discard(part)
	}
	if err != nil || part == n {
		return err
	}
	copied, err := io.Copy(to, &io.LimitedReader{R: from, N: int64(n - part)})
	if err == nil && copied < int64(n-part) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
