package conformance

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/septum-dev/septum/policy"
)

// check reads a line of requests.
func (c *cluster) check(line string) (Check, error) {
	text, want, ok := strings.Cut(line, " => ")
	if !ok {
		return Check{}, fmt.Errorf(`no " => "`)
	}
	out := Check{Line: line}
	if err := out.verdict(want); err != nil {
		return Check{}, err
	}
	words, err := split(text)
	if err != nil {
		return Check{}, err
	}
	if len(words) < 5 || words[2] != "->" {
		return Check{}, fmt.Errorf("not `direction client -> server protocol/port`")
	}
	client, err := c.addr(words[1])
	if err != nil {
		return Check{}, err
	}
	server, err := c.addr(words[3])
	if err != nil {
		return Check{}, err
	}
	judge := words[3]
	switch words[0] {
	case "ingress":
		out.Request = policy.Request{Direction: policy.Ingress, Endpoint: server, Peer: client}
	case "egress":
		judge = words[1]
		out.Request = policy.Request{Direction: policy.Egress, Endpoint: client, Peer: server}
	default:
		return Check{}, fmt.Errorf("unknown direction %q", words[0])
	}
	if out.Node = c.nodeOf[judge]; out.Node == "" {
		return Check{}, fmt.Errorf("%s is on no node, and cannot judge", judge)
	}
	if out.Request.Protocol, out.Request.Port, err = protocolPort(words[4]); err != nil {
		return Check{}, err
	}
	if len(words) > 5 && words[5] == "unserved" {
		out.Request.Unserved = true
		words = append(words[:5], words[6:]...)
	}
	if name, ok := tlsWord(words); ok {
		out.Request.TLS, words = &policy.TLSRequest{ServerName: name}, append(words[:5:5], words[6:]...)
	}
	if len(words) == 7 && words[5] == "dns" {
		out.Request.DNS = &policy.DNSRequest{Name: words[6]}
		return out, nil
	}
	if len(words) == 6 && strings.HasPrefix(words[5], "kafka=") {
		out.Request.Kafka, err = kafkaWord(words[5])
		return out, err
	}
	if len(words) > 5 {
		err = out.http(words[5:])
	}
	return out, err
}

// tlsWord reads "tls=name" behind the port; "tls=" is TLS without a name.
func tlsWord(words []string) (name string, ok bool) {
	if len(words) < 6 {
		return "", false
	}
	return strings.CutPrefix(words[5], "tls=")
}

// kafkaWord reads "kafka=Produce:orders:client:13", where all behind the key may be left out.
func kafkaWord(word string) (*policy.KafkaRequest, error) {
	parts := append(strings.Split(strings.TrimPrefix(word, "kafka="), ":"), "", "", "")
	key, ok := policy.KafkaKeyOf(parts[0])
	if !ok {
		return nil, fmt.Errorf("unknown Kafka key %q", parts[0])
	}
	out := &policy.KafkaRequest{Key: key, Topic: parts[1], ClientID: parts[2]}
	if parts[3] != "" {
		version, err := strconv.ParseInt(parts[3], 10, 16)
		if err != nil {
			return nil, fmt.Errorf("version: %w", err)
		}
		out.Version = int16(version)
	}
	return out, nil
}

// verdict reads "denied rule=spec.ingress[0]".
func (c *Check) verdict(text string) error {
	words := strings.Fields(text)
	verdicts := map[string]policy.Verdict{"denied": policy.Denied, "forwarded": policy.Forwarded,
		"redirected": policy.Redirected, "audited": policy.Audited}
	if len(words) == 0 {
		return fmt.Errorf("no verdict")
	}
	if words[0] == "cut" {
		c.Cut, words[0] = true, "denied"
	}
	var ok bool
	if c.Want, ok = verdicts[words[0]]; !ok {
		return fmt.Errorf("unknown verdict %q", words[0])
	}
	for _, w := range words[1:] {
		if ok, err := c.header(w); err != nil {
			return err
		} else if ok {
			continue
		}
		if text, ok := strings.CutPrefix(w, "reply="); ok {
			if c.Reply, c.HasReply = verdicts[text]; !c.HasReply {
				return fmt.Errorf("unknown verdict %q", text)
			}
			continue
		}
		if c.Rule, c.HasRule = strings.CutPrefix(w, "rule="); !c.HasRule {
			return fmt.Errorf("unknown word %q", w)
		}
	}
	return nil
}

