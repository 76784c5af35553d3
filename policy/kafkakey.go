package policy

import (
	"slices"
	"strconv"
	"strings"
)

// KafkaKey is the number that says what a Kafka request asks for.
type KafkaKey int16

// The keys that have a part of their own in what rules mean.
const (
	KafkaProduce          KafkaKey = 0
	KafkaFetch            KafkaKey = 1
	KafkaMetadata         KafkaKey = 3
	KafkaSASLHandshake    KafkaKey = 17
	KafkaAPIVersions      KafkaKey = 18
	KafkaSASLAuthenticate KafkaKey = 36
)

// always is what every client may ask: which versions the server speaks, and who is there.
func (k KafkaKey) always() bool {
	return k == KafkaAPIVersions || k == KafkaSASLHandshake || k == KafkaSASLAuthenticate
}

// KafkaRole is a set of keys under one name.
type KafkaRole string

// The roles. They have what today's clients send beside what the name says: an idempotent
// producer, which is the default, needs InitProducerId, and a transaction its own keys.
const (
	RoleProduce KafkaRole = "produce"
	RoleConsume KafkaRole = "consume"
)

// Keys are the role's, in order; none for a role that does not exist.
func (r KafkaRole) Keys() []KafkaKey {
	switch r {
	case RoleProduce:
		// FindCoordinator finds a transaction's; AddOffsetsToTxn and TxnOffsetCommit are the
		// consumed offsets that a producer commits with its transaction.
		return []KafkaKey{0, 3, 10, 18, 22, 24, 25, 26, 28}
	case RoleConsume:
		return []KafkaKey{1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 18, 23, 68}
	}
	return nil
}

// String is Kafka's own name of the key, or its number.
func (k KafkaKey) String() string {
	if names := kafkaKeyNames(); k >= 0 && int(k) < len(names) && names[k] != "" {
		return names[k]
	}
	return strconv.Itoa(int(k))
}

// Known says whether Kafka has such a key.
func (k KafkaKey) Known() bool {
	names := kafkaKeyNames()
	return k >= 0 && int(k) < len(names) && names[k] != ""
}

// KafkaKeyOf returns the key of that name in any case. Beside Kafka's own names it knows
// those that Cilium has for some, and numbers.
func KafkaKeyOf(name string) (KafkaKey, bool) {
	switch strings.ToLower(name) {
	case "offsets":
		return 2, true
	}
	for k, known := range kafkaKeyNames() {
		if known != "" && strings.EqualFold(known, name) {
			return KafkaKey(k), true
		}
	}
	return 0, false
}

// KafkaKeyNames are the names of all keys, sorted.
func KafkaKeyNames() []string {
	out := slices.DeleteFunc(kafkaKeyNames(), func(n string) bool { return n == "" })
	slices.Sort(out)
	return out
}

// broad says whether a request of the key, taken as a whole, is about more than a client's
// own groups, transactions and topics.
func (k KafkaKey) broad() bool {
	switch k {
	// Those that have topics which the proxy reads: as a whole they are about no topic yet.
	case 0, 1, 2, 3, 8, 9, 23, 24, 28, 68:
		return false
	// A client's own group, transaction or connection.
	case 10, 11, 12, 13, 14, 22, 25, 26, 60, 71, 72:
		return false
	}
	return true
}

// kafkaKeyNames are Kafka's names by key, of Kafka 4.2.
func kafkaKeyNames() []string {
	return []string{
		0: "Produce", 1: "Fetch", 2: "ListOffsets", 3: "Metadata", 4: "LeaderAndISR", 5: "StopReplica", 6: "UpdateMetadata",
		7: "ControlledShutdown", 8: "OffsetCommit", 9: "OffsetFetch", 10: "FindCoordinator", 11: "JoinGroup", 12: "Heartbeat",
		13: "LeaveGroup", 14: "SyncGroup", 15: "DescribeGroups", 16: "ListGroups", 17: "SaslHandshake", 18: "ApiVersions",
		19: "CreateTopics", 20: "DeleteTopics", 21: "DeleteRecords", 22: "InitProducerId", 23: "OffsetForLeaderEpoch",
		24: "AddPartitionsToTxn", 25: "AddOffsetsToTxn", 26: "EndTxn", 27: "WriteTxnMarkers", 28: "TxnOffsetCommit",
		29: "DescribeAcls", 30: "CreateAcls", 31: "DeleteAcls", 32: "DescribeConfigs", 33: "AlterConfigs",
		34: "AlterReplicaLogDirs", 35: "DescribeLogDirs", 36: "SaslAuthenticate", 37: "CreatePartitions",
		38: "CreateDelegationToken", 39: "RenewDelegationToken", 40: "ExpireDelegationToken", 41: "DescribeDelegationToken",
		42: "DeleteGroups", 43: "ElectLeaders", 44: "IncrementalAlterConfigs", 45: "AlterPartitionReassignments",
		46: "ListPartitionReassignments", 47: "OffsetDelete", 48: "DescribeClientQuotas", 49: "AlterClientQuotas",
		50: "DescribeUserScramCredentials", 51: "AlterUserScramCredentials", 55: "DescribeQuorum", 57: "UpdateFeatures",
		60: "DescribeCluster", 61: "DescribeProducers", 64: "UnregisterBroker", 65: "DescribeTransactions",
		66: "ListTransactions", 68: "ConsumerGroupHeartbeat", 69: "ConsumerGroupDescribe", 71: "GetTelemetrySubscriptions",
		72: "PushTelemetry", 74: "ListConfigResources", 75: "DescribeTopicPartitions", 76: "ShareGroupHeartbeat",
		77: "ShareGroupDescribe", 78: "ShareFetch", 79: "ShareAcknowledge", 80: "AddRaftVoter", 81: "RemoveRaftVoter",
		88: "StreamsGroupHeartbeat", 89: "StreamsGroupDescribe", 90: "DescribeShareGroupOffsets",
		91: "AlterShareGroupOffsets", 92: "DeleteShareGroupOffsets",
	}
}
