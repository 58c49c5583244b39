package placement

import "testing"

// Of the slots in which GPUs exchange a node has two for each message that comes from another member.
func TestSlotsOfDevicesAreCountedWhereTheyExchange(t *testing.T) {
	for _, c := range []struct {
		mode  Mode
		slots int
		want  int64 // for each of two peers
	}{
		{Pipeline, 1024, 0},
		{Pooled, 0, 0},
		{Pooled, 16, 2 * 16 * (1<<10 + 1056)},
		{Pooled, 1 << 20, 2 * 512 * (1<<10 + 1056)}, // no more than are asked for
		{Ring, 16, 2 * 16 * (1<<10 + 1056)},
	} {
		s := Steps{Mode: c.mode, Layers: Range{First: 0, End: 3}, Chunk: 512, Context: 1 << 16, Tokens: 1 << 14, Sequences: 1, Fastest: true}
		with, without := buffers(3), buffers(3)
		with.Slots, with.Stream, without.Stream = c.slots, 0, 0 // connections are counted by another test
		if got := with.Bytes(s) - without.Bytes(s); got != 2*c.want {
			t.Errorf("%s, slots of %d tokens: %d bytes more, want %d", c.mode, c.slots, got, 2*c.want)
		}
	}
}
