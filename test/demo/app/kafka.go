package main

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxFrame bounds what is read as one message.
const maxFrame = 1 << 20

// keyVersions is ApiVersions, whose answer's header never has tags.
const keyVersions = 18

// kafkaRequests are whole requests, with their sizes, that are made in turn on one connection.
type kafkaRequests struct {
	server  string
	frames  [][]byte
	timeout time.Duration
}

func kafkaRequestsOf(args []string) (kafkaRequests, error) {
	if len(args) < 2 {
		return kafkaRequests{}, errors.New("use: kafka HOST:PORT FRAME…, each frame in hexadecimal digits")
	}
	out := kafkaRequests{server: args[0]}
	for _, arg := range args[1:] {
		frame, err := hex.DecodeString(arg)
		if err == nil && len(frame) < 12 {
			err = errors.New("it is too short")
		}
		if err != nil {
			return out, fmt.Errorf("read a request: %w", err)
		}
		out.frames = append(out.frames, frame)
	}
	return out, nil
}

// run makes the requests once and prints what came of each: "answered", or "refused" and why. Or it
// makes them again and again while the plan's length lasts, and prints that whenever it changes.
// What has no connection gets "no answer".
func (k kafkaRequests) run(ctx context.Context, out io.Writer, p plan) error {
	dialer := net.Dialer{Timeout: k.timeout}
	conn, err := dialer.DialContext(ctx, "tcp", k.server)
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	defer conn.Close()
	tallies, started := make([]tally, len(k.frames)), time.Now()
	for {
		for i, frame := range k.frames {
			outcome, err := k.exchange(conn, frame)
			changed := tallies[i].count(outcome, true)
			if p.length == 0 {
				fmt.Fprintln(out, outcome)
			} else if changed {
				fmt.Fprintf(out, "%.3fs request %d: %s\n", time.Since(started).Seconds(), i, outcome)
			}
			if err != nil {
				return err
			}
		}
		if p.length == 0 {
			return nil
		}
		if time.Since(started) >= p.length {
			fmt.Fprintf(out, "requests %d each\n", tallies[0].requests)
			return nil
		}
		time.Sleep(p.every)
	}
}

// exchange makes one request, and says what came of it.
func (k kafkaRequests) exchange(conn net.Conn, frame []byte) (string, error) {
	conn.SetDeadline(time.Now().Add(k.timeout)) //nolint:errcheck // reading says so
	_, err := conn.Write(frame)
	var answer []byte
	if err == nil {
		answer, err = readFrame(conn)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return "refused: the connection was ended", err
	}
	if err != nil {
		return "no answer: " + err.Error(), err
	}
	key, version := int16(binary.BigEndian.Uint16(frame[4:])), int16(binary.BigEndian.Uint16(frame[6:]))
	body, header := kmsg.ResponseForKey(key), 4
	if body == nil {
		return "", fmt.Errorf("there is no answer to key %d", key)
	}
	body.SetVersion(version)
	if body.IsFlexible() && key != keyVersions {
		header++
	}
	if len(answer) < header {
		return "", io.ErrUnexpectedEOF
	}
	if err := body.ReadFrom(answer[header:]); err != nil {
		return "", fmt.Errorf("read the answer: %w", err)
	}
	if code := errorIn(reflect.ValueOf(body)); code != 0 {
		return fmt.Sprintf("refused: error %d", code), nil
	}
	return "answered", nil
}

// errorIn is the first error code anywhere in an answer; 0 is none.
func errorIn(v reflect.Value) int64 {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return errorIn(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			if code := errorIn(v.Index(i)); code != 0 {
				return code
			}
		}
	case reflect.Struct:
		if f := v.FieldByName("ErrorCode"); f.IsValid() && f.CanInt() && f.Int() != 0 {
			return f.Int()
		}
		for i := range v.NumField() {
			if code := errorIn(v.Field(i)); code != 0 {
				return code
			}
		}
	default:
	}
	return 0
}

// serveKafka answers each request with an answer that has nothing in it, and no error.
func serveKafka(conn net.Conn) {
	defer conn.Close()
	for {
		frame, err := readFrame(conn)
		if err != nil || len(frame) < 8 {
			return
		}
		key, version := int16(binary.BigEndian.Uint16(frame)), int16(binary.BigEndian.Uint16(frame[2:]))
		answer := append(make([]byte, 4), frame[4:8]...)
		if body := kmsg.ResponseForKey(key); body != nil {
			body.SetVersion(version)
			if body.IsFlexible() && key != keyVersions {
				answer = append(answer, 0)
			}
			answer = body.AppendTo(answer)
		}
		binary.BigEndian.PutUint32(answer, uint32(len(answer)-4))
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

// readFrame reads a message without its size.
func readFrame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxFrame {
		return nil, fmt.Errorf("a message of %d bytes", n)
	}
	out := make([]byte, n)
	_, err := io.ReadFull(r, out)
	return out, err
}
