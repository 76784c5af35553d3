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

const numbersFile = "numbers.json"

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

// SaveNumbers writes the numbers: whole, or not at all.
func (d *Disk) SaveNumbers(n policy.Numbers) error {
	text, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("encode numbers: %w", err)
	}
	path := filepath.Join(d.Dir, numbersFile)
	if old, err := os.ReadFile(path); err == nil && string(old) == string(text) {
		return nil
	}
	file, err := os.CreateTemp(d.Dir, "."+numbersFile+"-*")
	if err != nil {
		return fmt.Errorf("save numbers: %w", err)
	}
	defer os.Remove(file.Name()) // it has been renamed, if all went well
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("save numbers: %w", err)
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return fmt.Errorf("save numbers: %w", err)
	}
	return nil
}
