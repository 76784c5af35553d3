package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	observerpb "github.com/cilium/cilium/api/v1/observer"
	"gopkg.in/natefinch/lumberjack.v2"
)

// Sink takes the flows that are exported, one after the other: each response has a flow, or how
// many were lost since the last.
type Sink func(*observerpb.GetFlowsResponse) error

// Export gives the flows that come to sink until ctx ends or the sink fails. The sink may be
// slow: nothing waits for it, and what the ring has no more when its turn comes is lost and counted.
func (r *Recorder) Export(ctx context.Context, sink Sink) error {
	q, err := newQuery(&observerpb.GetFlowsRequest{Follow: true})
	if err != nil {
		return err
	}
	err = q.run(ctx, r.ring, r.counted(send(sink)))
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// FileConfig is a log of flows on disk.
type FileConfig struct {
	// Path is the file; its directory is made.
	Path string
	// Megabytes is how large a file becomes before the next is begun, and Files how many of
	// the older ones are kept.
	Megabytes, Files int
}

// The bounds of FileConfig.
const (
	maxMegabytes = 4096
	maxFiles     = 64
)

// NewFile opens the log: a line of JSON for each flow, as "hubble observe -o jsonpb" prints it
// and reads it again. Close ends it.
func NewFile(c FileConfig) (Sink, io.Closer, error) {
	var errs []error
	if c.Path == "" {
		errs = append(errs, errors.New("no path is given"))
	}
	if c.Megabytes < 1 || c.Megabytes > maxMegabytes {
		errs = append(errs, fmt.Errorf("%d megabytes are not between 1 and %d", c.Megabytes, maxMegabytes))
	}
	if c.Files < 1 || c.Files > maxFiles {
		errs = append(errs, fmt.Errorf("%d older files are not between 1 and %d", c.Files, maxFiles))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, nil, fmt.Errorf("configure the log of flows: %w", err)
	}
	file := &lumberjack.Logger{Filename: c.Path, MaxSize: c.Megabytes, MaxBackups: c.Files}
	encoder := json.NewEncoder(file)
	return func(res *observerpb.GetFlowsResponse) error {
		if err := encoder.Encode(res); err != nil {
			return fmt.Errorf("write the log of flows: %w", err)
		}
		return nil
	}, file, nil
}
