package relay

import (
	"context"
	"errors"
	"io"

	observerpb "github.com/cilium/cilium/api/v1/observer"
	"google.golang.org/grpc"
)

// maxEvents bounds what one node may answer.
const maxEvents = 16

// GetAgentEvents sends what each node's enforcer says of itself now. Nodes that do not
// answer are left out: GetNodes names them. Nobody is followed.
func (r *Relay) GetAgentEvents(_ *observerpb.GetAgentEventsRequest, conn grpc.ServerStreamingServer[observerpb.GetAgentEventsResponse]) error {
	answers, err := ask(conn.Context(), r, nodeEvents)
	if err != nil {
		return err
	}
	for _, a := range answers {
		for _, res := range a.is {
			res.NodeName = a.node.Name // a node speaks for itself alone
			if err := conn.Send(res); err != nil {
				return err
			}
		}
	}
	return nil
}

func nodeEvents(ctx context.Context, c observerpb.ObserverClient) ([]*observerpb.GetAgentEventsResponse, error) {
	stream, err := c.GetAgentEvents(ctx, &observerpb.GetAgentEventsRequest{})
	if err != nil {
		return nil, err
	}
	var out []*observerpb.GetAgentEventsResponse
	for len(out) < maxEvents {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, res)
	}
	return out, nil
}
