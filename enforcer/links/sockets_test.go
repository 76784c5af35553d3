package links

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/enforcer/netns/nstest"
)

// Connections that are refused end at once, on both sides; the others go on.
func TestCut(t *testing.T) {
	for _, listenOn := range []string{"0.0.0.0:0", "[::]:0"} {
		t.Run(listenOn, func(t *testing.T) {
			host, dir, f := node(t)
			server := nstest.Pod(host, dir, "server", "10.244.1.2", "10.244.1.1")
			scan(t, f)
			link, err := f.Find(addrs("10.244.1.2"))
			if err != nil {
				t.Fatal(err)
			}
			var lis net.Listener
			server.Do(func() (err error) {
				lis, err = net.Listen("tcp", listenOn)
				return err
			})
			defer lis.Close()
			port := lis.Addr().(*net.TCPAddr).Port
			var pairs [2][2]net.Conn
			for i := range pairs {
				host.Do(func() (err error) {
					pairs[i][0], err = net.DialTCP("tcp4", nil, &net.TCPAddr{IP: net.IPv4(10, 244, 1, 2), Port: port})
					return err
				})
				defer pairs[i][0].Close()
				if pairs[i][1], err = lis.Accept(); err != nil {
					t.Fatal(err)
				}
				defer pairs[i][1].Close()
			}
			refused := pairs[0][0].LocalAddr().String()
			n, err := f.Cut(link, func(c Connection) bool {
				if !c.Accepted {
					t.Errorf("%+v is not seen as accepted", c)
				}
				return c.Remote.String() != refused
			})
			if err != nil || n != 1 {
				t.Fatalf("cut %d, %v", n, err)
			}
			for _, c := range pairs[0] {
				c.SetReadDeadline(time.Now().Add(5 * time.Second)) // the read says it
				if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.ECONNABORTED) {
					t.Errorf("%s reads %v", c.LocalAddr(), err)
				}
			}
			if _, err := pairs[1][0].Write([]byte("x")); err != nil {
				t.Error(err)
			}
			if _, err := pairs[1][1].Read(make([]byte, 1)); err != nil {
				t.Errorf("the other connection: %v", err)
			}
		})
	}
}

// A namespace that came in the place of another is not touched.
func TestCutInAnotherNamespace(t *testing.T) {
	host, dir, f := node(t)
	pod := nstest.Pod(host, dir, "pod", "10.244.1.2", "10.244.1.1")
	scan(t, f)
	link, err := f.Find(addrs("10.244.1.2"))
	if err != nil {
		t.Fatal(err)
	}
	pod.Remove()
	nstest.New(t, dir, "pod")
	link.ID.Ino++ // whatever inode the new namespace got
	if _, err := f.Cut(link, func(Connection) bool { return false }); err == nil {
		t.Error("no error")
	}
}

// Who ends a connection that has ended by itself must not end what listens for the next.
func TestEndLeavesListeners(t *testing.T) {
	for _, listenOn := range []string{"0.0.0.0:0", "[::]:0"} {
		t.Run(listenOn, func(t *testing.T) {
			host, dir, f := node(t)
			server := nstest.Pod(host, dir, "server", "10.244.1.2", "10.244.1.1")
			scan(t, f)
			link, err := f.Find(addrs("10.244.1.2"))
			if err != nil {
				t.Fatal(err)
			}
			var lis net.Listener
			server.Do(func() (err error) {
				lis, err = net.Listen("tcp", listenOn)
				return err
			})
			defer lis.Close()
			local := netip.AddrPortFrom(link.Addrs[0], uint16(lis.Addr().(*net.TCPAddr).Port))
			gone := Connection{Local: local, Remote: netip.MustParseAddrPort("10.244.1.1:4242")}
			if err := f.EndOf(link, []Connection{gone}); err != nil {
				t.Error(err)
			}
			host.Do(func() error {
				c, err := net.DialTimeout("tcp4", local.String(), 10*time.Second)
				if err != nil {
					t.Errorf("nobody listens any more: %v", err)
					return nil
				}
				return c.Close()
			})
		})
	}
}
