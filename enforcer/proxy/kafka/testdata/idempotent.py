"""Writes each line that it reads to a topic with librdkafka's idempotent producer, and prints what came of it.

Usage: idempotent.py ADDRESS TOPIC
"""

import sys
import time

from confluent_kafka import KafkaException, Producer

producer = Producer({"bootstrap.servers": sys.argv[1], "client.id": "idempotent", "enable.idempotence": True, "linger.ms": 1})


def said(error, message):
    print(message.value().decode(), "ok" if error is None else error.name(), flush=True)


for line in sys.stdin:
    end = time.time() + 20
    while True:
        try:
            producer.produce(sys.argv[2], line.rstrip("\n"), on_delivery=said)
            break
        except KafkaException:
            # The library remembers that the topic was denied until it asks for it again.
            if time.time() > end:
                raise
            producer.list_topics(sys.argv[2], timeout=5)
            producer.poll(0.2)
    producer.flush(15)
