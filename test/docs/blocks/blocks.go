// Package blocks reads the fenced blocks of the documentation: commands that tests run as a reader would, sessions, examples
// in YAML and texts. What cannot run as it stands is listed in lists.go, each with its reason; all else is run.
package blocks

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Block is a fenced block of a page.
type Block struct {
	// Page is the page's path from the root.
	Page string
	// Line is where the fence stands.
	Line int
	// Language is what stands behind the fence.
	Language string
	// Text is the block without the indent of its fence.
	Text string
}

func (b Block) String() string { return fmt.Sprintf("%s:%d", b.Page, b.Line) }

// First is the block's first line.
func (b Block) First() string {
	line, _, _ := strings.Cut(b.Text, "\n")
	return strings.TrimSpace(line)
}

// All are the blocks of README.md and docs/*.md, in their order.
func All(root string) ([]Block, error) {
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		return nil, err
	}
	var all []Block
	for _, name := range append([]string{filepath.Join(root, "README.md")}, pages...) {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read a page: %w", err)
		}
		page, err := filepath.Rel(root, name)
		if err != nil {
			return nil, err
		}
		found, err := of(page, string(text))
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// of are the blocks of one page.
func of(page, text string) ([]Block, error) {
	fence := regexp.MustCompile("^( *)```([a-z]*)$")
	var all []Block
	var open *Block
	indent := ""
	for i, line := range strings.Split(text, "\n") {
		m := fence.FindStringSubmatch(strings.TrimRight(line, " "))
		switch {
		case open == nil && m != nil:
			open, indent = &Block{Page: page, Line: i + 1, Language: m[2]}, m[1]
		case open != nil && m != nil:
			all, open = append(all, *open), nil
		case open != nil:
			open.Text += strings.TrimPrefix(line, indent) + "\n"
		}
	}
	if open != nil {
		return nil, fmt.Errorf("%s: the block does not end", open)
	}
	return all, nil
}

// Commands are the lines of a block of commands: those that go on are joined, comments are left out.
func (b Block) Commands() []string {
	comment := regexp.MustCompile(`(^|\s{2,})# .*$`)
	var all []string
	for line := range strings.Lines(strings.ReplaceAll(b.Text, "\\\n", " ")) {
		line = strings.TrimRight(comment.ReplaceAllString(strings.TrimRight(line, "\n"), ""), " ")
		if line != "" {
			all = append(all, regexp.MustCompile(`(\S) {2,}`).ReplaceAllString(line, "$1 "))
		}
	}
	return all
}

// Scripts are the commands of each page as one script of bash, in the order of the pages: what runs, with what is changed.
func Scripts(all []Block) (pages []string, scripts map[string]string) {
	forward := regexp.MustCompile(`port-forward .* (\d+)(:\d+)? &$`)
	scripts = map[string]string{}
	for _, b := range all {
		if b.Language != "sh" {
			continue
		}
		for _, command := range b.Commands() {
			if _, no := Elsewhere()[command]; no {
				continue
			}
			for _, change := range Changes() {
				if change.Page == b.Page {
					command = strings.ReplaceAll(command, change.Old, change.New)
				}
			}
			if m := forward.FindStringSubmatch(command); m != nil {
				// A reader is slower than a port-forward.
				command += fmt.Sprintf("\nfor i in {1..100}; do (exec 3<>/dev/tcp/127.0.0.1/%s) 2>/dev/null && break; sleep 0.1; done", m[1])
			}
			if scripts[b.Page] == "" {
				pages = append(pages, b.Page)
			}
			scripts[b.Page] += command + "\n"
		}
	}
	return pages, scripts
}
