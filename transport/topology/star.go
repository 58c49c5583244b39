package topology

// Star asks every peer, does this node's own part meanwhile, and then takes all parts in, in the order of
// the nodes, its own among them: the same parts give the same result, to the bit, whoever answers first.
// peers is ascending and without self. An error ends it: peers that were asked have then to be told, or
// their answers passed over.
func Star(self int, peers []int, ask func(peer int) error, own func(), take func(node int) error) error {
	for _, n := range peers {
		if err := ask(n); err != nil {
			return err
		}
	}
	own()
	taken := false
	for _, n := range peers {
		if n > self && !taken {
			if err := take(self); err != nil {
				return err
			}
			taken = true
		}
		if err := take(n); err != nil {
			return err
		}
	}
	if taken {
		return nil
	}
	return take(self)
}
