package bench

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// median sorts a copy. Of nothing it is 0.
func median[T ~int64 | ~float64](values []T) T { return quantile(values, 0.5) }

func quantile[T ~int64 | ~float64](values []T, q float64) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// interval is a statistic with the range in which 95 of 100 resamplings of its rounds lie.
type interval struct{ value, low, high float64 }

// bootstrap returns the statistic of rounds, by its indexes.
func bootstrap(rounds int, statistic func(indexes []int) float64) interval {
	const resamplings = 400
	all := make([]int, rounds)
	for i := range all {
		all[i] = i
	}
	out := interval{value: statistic(all)}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a resampling that can be repeated
	values := make([]float64, resamplings)
	indexes := make([]int, rounds)
	for i := range values {
		for j := range indexes {
			indexes[j] = random.IntN(rounds)
		}
		values[i] = statistic(indexes)
	}
	out.low, out.high = quantile(values, 0.025), quantile(values, 0.975)
	return out
}

// pick returns the values at the indexes.
func pick(values []time.Duration, indexes []int) []time.Duration {
	out := make([]time.Duration, len(indexes))
	for i, n := range indexes {
		out[i] = values[n]
	}
	return out
}

func TestStatistics(t *testing.T) {
	values := []time.Duration{5, 1, 4, 2, 3}
	if got := median(values); got != 3 {
		t.Errorf("median of 1..5 is %d, want 3", got)
	}
	if got := quantile(values, 0.99); got != 5 {
		t.Errorf("p99 of 1..5 is %d, want 5", got)
	}
	got := bootstrap(len(values), func(i []int) float64 { return float64(median(pick(values, i))) })
	if got.value != 3 || got.low > 3 || got.high < 3 || got.low == got.high {
		t.Errorf("interval %+v, want one around 3", got)
	}
}
