package kafka

import (
	"encoding/binary"
	"reflect"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// The error codes that the proxy answers with.
const (
	errTopicDenied    = 29
	errGroupDenied    = 30
	errClusterDenied  = 31
	errVersion        = 35
	errTxnDenied      = 53
	errNotAttempted   = 55
	errSessionUnknown = 70
	errUnknownID      = 100
)

// wrong is a topic, or what else a request names, with the error that it is answered with.
type wrong struct {
	topic
	code int16
	// kind is that of a resource.
	kind kmsg.ConfigResourceType
}

// place is where an answer has an error for each thing that its request names: a list, and the
// field of its elements that says which of them it is, if there is one.
type place struct{ list, name string }

// places are those of the keys whose answers have such a list.
func places() map[int16]place {
	topics, groups := place{"Topics", "Topic"}, place{"Groups", "Group"}
	resources, results := place{"Resources", "ResourceName"}, place{"Results", "User"}
	return map[int16]place{
		keyProduce: topics, keyFetch: topics, keyListOffsets: topics, keyMetadata: topics, keyCommit: topics, keyOffsets: topics,
		keyEpochs: topics, keyAddToTxn: topics, keyTxnCommit: topics,
		keyCreateTopics: topics, keyDeleteTopics: topics, keyDeleteRecords: topics, keyCreatePartitions: topics,
		keyAlterLogDirs: topics, keyProducers: topics,
		keyDescribeConfigs: resources, keyAlterConfigs: resources, keyIncrementConfigs: resources,
		keyDescribeGroups: groups, keyDeleteGroups: groups, keyConsumerGroups: groups, keyShareGroups: groups, keyStreamsGroups: groups,
		keyShareOffsets: groups, keyCreateACLs: results, keyDeleteACLs: results, keyAlterSCRAM: results,
		keyCoordinator: {"Coordinators", "Key"}, keyTransactions: {"TransactionStates", "TransactionalID"},
	}
}

// answerFor is the answer to a request of which each topic is wrong; groups are those of an
// OffsetFetch that has several.
func (m *messages) answerFor(key, version int16, lists [][]wrong, groups []string) kmsg.Response {
	if key == keyOffsets && version >= 8 {
		return offsetGroups(lists, groups)
	}
	r := kmsg.ResponseForKey(key)
	v := reflect.ValueOf(r).Elem()
	if key == keyHeartbeat || key == keyCoordinator {
		// The one has no place for topics, the other in its first versions none for keys.
		code := wholeCode(key)
		if key == keyHeartbeat {
			code = errTopicDenied
		}
		v.FieldByName("ErrorCode").SetInt(int64(code))
	}
	nowhere(v)
	if p, ok := m.places[key]; ok {
		var all []wrong
		for _, l := range lists {
			all = append(all, l...)
		}
		fillPlace(v.FieldByName(p.list), p.name, all)
	}
	return r
}

func offsetGroups(lists [][]wrong, groups []string) kmsg.Response {
	r := kmsg.NewPtrOffsetFetchResponse()
	for i, l := range lists {
		g := kmsg.NewOffsetFetchResponseGroup()
		g.Group = groups[i]
		fillPlace(reflect.ValueOf(&g.Topics).Elem(), "Topic", l)
		r.Groups = append(r.Groups, g)
	}
	return r
}

// fillPlace gives a list of an answer an element for each thing that is wrong.
func fillPlace(list reflect.Value, name string, all []wrong) {
	list.Set(reflect.MakeSlice(list.Type(), len(all), len(all)))
	for i, t := range all {
		v := list.Index(i)
		begin(v, t.code)
		switch f := v.FieldByName(name); {
		case !f.IsValid(): // the answer goes by the order
		case f.Kind() == reflect.String:
			f.SetString(t.name)
		case t.id == [16]byte{}:
			f.Set(reflect.ValueOf(&t.name)) // who asks by id is not told the name
		}
		if f := v.FieldByName("TopicID"); f.IsValid() {
			f.Set(reflect.ValueOf(t.id))
		}
		if f := v.FieldByName("ResourceType"); f.IsValid() {
			f.SetInt(int64(t.kind))
		}
		partitions := v.FieldByName("Partitions")
		if !partitions.IsValid() || len(t.partitions) == 0 {
			continue
		}
		partitions.Set(reflect.MakeSlice(partitions.Type(), len(t.partitions), len(t.partitions)))
		for j, number := range t.partitions {
			p := partitions.Index(j)
			begin(p, t.code)
			p.FieldByName("Partition").SetInt(int64(number))
		}
	}
}

// begin makes an element one that says nothing but its error.
func begin(v reflect.Value, code int16) {
	if d, ok := v.Addr().Interface().(interface{ Default() }); ok {
		d.Default()
	}
	if f := v.FieldByName("ErrorCode"); f.IsValid() {
		f.SetInt(int64(code))
	}
	if f := v.FieldByName("RecordBatches"); f.IsValid() {
		// Clients take null for a message that is damaged, and ask again at once.
		f.SetBytes([]byte{})
	}
	nowhere(v)
}

// nowhere has offsets and nodes say that there is none.
func nowhere(v reflect.Value) {
	for _, name := range []string{"BaseOffset", "LogAppendTime", "LogStartOffset", "HighWatermark", "LastStableOffset", "Offset", "LowWatermark", "NodeID"} {
		if f := v.FieldByName(name); f.IsValid() && f.CanInt() {
			f.SetInt(-1)
		}
	}
}

// wholeCode is the error of a request that is denied as a whole.
func wholeCode(key int16) int16 {
	switch key {
	case 22, 25, 26, 27, keyTransactions:
		return errTxnDenied
	case keyCoordinator, 11, 12, 13, 14, keyDescribeGroups, 16, keyDeleteGroups, keyHeartbeat, keyConsumerGroups,
		keyShareGroups, keyStreamsGroups, keyShareOffsets:
		return errGroupDenied
	case keyProduce, keyFetch, keyListOffsets, keyMetadata, keyCommit, keyOffsets, keyEpochs, keyAddToTxn, keyTxnCommit,
		keyCreateTopics, keyDeleteTopics, keyDeleteRecords, keyCreatePartitions, keyDescribeConfigs, keyAlterConfigs, keyIncrementConfigs,
		keyAlterLogDirs, keyProducers:
		return errTopicDenied
	}
	return errClusterDenied
}

// wholeAnswer is the answer to a request that is denied as a whole; nil where a message has no
// place for that.
func wholeAnswer(key int16) (r kmsg.Response, code int16) {
	code = wholeCode(key)
	r = kmsg.ResponseForKey(key)
	if r == nil {
		return nil, code
	}
	field := reflect.ValueOf(r).Elem().FieldByName("ErrorCode")
	if !field.IsValid() || field.Kind() != reflect.Int16 {
		return nil, code
	}
	field.SetInt(int64(code))
	return r, code
}

// bodyOf writes an answer's body.
func bodyOf(r kmsg.Response, version int16) []byte {
	r.SetVersion(version)
	return r.AppendTo(nil)
}

// frame puts a response's header before its body.
func frame(correlation int32, tagged bool, body []byte) []byte {
	n := 4 + len(body)
	if tagged {
		n++
	}
	out := make([]byte, 0, 4+n)
	out = binary.BigEndian.AppendUint32(out, uint32(n))
	out = binary.BigEndian.AppendUint32(out, uint32(correlation))
	if tagged {
		out = append(out, 0)
	}
	return append(out, body...)
}
