package enforcer

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds"
)

const (
	numbersFile = "numbers.json"
	startsFile  = "starts.json"
)

// Disk is the Store in a directory.
type Disk struct {
	Dir string
	// state is the last one that was written or read.
	node, cluster string
}

// Load reads the last good update and the numbers. Numbers that cannot be read are an
// error: with other ones, what the maps hold would mean something else.
func (d *Disk) Load() (xds.Update, policy.Numbers, error) {
	var numbers policy.Numbers
	text, err := os.ReadFile(filepath.Join(d.Dir, numbersFile))
	if err == nil {
		err = json.Unmarshal(text, &numbers)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return xds.Update{}, policy.Numbers{}, fmt.Errorf("load numbers: %w", err)
	}
	state, err := xds.LoadState(d.Dir)
	if err != nil {
		return xds.Update{}, numbers, err
	}
	update, err := state.Update()
	if err != nil {
		return xds.Update{}, numbers, fmt.Errorf("load state: %w", err)
	}
	d.node, d.cluster = update.NodeVersion, update.ClusterVersion
	return update, numbers, nil
}

// SaveUpdate writes the update; one that is there already is not written again.
func (d *Disk) SaveUpdate(u xds.Update) error {
	if u.NodeVersion == d.node && u.ClusterVersion == d.cluster {
		return nil
	}
	if err := xds.SaveState(d.Dir, u.State); err != nil {
		return err
	}
	d.node, d.cluster = u.NodeVersion, u.ClusterVersion
	return nil
}

// SaveNumbers writes the numbers.
func (d *Disk) SaveNumbers(n policy.Numbers) error {
	text, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("encode numbers: %w", err)
	}
	if old, err := os.ReadFile(filepath.Join(d.Dir, numbersFile)); err == nil && string(old) == string(text) {
		return nil
	}
	return d.write(numbersFile, text)
}

// LoadStarts reads the addresses of pods that were starting.
func (d *Disk) LoadStarts() ([]Started, error) {
	text, err := os.ReadFile(filepath.Join(d.Dir, startsFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var out []Started
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		return nil, fmt.Errorf("load pods that were starting: %w", err)
	}
	return out, nil
}

// SaveStarts writes them.
func (d *Disk) SaveStarts(s []Started) error {
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode pods that start: %w", err)
	}
	return d.write(startsFile, text)
}

// write replaces a file: whole, or not at all.
func (d *Disk) write(name string, text []byte) error {
	file, err := os.CreateTemp(d.Dir, "."+name+"-*")
	if err != nil {
		return fmt.Errorf("save %s: %w", name, err)
	}
	defer os.Remove(file.Name()) // it has been renamed, if all went well
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("save %s: %w", name, err)
	}
	if err := os.Rename(file.Name(), filepath.Join(d.Dir, name)); err != nil {
		return fmt.Errorf("save %s: %w", name, err)
	}
	return nil
}
