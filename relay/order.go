package relay

import (
	"container/heap"
	"time"

	observerpb "github.com/cilium/cilium/api/v1/observer"
)

// item is a flow that waits for its turn.
type item struct {
	res  *observerpb.GetFlowsResponse
	from *source
	// at is when it happened, come when it came here, nth the order in which it came.
	at, come time.Time
	nth      uint64
}

// queue has the oldest flow first; of one time, that of the node that comes first by name,
// and of one node, that which came first.
type queue []item

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	a, b := q[i], q[j]
	switch {
	case !a.at.Equal(b.at):
		return a.at.Before(b.at)
	case a.from != b.from && a.from.Name != b.from.Name:
		return a.from.Name < b.from.Name
	}
	return a.nth < b.nth
}

func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push is heap's.
func (q *queue) Push(x any) { *q = append(*q, x.(item)) }

// Pop is heap's.
func (q *queue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = item{}
	*q = old[:len(old)-1]
	return last
}

func (q *queue) put(i item) { heap.Push(q, i) }

func (q *queue) take() item { return heap.Pop(q).(item) }

// newest keeps the last so many responses; with room for none it passes all on.
type newest struct {
	room int
	list []*observerpb.GetFlowsResponse
	next int
}

func (n *newest) add(res *observerpb.GetFlowsResponse) {
	if len(n.list) < n.room {
		n.list = append(n.list, res)
		return
	}
	n.list[n.next] = res
	n.next = (n.next + 1) % n.room
}

// all are those that are kept, the oldest first.
func (n *newest) all() []*observerpb.GetFlowsResponse {
	return append(append([]*observerpb.GetFlowsResponse{}, n.list[n.next:]...), n.list[:n.next]...)
}
