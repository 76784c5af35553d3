package kafkatest

import (
	"fmt"
	"reflect"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/septum-dev/septum/policy"
)

// Correlation is the number of each request that Request makes.
const Correlation = 7

// Request is a whole request in a version, with its size, of one topic by its name if its key has topics.
func Request(r policy.KafkaRequest, version int16) []byte {
	q, n := kmsg.RequestForKey(int16(r.Key)), 0
	Fill(reflect.ValueOf(q).Elem(), &n)
	q.SetVersion(version)
	v := reflect.ValueOf(q).Elem()
	for _, name := range []string{"Topics", "SubscribedTopicNames"} {
		f := v.FieldByName(name)
		if !f.IsValid() || f.Kind() != reflect.Slice {
			continue
		}
		f.SetLen(1)
		t := f.Index(0)
		if t.Kind() == reflect.Struct {
			if t.FieldByName("TopicID").IsValid() {
				t.FieldByName("TopicID").SetZero()
			}
			t = t.FieldByName("Topic")
		}
		switch {
		case t.Kind() == reflect.Pointer:
			t.Set(reflect.ValueOf(&r.Topic))
		case t.Kind() == reflect.String:
			t.SetString(r.Topic)
		}
	}
	if f := v.FieldByName("SessionID"); f.IsValid() {
		f.SetInt(0)
	}
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID(r.ClientID)).AppendRequest(nil, q, Correlation)
}

// Fill gives every list of a message two elements, each string a name and each number a value.
func Fill(v reflect.Value, n *int) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.Type().Elem().Kind() == reflect.Struct && v.Type().Elem().Name() == "Tags" {
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		Fill(v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() && v.Type().Field(i).Name != "Version" && v.Type().Field(i).Name != "UnknownTags" {
				Fill(f, n)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			Fill(v.Index(i), n)
		}
	case reflect.Array:
		for i := range v.Len() {
			Fill(v.Index(i), n)
		}
	case reflect.String:
		*n++
		v.SetString(fmt.Sprint("t", *n))
	case reflect.Uint8:
		v.SetUint(7)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		*n++
		v.SetInt(int64(*n % 100))
	}
}
