// Command forward carries connections from a port of the machine's loopback into a network
// namespace. It opens its listener where it is started, then runs itself again inside the
// namespace with that listener: a socket stays in the namespace that it was made in, so the
// whole process belongs to the cluster's namespace and ends with it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	listen := flag.String("listen", "", "address to listen on; another port is taken when it is in use")
	portFile := flag.String("port-file", "", "file that gets the port")
	netns := flag.String("netns", "", "network namespace to dial in")
	to := flag.String("to", "", "address to dial")
	fd := flag.Int("fd", -1, "listener that was opened before (set by the command itself)")
	flag.Parse()
	var err error
	if *fd >= 0 {
		err = serve(*fd, *to)
	} else {
		err = enter(*listen, *portFile, *netns, *to)
	}
	fmt.Fprintln(os.Stderr, "forward:", err)
	os.Exit(1)
}

// enter opens the listener and becomes the same command inside the namespace. It returns
// only with an error.
func enter(listen, portFile, netns, to string) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("read -listen: %w", err)
	}
	listener, err := net.Listen("tcp", listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		listener, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
	}
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		return fmt.Errorf("take the listener's descriptor: %w", err)
	}
	if _, err := unix.FcntlInt(file.Fd(), unix.F_SETFD, 0); err != nil {
		return fmt.Errorf("keep the listener over exec: %w", err)
	}
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	if err := os.WriteFile(portFile, []byte(port+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the port: %w", err)
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return fmt.Errorf("find nsenter: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	args := []string{nsenter, "--net=" + netns, self, "-fd", strconv.Itoa(int(file.Fd())), "-to", to}
	return fmt.Errorf("enter %s: %w", netns, syscall.Exec(nsenter, args, os.Environ()))
}

// serve accepts on the listener with this descriptor and dials the target for each connection.
func serve(fd int, to string) error {
	listener, err := net.FileListener(os.NewFile(uintptr(fd), "listener"))
	if err != nil {
		return fmt.Errorf("take over the listener: %w", err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		go carry(conn.(*net.TCPConn), to)
	}
}

// carry copies both ways until both are done; each end's half-close reaches the other.
func carry(client *net.TCPConn, to string) {
	defer func() { _ = client.Close() }()
	conn, err := net.DialTimeout("tcp", to, 5*time.Second)
	if err != nil {
		return
	}
	server := conn.(*net.TCPConn)
	defer func() { _ = server.Close() }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		pipe(server, client)
	}()
	pipe(client, server)
	<-done
}

// pipe copies one way until that way ends; an error ends it as an end of file does.
func pipe(to, from *net.TCPConn) {
	_, _ = io.Copy(to, from)
	_ = to.CloseWrite()
}
