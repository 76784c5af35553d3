package envoy

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	logdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"

	"github.com/septum-dev/septum/policy"
)

const (
	// toldAfter is after how long a request that goes on is told of; it is an entry of the log
	// for each that does, and as often again.
	toldAfter = 10 * time.Second
	// maxOpen bounds how many open requests of one of Envoy's workers are remembered as told
	// of. Others are told of when they end.
	maxOpen = 1 << 17

	contentTypeHeader = "content-type"
	grpcStatusHeader  = "grpc-status"
)

// openRequests are those that were told of and go on. One stream of entries has them: all
// entries of a request come from the same worker.
type openRequests map[openRequest]bool

// openRequest is known by its connection, and its begin in nanoseconds.
type openRequest struct {
	src, dst netip.AddrPort
	begun    int64
}

// stage is what an entry tells of its request; false if nothing new.
func (o openRequests) stage(common *logdatav3.AccessLogCommon) (policy.HTTPStage, bool) {
	request := openRequest{
		src: addrPort(common.GetDownstreamDirectRemoteAddress()), dst: addrPort(common.GetDownstreamLocalAddress()),
		begun: common.GetStartTime().AsTime().UnixNano(),
	}
	switch common.GetAccessLogType() {
	case logdatav3.AccessLogType_DownstreamPeriodic:
		if o[request] || len(o) >= maxOpen {
			return 0, false
		}
		o[request] = true
		return policy.HTTPBegun, true
	case logdatav3.AccessLogType_DownstreamEnd, logdatav3.AccessLogType_NotSet:
		if o[request] {
			delete(o, request)
			return policy.HTTPEnded, true
		}
		return policy.HTTPWhole, true
	}
	return 0, false
}

// grpcOf is nil for what is no gRPC. An answer without a body has its status in the header.
func grpcOf(entry *logdatav3.HTTPAccessLogEntry) *policy.GRPCEvent {
	kind, _, _ := strings.Cut(entry.GetRequest().GetRequestHeaders()[contentTypeHeader], ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	if kind != "application/grpc" && !strings.HasPrefix(kind, "application/grpc+") {
		return nil
	}
	text := entry.GetResponse().GetResponseTrailers()[grpcStatusHeader]
	if text == "" {
		text = entry.GetResponse().GetResponseHeaders()[grpcStatusHeader]
	}
	status, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return &policy.GRPCEvent{Status: -1}
	}
	return &policy.GRPCEvent{Status: int(status)}
}
