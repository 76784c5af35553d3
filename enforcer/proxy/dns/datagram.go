package dns

import (
	"context"
	"errors"
	"syscall"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/septum-dev/septum/enforcer/proxy"
	"github.com/septum-dev/septum/policy"
)

// ServeDatagram judges a question over UDP and returns when it has been answered, or nobody
// waits for that any more.
func (h *Handler) ServeDatagram(ctx context.Context, d *proxy.Datagram) {
	leave := h.questions.enter(d.Src.Addr())
	if leave == nil {
		return
	}
	defer leave()
	q, err := readQuestion(d.Data)
	if err != nil && !errors.Is(err, errRefused) {
		return
	}
	x := &exchange{q: q, src: d.Src, dst: d.Dst, protocol: policy.ProtocolUDP, class: d.Class()}
	if !h.judge(x, err == nil) {
		d.Reply(h.refuse(x, d.Data)) //nolint:errcheck // the client asks again
		return
	}
	answer, err := h.ask(ctx, d, x)
	if err != nil {
		// As if the server's port were closed, which the client would be told of.
		answer = answerOf(d.Data, q, dnsmessage.RCodeServerFailure)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		h.event(x, summary{code: dnsmessage.RCodeServerFailure})
	}
	d.Reply(answer) //nolint:errcheck // the client asks again
}

var errNoAnswer = errors.New("no answer")

// ask passes the question on from a port of its own, and returns the answer as it came. The
// kernel gives the socket nothing but what comes from the server.
func (h *Handler) ask(ctx context.Context, d *proxy.Datagram, x *exchange) ([]byte, error) {
	server, err := d.Dial(ctx)
	if err != nil {
		return nil, err
	}
	defer server.Close()
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.SetDeadline(x.began.Add(h.config.Timeout)); err != nil {
		return nil, err
	}
	if _, err := server.Write(d.Data); err != nil {
		return nil, err
	}
	// One more than the client takes: what fills it has been cut off.
	b := make([]byte, min(x.q.size, maxSize)+1)
	for range maxStray {
		n, err := server.Read(b)
		if err != nil {
			return nil, err
		}
		if n < len(b) && isAnswer(b[:n], x.q) && h.answered(ctx, x, b[:n]) {
			return b[:n], nil
		}
	}
	return nil, errNoAnswer
}
