package topology

// Belt moves items round a ring, for one node of it: to the next node, and from the one before. Items are
// sent by a goroutine of the belt, so that it overlaps with what is done with them meanwhile. Make it with
// NewBelt, and Close it.
type Belt[T any] struct {
	take    func() (T, error)
	release func(T)
	orders  chan T
	sent    chan error
}

// NewBelt is a belt that sends an item to the next node with send, waits for one from the node before with
// take, and says with release that an item will not be looked at any more: one's own, too. send runs in
// the belt's goroutine, one call at a time.
func NewBelt[T any](send func(T) error, take func() (T, error), release func(T)) *Belt[T] {
	b := &Belt[T]{take: take, release: release, orders: make(chan T, 1), sent: make(chan error, 1)}
	go func() {
		defer close(b.sent)
		for item := range b.orders {
			b.sent <- send(item)
		}
	}()
	return b
}

// Shift passes item on, lets meanwhile look at it while it is being sent, releases it, and gives what the
// node before has passed on. All nodes of the ring shift together.
func (b *Belt[T]) Shift(item T, meanwhile func(T)) (T, error) {
	b.orders <- item
	meanwhile(item)
	err := <-b.sent
	b.release(item)
	if err != nil {
		var none T
		return none, err
	}
	return b.take()
}

// AllGather shows visit what each of the nodes has: first own, then that of the node before, and so on
// backwards round the ring. All nodes of the ring take part.
func (b *Belt[T]) AllGather(nodes int, own T, visit func(T)) error {
	item := own
	for range nodes - 1 {
		var err error
		if item, err = b.Shift(item, visit); err != nil {
			return err
		}
	}
	visit(item)
	b.release(item)
	return nil
}

// Close ends the belt's goroutine, after the send under way.
func (b *Belt[T]) Close() {
	close(b.orders)
	for range b.sent {
	}
}
