// Command generate writes the dashboards and alerting rules into a directory.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"

	"github.com/septum-dev/septum/charts/dashboards"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: generate DIRECTORY")
		os.Exit(2)
	}
	if err := generate(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func generate(dir string) error {
	for _, d := range dashboards.All() {
		var text bytes.Buffer
		encoder := json.NewEncoder(&text)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", " ")
		if err := encoder.Encode(d); err != nil {
			return fmt.Errorf("write dashboard %s: %w", d.UID, err)
		}
		if err := write(filepath.Join(dir, "dashboards", d.UID+".json"), text.Bytes()); err != nil {
			return err
		}
	}
	rules, err := yaml.Marshal(map[string]any{"groups": dashboards.Groups()})
	if err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	return write(filepath.Join(dir, "rules", "septum.yaml"), append([]byte("# Made by charts/dashboards.\n"), rules...))
}

func write(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	return nil
}
