package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// kafka is the jars of a Kafka broker, as the tests have them from Maven Central.
type kafka struct {
	// Path is the directory of the jars in the image.
	Path string
}

// jars are the broker's, sorted; the first time they are fetched.
func (k kafka) jars(b *builder) ([]string, error) {
	cmd := exec.CommandContext(b.ctx, "enforcer/proxy/kafka/testdata/broker.sh")
	cmd.Env = append(os.Environ(), "SEPTUM_CACHE="+b.cache)
	cmd.Stderr = os.Stderr
	dir, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("fetch the broker: %w", err)
	}
	found, err := filepath.Glob(filepath.Join(string(bytes.TrimSpace(dir)), "libs", "*.jar"))
	if err == nil && len(found) == 0 {
		err = errors.New("the broker has no jars")
	}
	slices.Sort(found)
	return found, err
}

func (k kafka) prepare(b *builder) (string, error) {
	jars, err := k.jars(b)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, jar := range jars {
		digest, err := fileDigest(jar)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, filepath.Base(jar), digest)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (k kafka) files(b *builder) (tree, error) {
	jars, err := k.jars(b)
	if err != nil {
		return nil, err
	}
	t := tree{}
	for _, jar := range jars {
		if err := t.file(path.Join(k.Path, filepath.Base(jar)), 0o644, jar); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// java makes what the scripts of Debian's Java would make: its program in the path, and the
// list of its virtual machines.
func java(t tree) {
	for _, name := range keys(t) {
		if strings.HasPrefix(name, "usr/lib/jvm/") && strings.HasSuffix(name, "/bin/java") {
			t.symlink("usr/bin/java", "/"+name)
		}
		if list, ok := strings.CutSuffix(name, "/lib/jvm.cfg-default"); ok {
			t[list+"/lib/jvm.cfg"] = t[name]
		}
	}
}
