package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"runtime/debug"
	"slices"
	"strings"
)

// document is as much of a CycloneDX document as is known of a Go program.
type document struct {
	Format      string       `json:"bomFormat"`
	Spec        string       `json:"specVersion"`
	Version     int          `json:"version"`
	Metadata    metadata     `json:"metadata"`
	Components  []component  `json:"components"`
	Composition []assembling `json:"compositions"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	PURL       string     `json:"purl,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// assembling says that nothing is missing.
type assembling struct {
	Aggregate  string   `json:"aggregate"`
	Assemblies []string `json:"assemblies"`
}

// bill is the bill of materials of a program: its modules, by name, and Go's own library.
func bill(name, version string, info *debug.BuildInfo) ([]byte, error) {
	if version == "" {
		version = info.Main.Version
	}
	program := component{Type: "application", Ref: name, Name: name, Version: version}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "GOOS", "GOARCH", "CGO_ENABLED", "vcs.revision", "vcs.modified":
			program.Properties = append(program.Properties, property{"go:build:" + setting.Key, setting.Value})
		}
	}
	parts := []component{module("stdlib", strings.TrimPrefix(info.GoVersion, "go"), "")}
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			dep = dep.Replace
		}
		parts = append(parts, module(dep.Path, dep.Version, dep.Sum))
	}
	slices.SortFunc(parts, func(a, b component) int { return cmp.Compare(a.Ref, b.Ref) })
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(document{
		Format: "CycloneDX", Spec: "1.6", Version: 1, Metadata: metadata{program}, Components: parts,
		Composition: []assembling{{Aggregate: "complete", Assemblies: []string{name}}},
	})
	return out.Bytes(), err
}

// module is one with go.sum's hash of its files.
func module(path, version, sum string) component {
	purl := "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
	c := component{Type: "library", Ref: purl, Name: path, Version: version, PURL: purl}
	if sum != "" {
		c.Properties = []property{{"go:sum", sum}}
	}
	return c
}
