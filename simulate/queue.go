package simulate

// event is something that happens at a time.
type event struct {
	at     float64
	takes  float64 // of a message that arrives: how long it occupies the port, and with that the wait for its end
	order  uint32  // of scheduling: decides between events of the same time
	cause  int32   // activity that ends with it
	member int32   // of the exchange
	stage  int16
	kind   kind
}

func (e *event) before(f *event) bool { return e.at < f.at || e.at == f.at && e.order < f.order }

// queue is the events to come: a binary heap.
type queue struct {
	heap  []event
	order uint32
}

func (q *queue) push(e event) {
	e.order = q.order
	q.order++
	q.heap = append(q.heap, e)
	h := q.heap
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !e.before(&h[up]) {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = e
}

// pop takes the first event out. The queue must not be empty.
func (q *queue) pop() event {
	h := q.heap
	first, last := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	q.heap = h
	i := 0
	for {
		down := 2*i + 1
		if down >= len(h) {
			break
		}
		if down+1 < len(h) && h[down+1].before(&h[down]) {
			down++
		}
		if !h[down].before(&last) {
			break
		}
		h[i] = h[down]
		i = down
	}
	if len(h) > 0 {
		h[i] = last
	}
	return first
}
