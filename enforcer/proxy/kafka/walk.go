package kafka

import (
	"encoding/binary"
	"errors"
	"math"
)

// walker reads one body. Its work is bounded by the body's length.
type walker struct {
	body     []byte
	at       int
	version  int16
	flexible bool
	out      *message
	group    string
	topic    *topic
}

// walk finds the topics of a body.
func (s *shape) walk(version int16, body []byte) (*message, error) {
	w := &walker{body: body, version: version, flexible: version >= s.flexible, out: &message{}}
	err := w.walk(s.fields)
	if errors.Is(err, errEnd) {
		return w.out, nil
	}
	if err == nil && w.at != len(body) {
		err = errTail
	}
	w.out.end = w.at
	return w.out, err
}

func (w *walker) walk(fields []field) error {
	for i := range fields {
		f := &fields[i]
		if w.version < f.first || w.version > f.last {
			continue
		}
		if err := w.field(f); err != nil {
			return err
		}
	}
	if w.flexible {
		return w.tags()
	}
	return nil
}

func (w *walker) field(f *field) error {
	switch f.kind {
	case '!':
		return errEnd
	case '[':
		return w.array(f)
	case 'I', 'L', 'S':
		return w.plain(f)
	case 's', 'B':
		value, err := w.text(f.kind == 'B')
		switch f.what {
		case topicName:
			if w.topic != nil {
				w.topic.name = string(value)
			}
		case group:
			w.group = string(value)
		}
		return err
	}
	value, err := w.take(size(f.kind))
	if err != nil {
		return err
	}
	switch f.what {
	case topicID:
		if w.topic != nil {
			w.topic.id = [16]byte(value)
		}
	case partition:
		w.out.partitions++
		if w.topic == nil || w.out.partitions > maxPartitions {
			return errTooMany
		}
		w.topic.partitions = append(w.topic.partitions, int32(binary.BigEndian.Uint32(value)))
	case acks:
		w.out.acks = int16(binary.BigEndian.Uint16(value))
	case session:
		w.out.session, w.out.sessionAt = int32(binary.BigEndian.Uint32(value)), w.at-4
	case epoch:
		w.out.epochAt = w.at - 4
	}
	return nil
}

func size(kind byte) int {
	switch kind {
	case 'b':
		return 1
	case 'h':
		return 2
	case 'i':
		return 4
	case 'l':
		return 8
	}
	return 16
}

// array reads an array of structs, and keeps one of topics.
func (w *walker) array(f *field) error {
	l := list{at: w.at, group: w.group}
	n, null, err := w.count()
	if err != nil {
		return err
	}
	l.first, l.null = w.at, null
	for ; n > 0; n-- {
		if f.what != topics {
			if err := w.walk(f.fields); err != nil {
				return err
			}
			continue
		}
		if w.out.topics++; w.out.topics > maxTopics {
			return errTooMany
		}
		t := topic{at: w.at}
		w.topic = &t
		if err := w.walk(f.fields); err != nil {
			return err
		}
		w.topic, t.end = nil, w.at
		l.topics = append(l.topics, t)
	}
	if f.what == topics {
		l.end = w.at
		w.out.lists = append(w.out.lists, l)
	}
	return nil
}

// plain reads an array of values that are no structs; one of topics is of their names.
func (w *walker) plain(f *field) error {
	l := list{at: w.at, group: w.group}
	n, null, err := w.count()
	l.first, l.null = w.at, null
	element := &field{kind: f.kind - 'A' + 'a', what: f.what}
	for ; n > 0 && err == nil; n-- {
		if f.what != topics {
			err = w.field(element)
			continue
		}
		if w.out.topics++; w.out.topics > maxTopics {
			return errTooMany
		}
		at := w.at
		var name []byte
		if name, err = w.text(false); err == nil {
			l.topics = append(l.topics, topic{at: at, end: w.at, name: string(name)})
		}
	}
	if f.what == topics && err == nil {
		l.end = w.at
		w.out.lists = append(w.out.lists, l)
	}
	return err
}

func (w *walker) take(n int) ([]byte, error) {
	if n < 0 || n > len(w.body)-w.at {
		return nil, errShort
	}
	w.at += n
	return w.body[w.at-n : w.at], nil
}

func (w *walker) uvarint() (int, error) {
	v, n := binary.Uvarint(w.body[w.at:])
	if n <= 0 || n > 5 || v > math.MaxUint32 {
		return 0, errShort
	}
	w.at += n
	return int(v), nil
}

// count reads the length of an array: no array has more elements than bytes are left.
func (w *walker) count() (n int, null bool, err error) {
	if w.flexible {
		n, err = w.uvarint()
		n--
	} else {
		var b []byte
		if b, err = w.take(4); err == nil {
			n = int(int32(binary.BigEndian.Uint32(b)))
		}
	}
	if err != nil || n < -1 || n > len(w.body)-w.at {
		return 0, false, errShort
	}
	return max(n, 0), n < 0, nil
}

// text reads a string or bytes; null is nil.
func (w *walker) text(long bool) ([]byte, error) {
	var n int
	var err error
	var b []byte
	switch {
	case w.flexible:
		n, err = w.uvarint()
		n--
	case long:
		if b, err = w.take(4); err == nil {
			n = int(int32(binary.BigEndian.Uint32(b)))
		}
	default:
		if b, err = w.take(2); err == nil {
			n = int(int16(binary.BigEndian.Uint16(b)))
		}
	}
	if err != nil || n < -1 {
		return nil, errShort
	}
	if n < 0 {
		return nil, nil
	}
	return w.take(n)
}

// tags skips a struct's tagged fields. Each takes two bytes at least.
func (w *walker) tags() error {
	n, err := w.uvarint()
	if err != nil || n > (len(w.body)-w.at)/2 {
		return errShort
	}
	for ; n > 0; n-- {
		if _, err := w.uvarint(); err != nil {
			return err
		}
		size, err := w.uvarint()
		if err == nil {
			_, err = w.take(size)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
