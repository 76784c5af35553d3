package ingest

import (
	"time"

	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/policy"
)

// maxRequests bounds the requests and the burst of a rate.
const maxRequests = 1_000_000

// nativeRate gives a rule its rate; false if the rule must allow nothing.
func (s *scope) nativeRate(r *policy.HTTPRule, in *v1alpha1.RateLimit) bool {
	if in == nil {
		return true
	}
	path, good := r.ID.Path+".rateLimit", true
	if r.Action == policy.Deny {
		s.invalid(path, "a Deny entry cannot have rateLimit: the entry denies without it")
		return false
	}
	per, ok := map[string]time.Duration{"Second": time.Second, "Minute": time.Minute, "Hour": time.Hour}[in.Per]
	if !ok {
		s.invalid(path+".per", "%q is not Second, Minute or Hour", in.Per)
		good = false
	}
	if in.Requests < 1 || in.Requests > maxRequests {
		s.invalid(path+".requests", "%d is not from 1 to %d", in.Requests, maxRequests)
		good = false
	}
	if in.Burst < 0 || in.Burst > maxRequests {
		s.invalid(path+".burst", "%d is not from 1 to %d", in.Burst, maxRequests)
		good = false
	}
	if !good {
		return false
	}
	r.Rate = policy.Rate{Requests: uint32(in.Requests), Burst: uint32(in.Burst), Per: per}
	if in.Burst == 0 {
		r.Rate.Burst = r.Rate.Requests
	}
	return true
}
