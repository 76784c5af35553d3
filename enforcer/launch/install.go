package launch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// capNetRaw is CAP_NET_RAW, which Envoy needs for transparent listeners and marks.
const capNetRaw = unix.CAP_NET_RAW

// Ambient are the capabilities that the launcher hands on to Envoy.
func Ambient() []uintptr { return []uintptr{capNetRaw} }

// Install copies the program self to path, and gives the copy CAP_NET_RAW as a file
// capability: a launcher that is not root has it then, and hands it on. If path is a
// directory, the copy is called septum-proxy in it. It takes CAP_SETFCAP.
func Install(self, path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, "septum-proxy")
	}
	in, err := os.Open(self)
	if err != nil {
		return fmt.Errorf("open the launcher: %w", err)
	}
	defer in.Close()
	temporary := path + ".new"
	out, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return fmt.Errorf("copy the launcher: %w", err)
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Chmod(0o755), out.Close()); err != nil {
		return fmt.Errorf("copy the launcher: %w", err)
	}
	// Changing the file's content takes capabilities away: they come last.
	if err := unix.Setxattr(temporary, "security.capability", fileCapability(capNetRaw), 0); err != nil {
		return fmt.Errorf("give the launcher CAP_NET_RAW: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("put the launcher in place: %w", err)
	}
	return nil
}

// fileCapability is struct vfs_cap_data of version 2, permitted and effective (setcap's "+ep").
func fileCapability(capability uint) []byte {
	const version2, effective = 0x02000000, 1
	data := make([]byte, 0, 20)
	data = binary.LittleEndian.AppendUint32(data, version2|effective)
	var permitted [2]uint32
	permitted[capability/32] = 1 << (capability % 32)
	for _, p := range permitted {
		data = binary.LittleEndian.AppendUint32(data, p)
		data = binary.LittleEndian.AppendUint32(data, 0) // inheritable
	}
	return data
}
