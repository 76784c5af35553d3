package enforcer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/septum-dev/septum/enforcer/names"
)

// namesFile has a fact in each line. What is learnt is added at its end at once; the whole
// is written again now and then.
const namesFile = "names.jsonl"

// LoadNames reads what pods have learnt. A line that is not whole is left out, as are those
// that cannot be read: their names are looked up again.
func (d *Disk) LoadNames() ([]names.Fact, error) {
	text, err := os.ReadFile(filepath.Join(d.Dir, namesFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load learnt names: %w", err)
	}
	var out []names.Fact
	for line := range bytes.Lines(text) {
		var f names.Fact
		if json.Unmarshal(line, &f) == nil {
			out = append(out, f)
		}
	}
	return out, nil
}

// AppendNames adds to what was saved. It survives the end of this process, not the machine's:
// then pods look their names up again.
func (d *Disk) AppendNames(facts []names.Fact) error {
	if len(facts) == 0 {
		return nil
	}
	text, err := namesText(facts)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(d.Dir, namesFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("save learnt names: %w", err)
	}
	_, err = file.Write(text)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("save learnt names: %w", err)
	}
	return nil
}

// SaveNames writes all of them anew.
func (d *Disk) SaveNames(facts []names.Fact) error {
	text, err := namesText(facts)
	if err != nil {
		return err
	}
	return d.write(namesFile, text)
}

func namesText(facts []names.Fact) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	for _, f := range facts {
		if err := encoder.Encode(f); err != nil {
			return nil, fmt.Errorf("encode learnt names: %w", err)
		}
	}
	return out.Bytes(), nil
}
