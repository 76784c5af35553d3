package conflist

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Copy puts the program file into dir, whole, under its own name.
func Copy(file, dir string) error {
	in, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("open the plugin: %w", err)
	}
	defer in.Close()
	out, err := os.CreateTemp(dir, ".septum-*")
	if err != nil {
		return fmt.Errorf("copy the plugin: %w", err)
	}
	defer os.Remove(out.Name()) // it has been renamed, if all went well
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Chmod(0o755), out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("copy the plugin: %w", err)
	}
	if err := os.Rename(out.Name(), filepath.Join(dir, filepath.Base(file))); err != nil {
		return fmt.Errorf("put the plugin in place: %w", err)
	}
	return nil
}
