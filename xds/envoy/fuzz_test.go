package envoy

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/draw"
)

// FuzzEnvoy has the fuzzer steer what TestAgreesWithOracle draws at random: classes that
// were compiled of policies and some that were not, and paths put together of pieces.
func FuzzEnvoy(f *testing.F) {
	f.Add([]byte("classes and requests, drawn from these bytes"))
	e := startEnvoy(f, startContent(f))
	made := 0
	f.Fuzz(func(t *testing.T, data []byte) {
		d := &draw.Draw{Data: data[:min(len(data), 4000)]}
		random := rand.New(steered{d})
		var classes []policy.Class
		for range 3 {
			classes = append(classes, randomClass(random, 0))
		}
		classes = append(classes, policy.Compile(d.Snapshot()).Node("n1").Classes...)
		classes = classes[:min(len(classes), 4)] // a round has ten seconds
		for i := range classes {
			// A class whose name is new gets a listener that has never had other rules.
			made++
			classes[i].ID = policy.ClassID(fmt.Sprintf("fuzz%d", made))
		}
		e.numbers.Classes = nil
		for class, addr := range e.apply(t, classes...) {
			var sent []policy.HTTPRequest
			for range 8 {
				req := randomRequest(random)
				if d.N(2) == 1 {
					req.Path = pathOf(d)
				}
				sent = append(sent, req)
			}
			for _, c := range classes {
				if c.ID == class {
					e.agree(t, c, addr, sent)
				}
			}
		}
	})
}

// startContent is an upstream that is content with any head of a request, and answers 200:
// Go's server answers some paths 400 itself.
func startContent(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve := func(c net.Conn) {
		defer c.Close()
		for r := bufio.NewReader(c); ; {
			line, err := r.ReadString('\n')
			if err != nil {
				return // Envoy has no more for it
			}
			if line == "\r\n" {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			go serve(c)
		}
	}()
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// pathOf puts a path together of what normalisation, escapes and expressions look at.
func pathOf(d *draw.Draw) string {
	path := "/"
	for range 1 + d.N(8) {
		path += draw.Pick(d, "a", "b", "/", ".", "..", "%2e", "%2F", "%5c", "\\", ";", "?", "=", "%25", "//", "A", "%", "%41", "%c0%ae", "{", "+", "%2B", ":", "*", "c")
	}
	return path
}

// steered is a source of random numbers: what the fuzzer says, spread over all bits that are looked at.
type steered struct{ d *draw.Draw }

func (b steered) Uint64() uint64 {
	// math/rand looks at the highest bits or the lowest, and would never be content with zeros.
	n := uint64(b.d.N(256))
	return n<<56 | 0x555555<<32 | n
}
