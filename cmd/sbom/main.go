// Command sbom says what Septum's programs are made of: a bill of materials (CycloneDX 1.6) for each.
//
// In: programs that Go has built, which carry the modules that are linked into them.
// Out: build/sbom/PROGRAM.cdx.json. The same program gives the same bytes: there are no times and no serial numbers.
//
//	go run ./cmd/sbom -out build/sbom build/bin/*
package main

import (
	"debug/buildinfo"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("sbom", flag.ContinueOnError)
	out := flags.String("out", "build/sbom", "directory for the bills of materials")
	version := flags.String("version", "", "version of the programs (default: what they say themselves)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("name the programs, such as build/bin/septum-operator")
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return fmt.Errorf("make the directory: %w", err)
	}
	for _, program := range flags.Args() {
		info, err := buildinfo.ReadFile(program)
		if err != nil {
			return fmt.Errorf("read what %s is made of: %w", program, err)
		}
		name := filepath.Base(program)
		text, err := bill(name, *version, info)
		if err != nil {
			return fmt.Errorf("write the bill of %s: %w", name, err)
		}
		file := filepath.Join(*out, name+".cdx.json")
		if err := os.WriteFile(file, text, 0o644); err != nil {
			return fmt.Errorf("write the bill of %s: %w", name, err)
		}
		fmt.Println(file)
	}
	return nil
}
