package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// caseFile is a file of what policies must allow and refuse.
type caseFile struct {
	Cases []testCase `json:"cases"`
}

// testCase is one request and what must become of it.
type testCase struct {
	Name string `json:"name"`
	From string `json:"from"`
	// Method is GET if it is empty.
	Method  string            `json:"method"`
	To      string            `json:"to"`
	Headers map[string]string `json:"headers"`
	// Expect is allowed, denied or audited.
	Expect string `json:"expect"`
}

func testCommand(src *source) *cobra.Command {
	return &cobra.Command{
		Use:   "test -f FILES",
		Short: "Check that policies allow and refuse what files of cases say, without a cluster",
		Long: `Check that policies allow and refuse what files of cases say, without a cluster.

A file of cases stands among the others and has one key, "cases":

  cases:
  - name: the frontend reads
    from: demo/frontend
    to: http://backend.demo:8080/data
    expect: allowed
  - name: and does not write
    from: demo/frontend
    method: POST
    to: http://backend.demo:8080/data
    expect: denied`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(src.files) == 0 {
				return errors.New("-f is needed: the policies, the objects that they are about, and the cases")
			}
			cases, err := readCases(src.files)
			if err != nil {
				return err
			}
			objects, err := src.objects(cmd.Context())
			if err != nil {
				return err
			}
			w := newWorld(objects)
			failed := 0
			for _, c := range cases {
				got, err := w.judge(c.question(src.namespace()))
				switch {
				case err != nil:
					failed++
					fmt.Fprintf(cmd.OutOrStdout(), "FAIL %s: %v\n", c.Name, err)
				case got.Verdict != c.Expect:
					failed++
					fmt.Fprintf(cmd.OutOrStdout(), "FAIL %s: %s, expected %s\n", c.Name, got.Verdict, c.Expect)
					if err := printResult(cmd.OutOrStdout(), got, ""); err != nil {
						return err
					}
				default:
					fmt.Fprintf(cmd.OutOrStdout(), "ok   %s\n", c.Name)
				}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d passed, %d failed\n", len(cases)-failed, failed)
			if failed > 0 {
				return fmt.Errorf("%d cases failed", failed)
			}
			return nil
		},
	}
}

func (c testCase) question(namespace string) question {
	q := question{from: c.From, method: c.Method, to: c.To, namespace: namespace, headers: map[string][]string{}}
	if q.method == "" {
		q.method = "GET"
	}
	for name, value := range c.Headers {
		q.headers[strings.ToLower(name)] = append(q.headers[strings.ToLower(name)], value)
	}
	return q
}

// readCases reads the cases of all files: the documents without a kind.
func readCases(paths []string) ([]testCase, error) {
	docs, err := documents(paths)
	if err != nil {
		return nil, err
	}
	var out []testCase
	for _, d := range docs {
		if d.object.GetKind() != "" || d.object.Object["cases"] == nil {
			continue
		}
		data, err := yaml.Marshal(d.object.Object)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.file, err)
		}
		var file caseFile
		if err := yaml.UnmarshalStrict(data, &file); err != nil {
			return nil, fmt.Errorf("%s: %w", d.file, err)
		}
		for i, c := range file.Cases {
			if c.Name == "" {
				c.Name = fmt.Sprintf("cases[%d]", i)
			}
			if c.Expect != allowed && c.Expect != denied && c.Expect != audited {
				return nil, fmt.Errorf("%s: case %q: expect is %q and must be allowed, denied or audited", d.file, c.Name, c.Expect)
			}
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		return nil, errors.New(`no file has "cases"`)
	}
	return out, nil
}
