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

// wrong is a topic with the error that it is answered with.
type wrong struct {
	topic
	code int16
}

// answerFor is the answer to a request of which each topic is wrong; groups are those of an
// OffsetFetch that has several.
func answerFor(key, version int16, lists [][]wrong, groups []string) kmsg.Response {
	if key == keyOffsets && version >= 8 {
		return offsetGroups(lists, groups)
	}
	var all []wrong
	for _, l := range lists {
		all = append(all, l...)
	}
	switch key {
	case keyProduce:
		return produceAnswer(all)
	case keyFetch:
		return fetchAnswer(all)
	case keyListOffsets:
		r := kmsg.NewPtrListOffsetsResponse()
		for _, t := range all {
			rt := kmsg.NewListOffsetsResponseTopic()
			rt.Topic = t.name
			for _, p := range t.partitions {
				rp := kmsg.NewListOffsetsResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p, t.code
				rt.Partitions = append(rt.Partitions, rp)
			}
			r.Topics = append(r.Topics, rt)
		}
		return r
	case keyMetadata:
		r := kmsg.NewPtrMetadataResponse()
		for _, t := range all {
			rt := kmsg.NewMetadataResponseTopic()
			rt.Topic, rt.TopicID, rt.ErrorCode = kmsg.StringPtr(t.name), t.id, t.code
			r.Topics = append(r.Topics, rt)
		}
		return r
	case keyEpochs:
		r := kmsg.NewPtrOffsetForLeaderEpochResponse()
		for _, t := range all {
			rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
			rt.Topic = t.name
			for _, p := range t.partitions {
				rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p, t.code
				rt.Partitions = append(rt.Partitions, rp)
			}
			r.Topics = append(r.Topics, rt)
		}
		return r
	}
	return commitAnswer(key, all)
}

func produceAnswer(all []wrong) kmsg.Response {
	r := kmsg.NewPtrProduceResponse()
	for _, t := range all {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.name, t.id
		for _, p := range t.partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode, rp.BaseOffset, rp.LogAppendTime, rp.LogStartOffset = p, t.code, -1, -1, -1
			rt.Partitions = append(rt.Partitions, rp)
		}
		r.Topics = append(r.Topics, rt)
	}
	return r
}

func fetchAnswer(all []wrong) kmsg.Response {
	r := kmsg.NewPtrFetchResponse()
	for _, t := range all {
		rt := kmsg.NewFetchResponseTopic()
		rt.Topic, rt.TopicID = t.name, t.id
		for _, p := range t.partitions {
			rp := kmsg.NewFetchResponseTopicPartition()
			rp.Partition, rp.ErrorCode, rp.HighWatermark, rp.LastStableOffset, rp.LogStartOffset = p, t.code, -1, -1, -1
			// Clients take null for a message that is damaged, and ask again at once.
			rp.RecordBatches = []byte{}
			rt.Partitions = append(rt.Partitions, rp)
		}
		r.Topics = append(r.Topics, rt)
	}
	return r
}

func commitAnswer(key int16, all []wrong) kmsg.Response {
	switch key {
	case keyCommit:
		r := kmsg.NewPtrOffsetCommitResponse()
		for _, t := range all {
			rt := kmsg.NewOffsetCommitResponseTopic()
			rt.Topic, rt.TopicID = t.name, t.id
			for _, p := range t.partitions {
				rp := kmsg.NewOffsetCommitResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p, t.code
				rt.Partitions = append(rt.Partitions, rp)
			}
			r.Topics = append(r.Topics, rt)
		}
		return r
	case keyTxnCommit:
		r := kmsg.NewPtrTxnOffsetCommitResponse()
		for _, t := range all {
			rt := kmsg.NewTxnOffsetCommitResponseTopic()
			rt.Topic, rt.TopicID = t.name, t.id
			for _, p := range t.partitions {
				rp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p, t.code
				rt.Partitions = append(rt.Partitions, rp)
			}
			r.Topics = append(r.Topics, rt)
		}
		return r
	case keyAddToTxn:
		r := kmsg.NewPtrAddPartitionsToTxnResponse()
		for _, t := range all {
			rt := kmsg.NewAddPartitionsToTxnResponseTopic()
			rt.Topic = t.name
			for _, p := range t.partitions {
				rp := kmsg.NewAddPartitionsToTxnResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p, t.code
				rt.Partitions = append(rt.Partitions, rp)
			}
			r.Topics = append(r.Topics, rt)
		}
		return r
	case keyHeartbeat:
		r := kmsg.NewPtrConsumerGroupHeartbeatResponse()
		r.ErrorCode = errTopicDenied
		return r
	}
	r := kmsg.NewPtrOffsetFetchResponse()
	for _, t := range all {
		rt := kmsg.NewOffsetFetchResponseTopic()
		rt.Topic = t.name
		for _, p := range t.partitions {
			rp := kmsg.NewOffsetFetchResponseTopicPartition()
			rp.Partition, rp.Offset, rp.ErrorCode = p, -1, t.code
			rt.Partitions = append(rt.Partitions, rp)
		}
		r.Topics = append(r.Topics, rt)
	}
	return r
}

func offsetGroups(lists [][]wrong, groups []string) kmsg.Response {
	r := kmsg.NewPtrOffsetFetchResponse()
	for i, l := range lists {
		g := kmsg.NewOffsetFetchResponseGroup()
		g.Group = groups[i]
		for _, t := range l {
			rt := kmsg.NewOffsetFetchResponseGroupTopic()
			rt.Topic, rt.TopicID = t.name, t.id
			for _, p := range t.partitions {
				rp := kmsg.NewOffsetFetchResponseGroupTopicPartition()
				rp.Partition, rp.Offset, rp.ErrorCode = p, -1, t.code
				rt.Partitions = append(rt.Partitions, rp)
			}
			g.Topics = append(g.Topics, rt)
		}
		r.Groups = append(r.Groups, g)
	}
	return r
}

// wholeAnswer is the answer to a request that is denied as a whole; nil where a message has no
// place for that.
func wholeAnswer(key int16) (r kmsg.Response, code int16) {
	switch key {
	case 22, 25, 26, 27:
		code = errTxnDenied
	case 10, 11, 12, 13, 14, 15, 16, 42, keyHeartbeat, 69:
		code = errGroupDenied
	case keyProduce, keyFetch, keyListOffsets, keyMetadata, keyCommit, keyOffsets, keyEpochs, keyAddToTxn, keyTxnCommit:
		code = errTopicDenied
	default:
		code = errClusterDenied
	}
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
