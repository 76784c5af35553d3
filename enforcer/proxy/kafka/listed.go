package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The keys of requests that are judged as a whole, but whose answers have an error for each
// thing that they name: without it, clients ask again until their own patience ends.
const (
	keyCreateTopics     = 19
	keyDeleteTopics     = 20
	keyDeleteRecords    = 21
	keyDescribeConfigs  = 32
	keyAlterConfigs     = 33
	keyCreatePartitions = 37
	keyIncrementConfigs = 44
)

// listed are the shapes of these requests. What they name stands where others have topics.
func listed() map[int16]*shape {
	return map[int16]*shape{
		keyCoordinator:      newShape(3, 6, "s-3 b1- topics:*s4-"),
		keyCreateTopics:     newShape(5, 7, "topics:[ name:s i h [ i *i ] [ s s ] ] i b1-"),
		keyDeleteTopics:     newShape(4, 6, "topics:*s-5 topics:[6- name:s id:u ] i"),
		keyDeleteRecords:    newShape(2, 2, "topics:[ name:s [ index:i l ] ] i"),
		keyDescribeConfigs:  newShape(4, 4, "topics:[ b name:s *s ] b1- b3-"),
		keyAlterConfigs:     newShape(2, 2, "topics:[ b name:s [ s s ] ] b"),
		keyCreatePartitions: newShape(2, 3, "topics:[ name:s i [ *i ] ] i b"),
		keyIncrementConfigs: newShape(1, 1, "topics:[ b name:s [ s b s ] ] b"),
	}
}

// listedAnswer is the answer to such a request of which nothing is done; nil is for any other.
func (m *messages) listedAnswer(r *request) (answer kmsg.Response, code int16, err error) {
	s := m.listed[r.key]
	if s == nil {
		return nil, 0, nil
	}
	found, err := s.walk(r.version, r.body())
	if err != nil {
		return nil, 0, r.refuse("not Kafka: %v", err)
	}
	var all []topic
	for _, l := range found.lists {
		all = append(all, l.topics...)
	}
	switch r.key {
	case keyCoordinator:
		return coordinatorAnswer(all), errGroupDenied, nil
	case keyDescribeConfigs, keyAlterConfigs, keyIncrementConfigs:
		return configsAnswer(r, all), errTopicDenied, nil
	}
	return topicsAnswer(r.key, all), errTopicDenied, nil
}

func coordinatorAnswer(keys []topic) kmsg.Response {
	r := kmsg.NewPtrFindCoordinatorResponse()
	r.ErrorCode, r.NodeID = errGroupDenied, -1
	for _, k := range keys {
		c := kmsg.NewFindCoordinatorResponseCoordinator()
		c.Key, c.NodeID, c.ErrorCode = k.name, -1, errGroupDenied
		r.Coordinators = append(r.Coordinators, c)
	}
	return r
}

func topicsAnswer(key int16, topics []topic) kmsg.Response {
	switch key {
	case keyCreateTopics:
		r := kmsg.NewPtrCreateTopicsResponse()
		for _, t := range topics {
			rt := kmsg.NewCreateTopicsResponseTopic()
			rt.Topic, rt.ErrorCode = t.name, errTopicDenied
			r.Topics = append(r.Topics, rt)
		}
		return r
	case keyDeleteTopics:
		r := kmsg.NewPtrDeleteTopicsResponse()
		for _, t := range topics {
			rt := kmsg.NewDeleteTopicsResponseTopic()
			rt.TopicID, rt.ErrorCode = t.id, errTopicDenied
			if t.id == [16]byte{} {
				rt.Topic = kmsg.StringPtr(t.name)
			}
			r.Topics = append(r.Topics, rt)
		}
		return r
	case keyDeleteRecords:
		r := kmsg.NewPtrDeleteRecordsResponse()
		for _, t := range topics {
			rt := kmsg.NewDeleteRecordsResponseTopic()
			rt.Topic = t.name
			for _, p := range t.partitions {
				rp := kmsg.NewDeleteRecordsResponseTopicPartition()
				rp.Partition, rp.LowWatermark, rp.ErrorCode = p, -1, errTopicDenied
				rt.Partitions = append(rt.Partitions, rp)
			}
			r.Topics = append(r.Topics, rt)
		}
		return r
	}
	r := kmsg.NewPtrCreatePartitionsResponse()
	for _, t := range topics {
		rt := kmsg.NewCreatePartitionsResponseTopic()
		rt.Topic, rt.ErrorCode = t.name, errTopicDenied
		r.Topics = append(r.Topics, rt)
	}
	return r
}

// configsAnswer names resources by their kind, which stands before the name, too.
func configsAnswer(q *request, resources []topic) kmsg.Response {
	kind := func(t topic) (kmsg.ConfigResourceType, int16) {
		k := kmsg.ConfigResourceType(int8(q.body()[t.at]))
		if k == kmsg.ConfigResourceTypeTopic {
			return k, errTopicDenied
		}
		return k, errClusterDenied
	}
	switch q.key {
	case keyDescribeConfigs:
		r := kmsg.NewPtrDescribeConfigsResponse()
		for _, t := range resources {
			rr := kmsg.NewDescribeConfigsResponseResource()
			rr.ResourceName = t.name
			rr.ResourceType, rr.ErrorCode = kind(t)
			r.Resources = append(r.Resources, rr)
		}
		return r
	case keyAlterConfigs:
		r := kmsg.NewPtrAlterConfigsResponse()
		for _, t := range resources {
			rr := kmsg.NewAlterConfigsResponseResource()
			rr.ResourceName = t.name
			rr.ResourceType, rr.ErrorCode = kind(t)
			r.Resources = append(r.Resources, rr)
		}
		return r
	}
	r := kmsg.NewPtrIncrementalAlterConfigsResponse()
	for _, t := range resources {
		rr := kmsg.NewIncrementalAlterConfigsResponseResource()
		rr.ResourceName = t.name
		rr.ResourceType, rr.ErrorCode = kind(t)
		r.Resources = append(r.Resources, rr)
	}
	return r
}
