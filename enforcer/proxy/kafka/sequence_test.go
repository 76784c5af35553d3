package kafka

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/septum-dev/septum/policy"
)

// testSequence has idempotent producers go on after a denial: what was allowed is written once
// and in order, though a number of their sequences never reached the server.
func testSequence(t *testing.T, b *broker, p *through) {
	library := confluent(t)
	for name, run := range map[string]func(topic string) *exec.Cmd{
		"librdkafka": func(topic string) *exec.Cmd {
			cmd := exec.Command("python3", "testdata/idempotent.py", b.proxied, topic)
			cmd.Env = append(os.Environ(), library)
			return cmd
		},
		"Java": func(topic string) *exec.Cmd {
			cmd := exec.Command("java", b.Java("org.apache.kafka.tools.ConsoleProducer", "--topic", topic, "--bootstrap-server", b.proxied,
				"--producer-property", "enable.idempotence=true", "--max-block-ms", "20000")...)
			cmd.Env = os.Environ()
			return cmd
		},
	} {
		t.Run(name, func(t *testing.T) {
			was := p.class.Load()
			defer p.class.Store(was)
			topic := "sequence-" + name
			admin := kadm.NewClient(b.client(t, b.direct))
			if _, err := admin.CreateTopic(soon(t), 1, 1, nil, topic); err != nil {
				t.Fatal(err)
			}
			allowed, nothing := roles(topic, policy.RoleProduce), roles("nothing", policy.RoleProduce)
			p.rules(allowed)
			cmd := run(topic)
			var out lockedBuffer
			cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &out, time.Second
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				cmd.Process.Kill()
				cmd.Wait() // it is killed, or has ended
			}()
			until := func(what string, done func() bool) {
				t.Helper()
				for deadline := time.Now().Add(40 * time.Second); !done(); time.Sleep(50 * time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatalf("%s: not done\n%s", what, out.String())
					}
				}
			}
			records := int64(0)
			write := func(text string) {
				t.Helper()
				if _, err := io.WriteString(in, text+"\n"); err != nil {
					t.Fatalf("%v\n%s", err, out.String())
				}
				records++
				until(text, func() bool {
					ends, err := admin.ListEndOffsets(soon(t), topic)
					o, _ := ends.Lookup(topic, 0)
					return err == nil && o.Offset >= records
				})
			}
			write("one")
			write("two")
			for i := range 2 {
				p.rules(nothing)
				p.events("")
				if _, err := io.WriteString(in, fmt.Sprintln("denied", i)); err != nil {
					t.Fatal(err)
				}
				denied := fmt.Sprint(policy.KafkaProduce, " ", policy.Denied)
				until("a denial", func() bool { return p.events(topic)[denied] > 0 })
				time.Sleep(200 * time.Millisecond) // the client hears of it
				p.rules(allowed)
				write(fmt.Sprint("after ", i))
			}
			write("last")
			want := []string{"one", "two", "after 0", "after 1", "last"}
			var got []string
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			reader := b.client(t, b.direct, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
			for len(got) < len(want) && ctx.Err() == nil {
				reader.PollFetches(ctx).EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
			}
			if !slices.Equal(got, want) {
				t.Errorf("the topic has %q, want %q\n%s", got, want, out.String())
			}
		})
	}
}
