package nstest

import (
	"fmt"
	"strings"
)

// LastLines are the last hundred lines of a process's log, and how many there were before. A whole
// node at debug level writes a line for each packet that is dropped: nobody finds what failed in that.
func LastLines(log string) string {
	const most = 100
	lines := strings.SplitAfter(strings.TrimSuffix(log, "\n"), "\n")
	if len(lines) <= most {
		return log
	}
	left := len(lines) - most
	return fmt.Sprintf("(%d lines before)\n", left) + strings.Join(lines[left:], "")
}
