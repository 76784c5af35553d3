package node

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/septum-dev/septum/enforcer/netns/nstest"
)

// resolvers is the directory of dnsmasq and CoreDNS.
func (n *Node) resolvers() string {
	n.t.Helper()
	out, err := exec.Command("sh", "../attack/resolvers.sh").Output()
	if err != nil {
		n.t.Fatalf("fetch dnsmasq and CoreDNS: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// CoreDNS runs the real CoreDNS with this configuration in a namespace.
func (n *Node) CoreDNS(ns *nstest.NS, corefile string) *Process {
	n.t.Helper()
	path := n.Path(fmt.Sprintf("Corefile-%d", len(n.programs)))
	n.programs[path] = path
	n.must(os.WriteFile(path, []byte(corefile), 0o600))
	return n.Start(ns, filepath.Join(n.resolvers(), "coredns"), "-conf", path)
}

// Dnsmasq runs Debian's dnsmasq in a namespace, with none of the machine's own settings.
func (n *Node) Dnsmasq(ns *nstest.NS, args ...string) *Process {
	n.t.Helper()
	root := n.resolvers()
	libs, err := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu"))
	n.must(err)
	more, err := filepath.Glob(filepath.Join(root, "lib/*-linux-gnu"))
	n.must(err)
	return n.Start(ns, "/usr/bin/env", append([]string{"LD_LIBRARY_PATH=" + strings.Join(append(libs, more...), ":"),
		filepath.Join(root, "usr/sbin/dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--group=root",
		"--pid-file=", "--log-facility=-", "--bind-interfaces"}, args...)...)
}
