#!/bin/sh
# Puts a Kafka broker of Maven Central and Debian's kcat where the tests find them, without
# installing anything, and prints the directory: libs/*.jar, usr/bin/kcat.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
version=4.1.0
dir=${SEPTUM_CACHE:-$HOME/.cache/septum}/kafka-$version
if [ -e "$dir/complete" ]; then
	echo "$dir"
	exit 0
fi
mkdir -p "$dir"
exec 9>"$dir.lock"
flock 9
if [ -e "$dir/complete" ]; then
	echo "$dir"
	exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >pom.xml <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>septum</groupId><artifactId>broker</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
POM
mvn -q -B dependency:copy-dependencies "-DoutputDirectory=$dir/libs" -DincludeScope=runtime >&2
"$here/../../../../hack/unpack.sh" "$dir" kcat librdkafka1 libyajl2
LD_LIBRARY_PATH=$(echo "$dir"/usr/lib/*-linux-gnu) "$dir/usr/bin/kcat" -V >&2
touch "$dir/complete"
echo "$dir"
