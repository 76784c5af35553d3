"""Works with a broker through confluent-kafka, and prints what came of each step.

Usage: confluent.py ADDRESS plain|sasl|admin
The topics orders and secret are there; the rules allow the first alone.
"""

import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (AclBinding, AclOperation, AclPermissionType, AdminClient, NewTopic, ResourcePatternType,
                                   ResourceType)

BASE = {"bootstrap.servers": sys.argv[1], "client.id": "confluent"}
if sys.argv[2] == "sasl":
    BASE |= {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN",
             "sasl.username": "alice", "sasl.password": "alices"}


def say(step, result):
    # Not in the middle of what the library itself says.
    sys.stdout.write(f"{step}: {result}\n")
    sys.stdout.flush()


def name(error):
    return "ok" if error is None else error.name()


def send(producer, topic, value="confluent"):
    """The result of one record."""
    results = []
    try:
        producer.produce(topic, value, on_delivery=lambda error, _: results.append(name(error)))
    except KafkaException as e:
        return name(e.args[0])
    producer.flush(10)
    return results[0] if results else "timeout"


def consume(topic, config):
    """ok once the topic's first record came, or the error that came instead."""
    consumer = Consumer(BASE | {"auto.offset.reset": "earliest", "enable.auto.commit": False} | config)
    consumer.subscribe([topic])
    end = time.time() + 15
    try:
        while time.time() < end:
            message = consumer.poll(1)
            if message is None:
                continue
            if message.error():
                return name(message.error())
            if message.value() == b"orders-0":
                consumer.commit(message=message, asynchronous=False)
                return "ok"
        return "timeout"
    finally:
        consumer.close()


def transactions():
    producer = Producer(BASE | {"transactional.id": "confluent-" + sys.argv[2]})
    producer.init_transactions(10)
    for topic in ("orders", "secret", "orders"):
        producer.begin_transaction()
        result = send(producer, topic, "transaction")
        if result == "ok":
            offsets = [TopicPartition("orders", 0, 1)]
            consumer = Consumer(BASE | {"group.id": "confluent-offsets"})
            producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), 10)
            consumer.close()
            producer.commit_transaction(10)
        else:
            producer.abort_transaction(10)
        say("transaction " + topic, result)


def future(step, futures):
    for f in futures.values():
        try:
            f.result(10)
            say(step, "ok")
        except KafkaException as e:
            say(step, name(e.args[0]))


def admin():
    client = AdminClient(BASE)
    topics = client.list_topics(timeout=10).topics
    say("list", " ".join(sorted(t for t in topics if not t.startswith("__"))))
    future("create", client.create_topics([NewTopic("confluent-made", 1, 1)]))
    future("describe", {"": client.describe_cluster()})
    future("delete", client.delete_topics(["confluent-made"]))
    future("group", client.describe_consumer_groups(["a-group"]))
    acl = AclBinding(ResourceType.TOPIC, "orders", ResourcePatternType.LITERAL, "User:x", "*", AclOperation.READ, AclPermissionType.ALLOW)
    future("acl", client.create_acls([acl]))


if sys.argv[2] == "admin":
    admin()
    sys.exit()
plain, idempotent = Producer(BASE), Producer(BASE | {"enable.idempotence": True})
for step, producer in (("produce", plain), ("idempotent", idempotent)):
    for topic in ("orders", "secret", "orders", "secret", "orders"):
        say(f"{step} {topic}", send(producer, topic))
for kind in ("classic", "consumer"):
    for topic in ("orders", "secret"):
        group = {"group.id": f"confluent-{sys.argv[2]}-{kind}-{topic}", "group.protocol": kind}
        say(f"group {kind} {topic}", consume(topic, group))
transactions()
admin()
