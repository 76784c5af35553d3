package conflist

import (
	"context"
	"fmt"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settleTime is how long a CNI that writes its file is let be before it is looked at.
	settleTime = 200 * time.Millisecond
	// lookInterval is how often the directory is looked at though nothing was seen to change.
	lookInterval = 10 * time.Second
)

// Keep installs the plugin in dir, and again whenever somebody rewrites the list, until ctx
// ends. Each outcome goes to done, good ones too.
func Keep(ctx context.Context, dir string, plugin any, done func(changed bool, err error)) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch network configurations: %w", err)
	}
	defer watcher.Close()
	if err := watcher.Add(dir); err != nil {
		return fmt.Errorf("watch network configurations: %w", err)
	}
	for {
		done(Install(dir, plugin))
		select {
		case <-ctx.Done():
			return nil
		case <-watcher.Events:
		case err := <-watcher.Errors:
			return fmt.Errorf("watch network configurations: %w", err)
		case <-time.After(lookInterval):
		}
		for quiet := false; !quiet; {
			select {
			case <-ctx.Done():
				return nil
			case <-watcher.Events:
			case <-time.After(settleTime):
				quiet = true
			}
		}
	}
}
