package bpf

import "testing"

func TestOpenClose(t *testing.T) {
	c := Config{PinPath: bpffs(t)}
	open(t, c)
}
