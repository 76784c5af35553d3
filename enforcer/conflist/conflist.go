// Package conflist puts a plugin at the end of the network configuration that the
// container runtime uses, and takes it away again.
//
// In: the directory of network configurations. Of its files the first by name counts, as
// it does for the runtime. Files are replaced whole; what the cluster's own CNI wrote is
// kept beside, and comes back byte for byte unless the CNI has written another one since.
package conflist

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
)

// ErrNoNetwork says that the runtime has no network configuration (yet).
var ErrNoNetwork = errors.New("there is no network configuration yet")

// ErrNoList says that the network's configuration is a single plugin's.
var ErrNoList = errors.New("the network configuration is no list that a plugin can be added to")

// backupSuffix is that of the file as the CNI wrote it; the runtime reads no such file.
const backupSuffix = ".septum-backup"

// Install puts plugin, an object with its "type", at the end of the first list in dir, and
// takes it out of all others. It returns whether anything had to be changed.
func Install(dir string, plugin any) (bool, error) {
	entry, err := json.Marshal(plugin)
	if err != nil {
		return false, fmt.Errorf("encode plugin: %w", err)
	}
	files, err := networks(dir)
	if err != nil {
		return false, err
	}
	if len(files) == 0 {
		return false, fmt.Errorf("%w in %s", ErrNoNetwork, dir)
	}
	if filepath.Ext(files[0]) != ".conflist" {
		return false, fmt.Errorf("%s: %w", files[0], ErrNoList)
	}
	changed, err := add(files[0], entry)
	if err != nil {
		return false, err
	}
	for _, file := range files[1:] {
		other, err := remove(file, typeOf(entry))
		if err != nil {
			return changed, err
		}
		changed = changed || other
	}
	return changed, nil
}

// Remove takes plugins of the type out of every list in dir.
func Remove(dir, pluginType string) error {
	files, err := networks(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, file := range files {
		_, err := remove(file, pluginType)
		errs = append(errs, err)
	}
	backups, err := filepath.Glob(filepath.Join(dir, "*"+backupSuffix))
	errs = append(errs, err)
	for _, file := range backups {
		errs = append(errs, os.Remove(file))
	}
	return errors.Join(errs...)
}

// networks are the configurations in dir, in the order in which the runtime looks at them.
func networks(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list network configurations: %w", err)
	}
	var out []string
	for _, e := range entries {
		if !e.IsDir() && slices.Contains([]string{".conflist", ".conf", ".json"}, filepath.Ext(e.Name())) {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(out)
	return out, nil
}

func add(file string, entry json.RawMessage) (bool, error) {
	text, l, err := read(file)
	if err != nil {
		return false, err
	}
	if len(l.plugins) == 0 {
		return false, fmt.Errorf("%s: %w", file, ErrNoList)
	}
	before := l.without(typeOf(entry))
	if n := len(l.plugins); len(before) == n-1 && same(l.plugins[n-1], entry) {
		return false, nil
	}
	if len(before) == len(l.plugins) { // as the CNI wrote it
		if err := write(file+backupSuffix, text); err != nil {
			return false, err
		}
	}
	return true, l.write(file, append(before, entry))
}

func remove(file, pluginType string) (bool, error) {
	text, l, err := read(file)
	if err != nil || len(l.plugins) == 0 {
		return false, nil //nolint:nilerr // what is no list holds no plugin of ours
	}
	before := l.without(pluginType)
	if len(before) == len(l.plugins) {
		return false, nil
	}
	content, err := l.encode(before)
	if err != nil {
		return false, err
	}
	if old, err := os.ReadFile(file + backupSuffix); err == nil && same(old, content) {
		content = old
	}
	if bytes.Equal(content, text) {
		return false, nil
	}
	return true, write(file, content)
}

// list is a network configuration list; what is not looked at stays as it is.
type list struct {
	fields  map[string]json.RawMessage
	plugins []json.RawMessage
}

func read(file string) ([]byte, list, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, list{}, fmt.Errorf("read network configuration: %w", err)
	}
	var l list
	if err := json.Unmarshal(text, &l.fields); err != nil {
		return nil, list{}, fmt.Errorf("read network configuration %s: %w", file, err)
	}
	if plugins, ok := l.fields["plugins"]; ok {
		if err := json.Unmarshal(plugins, &l.plugins); err != nil {
			return nil, list{}, fmt.Errorf("read plugins of %s: %w", file, err)
		}
	}
	return text, l, nil
}

func (l list) without(pluginType string) []json.RawMessage {
	var out []json.RawMessage
	for _, p := range l.plugins {
		if typeOf(p) != pluginType {
			out = append(out, p)
		}
	}
	return out
}

func (l list) encode(plugins []json.RawMessage) ([]byte, error) {
	encoded, err := json.Marshal(plugins)
	if err != nil {
		return nil, fmt.Errorf("encode plugins: %w", err)
	}
	l.fields["plugins"] = encoded
	text, err := json.MarshalIndent(l.fields, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode network configuration: %w", err)
	}
	return append(text, '\n'), nil
}

func (l list) write(file string, plugins []json.RawMessage) error {
	text, err := l.encode(plugins)
	if err != nil {
		return err
	}
	return write(file, text)
}

// write replaces the file whole: the runtime reads at any moment.
func write(file string, content []byte) error {
	mode := os.FileMode(0o600)
	if info, err := os.Stat(file); err == nil {
		mode = info.Mode().Perm()
	}
	temporary, err := os.CreateTemp(filepath.Dir(file), ".septum-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	defer os.Remove(temporary.Name()) // it has been renamed, if all went well
	_, err = temporary.Write(content)
	if err = errors.Join(err, temporary.Chmod(mode), temporary.Sync(), temporary.Close()); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := os.Rename(temporary.Name(), file); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

func typeOf(plugin []byte) string {
	var p struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(plugin, &p) != nil {
		return ""
	}
	return p.Type
}

// same says whether two texts are the same JSON.
func same(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}
