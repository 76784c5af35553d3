package xds

import (
	"errors"
	"time"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
)

func rateToProto(r policy.Rate) *septumpb.RateLimit {
	if !r.Limited() {
		return nil
	}
	return &septumpb.RateLimit{Requests: r.Requests, Burst: r.Burst, Seconds: uint32(r.Per / time.Second)}
}

// rateFromProto: a rate with a part that is missing is an error, not no limit.
func rateFromProto(in *septumpb.RateLimit) (policy.Rate, error) {
	if in == nil {
		return policy.Rate{}, nil
	}
	if in.GetRequests() == 0 || in.GetBurst() == 0 || in.GetSeconds() == 0 || in.GetSeconds() > 3600 {
		return policy.Rate{}, errors.New("rate_limit: needs requests, burst, and 1 to 3600 seconds")
	}
	return policy.Rate{Requests: in.GetRequests(), Burst: in.GetBurst(), Per: time.Duration(in.GetSeconds()) * time.Second}, nil
}
