package conflist

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Check returns why the runtime would not call the plugin: it is not in the list that the
// runtime takes, or its program is not there (which is not looked at if binDir is ""); nil if
// it would.
func Check(confDir, binDir, pluginType string) error {
	files, err := networks(confDir)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("%w in %s", ErrNoNetwork, confDir)
	}
	_, l, err := read(files[0])
	if err != nil {
		return err
	}
	if len(l.without(pluginType)) == len(l.plugins) {
		return fmt.Errorf("%s is not in %s", pluginType, files[0])
	}
	if binDir == "" {
		return nil
	}
	info, err := os.Stat(filepath.Join(binDir, pluginType))
	if errors.Is(err, os.ErrNotExist) || err == nil && info.Mode()&0o111 == 0 {
		return fmt.Errorf("there is no program %s in %s", pluginType, binDir)
	}
	if err != nil {
		return fmt.Errorf("look for the plugin's program: %w", err)
	}
	return nil
}