// header reads "with=x-token:v" and "without=x-token".
func (c *Check) header(word string) (bool, error) {
	if c.Headers == nil {
		c.Headers = map[string][]string{}
	}
	if name, ok := strings.CutPrefix(word, "without="); ok {
		c.Headers[name] = nil
		return true, nil
	}
	text, ok := strings.CutPrefix(word, "with=")
	if !ok {
		return false, nil
	}
	name, value, ok := strings.Cut(text, ":")
	if !ok {
		return false, fmt.Errorf("a header is name:value: %q", text)
	}
	c.Headers[name] = append(c.Headers[name], value)
	return true, nil
}

// protocolPort reads "tcp/80"; for ICMP the number is the type.
func protocolPort(text string) (policy.Protocol, uint16, error) {
	name, number, _ := strings.Cut(text, "/")
	protocols := map[string]policy.Protocol{"tcp": policy.ProtocolTCP, "udp": policy.ProtocolUDP, "sctp": policy.ProtocolSCTP,
		"icmp": policy.ProtocolICMP, "icmpv6": policy.ProtocolICMPv6}
	protocol, ok := protocols[name]
	if !ok {
		return 0, 0, fmt.Errorf("unknown protocol %q", name)
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return 0, 0, fmt.Errorf("read port: %w", err)
	}
	if strings.HasPrefix(name, "icmp") {
		return protocol, uint16(n) << 8, nil
	}
	return protocol, uint16(n), nil
}

// http reads an HTTP request and how it is sent and answered.
func (c *Check) http(words []string) error {
	var own []string
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		var err error
		switch key {
		case "as":
			if c.As = value; !slices.Contains(ways(), value) {
				err = fmt.Errorf("no way to send a request is called %q", value)
			}
		case "response":
			c.Status, err = strconv.Atoi(value)
		default:
			own = append(own, w)
		}
		if err != nil {
			return err
		}
	}
	var err error
	c.Request.HTTP, err = httpRequest(own)
	return err
}

// ways are the ways to send a request, as doc.go lists them.
func ways() []string {
	return []string{"http/1.0", "h2", "websocket", "continue", "trailers", "stream", "large"}
}

// httpRequest reads "GET /data host=name header=x-token:v token=own{"iss":"i"}".
func httpRequest(words []string) (*policy.HTTPRequest, error) {
	if len(words) < 2 {
		return nil, fmt.Errorf("a method needs a path")
	}
	out := &policy.HTTPRequest{Method: words[0], Path: words[1], Host: "server", Header: map[string][]string{}}
	for _, w := range words[2:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "host":
			out.Host = value
		case "header":
			name, v, ok := strings.Cut(value, ":")
			if !ok || name != strings.ToLower(name) {
				return nil, fmt.Errorf("a header is name:value with the name in lower case: %q", value)
			}
			out.Header[name] = append(out.Header[name], v)
		case "token", "badtoken":
			if err := addToken(out, value, key == "token"); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("unknown word %q", w)
		}
	}
	return out, nil
}

// split cuts at spaces; a word that begins with a quote is a Go string.
func split(text string) ([]string, error) {
	var out []string
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		if text[0] == '"' {
			quoted, err := strconv.QuotedPrefix(text)
			if err != nil {
				return nil, fmt.Errorf("read quoted word: %w", err)
			}
			word, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, fmt.Errorf("read quoted word: %w", err)
			}
			out, text = append(out, word), text[len(quoted):]
			continue
		}
		word, rest, _ := strings.Cut(text, " ")
		out, text = append(out, word), rest
	}
	return out, nil
}
