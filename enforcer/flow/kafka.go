package flow

import (
	"fmt"
	"strings"

	flowpb "github.com/cilium/cilium/api/v1/flow"
)

// kafka is the flow of a Kafka request, for one of its topics.
func (c converter) kafka() *flowpb.Flow {
	f, k := c.base(), c.event.Kafka
	f.Type, f.EventType = flowpb.FlowType_L7, &flowpb.CiliumEventType{Type: typeL7}
	f.L7 = &flowpb.Layer7{Type: flowpb.L7FlowType_REQUEST, Record: &flowpb.Layer7_Kafka{Kafka: &flowpb.Kafka{ //nolint:staticcheck // Hubble has no other record for Kafka
		ErrorCode: int32(k.Error), ApiVersion: int32(k.Version), ApiKey: k.Key.String(), CorrelationId: k.Correlation, Topic: clean(k.Topic),
	}}}
	summary := fmt.Sprintf("Kafka request %s correlation id %d topic '%s'", strings.ToLower(k.Key.String()), k.Correlation, clean(k.Topic))
	if k.Error != 0 {
		summary += fmt.Sprintf(" error %d", k.Error)
	}
	f.Summary = summary //nolint:staticcheck // the CLI prints nothing else
	return f
}
