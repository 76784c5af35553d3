// Package clienthello makes the first message of TLS connections for tests, byte by byte, also
// as no client would send it.
package clienthello

import (
	"bytes"
	"encoding/binary"
)

// Extension is one of a ClientHello's.
type Extension struct {
	Kind uint16
	Body []byte
}

// Sized is the bytes with their length, in two bytes, before them.
func Sized(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

// SNI is the server_name extension with a list of names.
func SNI(names ...string) Extension {
	var list []byte
	for _, n := range names {
		list = append(append(list, 0), Sized([]byte(n))...)
	}
	return Extension{0, Sized(list)}
}

// Of is a ClientHello as one record, or as several if it is long.
func Of(extensions ...Extension) []byte {
	extensions = append(extensions,
		Extension{0x0a0a, nil},                                                             // GREASE
		Extension{43, []byte{4, 0x0a, 0x0a, 3, 4}},                                         // TLS 1.3
		Extension{10, Sized([]byte{0, 29})},                                                // x25519
		Extension{13, Sized([]byte{4, 3, 8, 4})},                                           // signatures
		Extension{51, Sized(append([]byte{0, 29, 0, 32}, bytes.Repeat([]byte{9}, 32)...))}, // a key share
		Extension{16, Sized([]byte("\x02h2\x08http/1.1"))})
	var exts []byte
	for _, e := range extensions {
		exts = append(binary.BigEndian.AppendUint16(exts, e.Kind), Sized(e.Body)...)
	}
	body := append([]byte{3, 3}, bytes.Repeat([]byte{7}, 32)...)
	body = append(body, 32)
	body = append(body, bytes.Repeat([]byte{8}, 32)...)
	body = append(body, Sized([]byte{0x13, 1, 0xc0, 0x2b})...)
	body = append(body, 1, 0)
	body = append(body, Sized(exts)...)
	message := append([]byte{1, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
	var out []byte
	for len(message) > 0 {
		n := min(len(message), 1<<14)
		out = append(append(out, 22, 3, 1), Sized(message[:n])...)
		message = message[n:]
	}
	return out
}
