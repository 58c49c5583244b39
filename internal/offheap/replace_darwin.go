package offheap

func (r *Replacing) begin() error { return ErrNoHugePages }

func (r *Replacing) replace(int) error { return ErrNoHugePages }
