package kafka

import (
	"net"
	"sync"
)

// waiting is an answer that the client, or the proxy itself, waits for.
type waiting struct {
	correlation int32
	// local is the whole answer where the proxy gives it.
	local []byte
	// edit changes the server's answer, which begins behind the correlation id; nil passes it on.
	edit func([]byte) ([]byte, error)
	// own gets the answer to a question of the proxy's.
	own chan []byte
}

// answers keeps the order of a connection's answers: each is written when all before it are.
type answers struct {
	client net.Conn
	// slots bounds the queue.
	slots chan struct{}
	ended chan struct{}
	once  sync.Once

	mu    sync.Mutex
	queue []waiting
}

func newAnswers(client net.Conn) *answers {
	return &answers{client: client, slots: make(chan struct{}, maxWaiting), ended: make(chan struct{})}
}

func (a *answers) close() { a.once.Do(func() { close(a.ended) }) }

// push adds an answer at the end; one of the proxy's is written at once if nothing is before it.
func (a *answers) push(w waiting) error {
	select {
	case a.slots <- struct{}{}:
	case <-a.ended:
		return net.ErrClosed
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if w.local != nil && len(a.queue) == 0 {
		<-a.slots
		_, err := a.client.Write(w.local)
		return err
	}
	a.queue = append(a.queue, w)
	return nil
}

// head is the answer that the server gives next; none is waited for if there is none.
func (a *answers) head() (waiting, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.queue) == 0 {
		return waiting{}, false
	}
	return a.queue[0], true
}

// pop takes away the head, and writes the proxy's own answers that follow it.
func (a *answers) pop() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for first := true; len(a.queue) > 0 && (first || a.queue[0].local != nil); first = false {
		w := a.queue[0]
		a.queue[0] = waiting{}
		a.queue = a.queue[1:]
		<-a.slots
		if first {
			continue
		}
		if _, err := a.client.Write(w.local); err != nil {
			return err
		}
	}
	return nil
}
