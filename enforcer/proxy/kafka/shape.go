package kafka

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// shape says where topics are in a message: its fields in order, with the versions that have
// them. The notation is
//
//	b h i l u   1, 2, 4, 8 and 16 bytes
//	s B         a string and bytes, null or not
//	*i *s       an array of plain values
//	[ … ]       an array of structs
//	!           here the walk ends
//
// each with a name before it that says what it is to the proxy ("name:s"), and the versions
// behind it ("s3-", "s-12", "i7-9"). In flexible versions strings and arrays are compact, and
// each struct ends in tags.
type shape struct {
	fields []field
	// flexible is the first flexible version, latest the last that is known.
	flexible, latest int16
}

type field struct {
	kind        byte
	what        what
	first, last int16
	fields      []field
}

// what a field is to the proxy.
type what byte

const (
	nothing what = iota
	topics
	topicName
	topicID
	partition
	group
	acks
	session
	epoch
)

func meanings() map[string]what {
	return map[string]what{"topics": topics, "name": topicName, "id": topicID, "index": partition, "group": group,
		"acks": acks, "session": session, "epoch": epoch}
}

// newShape reads the notation. It is only given constants: a mistake in one is the program's.
func newShape(flexible, latest int16, text string) *shape {
	rest := strings.Fields(text)
	return &shape{fields: parseFields(&rest), flexible: flexible, latest: latest}
}

func parseFields(rest *[]string) []field {
	var out []field
	for len(*rest) > 0 {
		token := (*rest)[0]
		*rest = (*rest)[1:]
		if token == "]" {
			return out
		}
		f := field{last: math.MaxInt16}
		if name, after, ok := strings.Cut(token, ":"); ok {
			f.what, token = meanings()[name], after
		}
		f.kind, token = token[0], token[1:]
		if f.kind == '*' {
			f.kind, token = token[0]-'a'+'A', token[1:]
		}
		if first, last, ok := strings.Cut(token, "-"); ok {
			f.first, f.last = bound(first, 0), bound(last, math.MaxInt16)
		}
		if f.kind == '[' {
			f.fields = parseFields(rest)
		}
		out = append(out, f)
	}
	return out
}

func bound(text string, none int16) int16 {
	if text == "" {
		return none
	}
	n, err := strconv.ParseInt(text, 10, 16)
	if err != nil {
		panic(fmt.Sprintf("a version in a shape: %v", err))
	}
	return int16(n)
}
