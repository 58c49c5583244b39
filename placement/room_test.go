package placement

import (
	"testing"

	"pgregory.net/rapid"
)

// buffers are those of a model of 6 layers, in bytes that can be told apart.
func buffers(nodes int) *Buffers {
	return &Buffers{Nodes: nodes, Block: 256, Layers: 6, KV: 128 << 10, Hidden: 1 << 10, Query: 1 << 10, Answer: 1056, Step: func(rows int) int64 { return int64(rows) * 11520 }, Peer: 1, Client: 2, Stream: 5, Turns: 3}
}

func TestANodeOfARingComputesNoMoreThanItHolds(t *testing.T) {
	all := Range{0, 6}
	for _, k := range []struct {
		tokens  int
		fastest bool
		want    Room
	}{
		{512, true, Room{767, 256}}, // what is too little for a round
		{256, false, Room{256, 256}},
		{512, false, Room{512, 256}},
	} {
		s := Steps{Mode: Ring, Layers: all, Fastest: k.fastest, Tokens: k.tokens, Chunk: 1024, Context: 1024, Sequences: 1}
		if got := RoomFor(256, 3, s); got != k.want {
			t.Errorf("%+v: %+v, want %+v", s, got, k.want)
		}
	}
}

// What the engine takes memory for at loading is of all modes; in each it takes no more of that.
func TestOneModeTakesNoMoreThanAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := buffers(rapid.IntRange(1, 9).Draw(t, "nodes"))
		b.Block = rapid.IntRange(1, 300).Draw(t, "block")
		first := rapid.IntRange(0, b.Layers).Draw(t, "first")
		s := Steps{Layers: Range{first, rapid.IntRange(first, b.Layers).Draw(t, "end")}, Fastest: rapid.Bool().Draw(t, "fastest"), Behind: rapid.Bool().Draw(t, "behind"),
			Context: rapid.IntRange(1, 5000).Draw(t, "context"), Sequences: rapid.IntRange(1, 3).Draw(t, "sequences")}
		s.Chunk = rapid.IntRange(1, min(s.Context, 600)).Draw(t, "chunk")
		s.Tokens = b.Block * rapid.IntRange(0, (s.Context+b.Block-1)/b.Block).Draw(t, "blocks")
		any, room := b.Bytes(s), RoomFor(b.Block, b.Nodes, s)
		for s.Mode = Pipeline; s.Mode <= Ring; s.Mode++ {
			of := s
			if s.Mode == Ring {
				of.Layers = Range{0, b.Layers} // with which it is in all modes, too
				whole := of
				whole.Mode = 0
				any, room = b.Bytes(whole), RoomFor(b.Block, b.Nodes, whole)
			}
			if got := b.Bytes(of); got > any || got < 0 {
				t.Fatalf("%+v takes %d bytes, in any mode %d", of, got, any)
			}
			if got := RoomFor(b.Block, b.Nodes, of); got.Rows > room.Rows || got.Asking > room.Asking || got.Rows > max(s.Chunk, 2*b.Block) || got.Asking > s.Chunk {
				t.Fatalf("%+v: %+v, in any mode %+v", of, got, room)
			}
			more := of
			more.Tokens += b.Block
			if s.Tokens+b.Block <= s.Context && s.Tokens > 0 && b.Bytes(more) < b.Bytes(of) {
				t.Fatalf("%+v takes less with a block more", of)
			}
		}
	})
}

func TestOnlyConnectionsThatMessagesGoThroughAreCounted(t *testing.T) {
	all, first, middle, last, none := Range{0, 6}, Range{0, 2}, Range{2, 4}, Range{4, 6}, Range{}
	for _, k := range []struct {
		nodes int
		s     Steps
		slots int
		want  int64
	}{
		{1, Steps{Mode: Pooled, Layers: all, Tokens: 256}, 0, 2}, // steps and results
		{3, Steps{Mode: Pipeline, Layers: first}, 0, 3},          // and hidden states
		{3, Steps{Mode: Pipeline, Layers: middle}, 0, 3},         // no steps
		{3, Steps{Mode: Pipeline, Layers: last}, 0, 2},
		{3, Steps{Mode: Pipeline, Layers: none}, 0, 0},
		{3, Steps{Mode: Pipeline, Layers: last}, 8, 10}, // of devices that exchange
		{3, Steps{Mode: Pooled, Layers: first, Tokens: 256}, 0, 10},
		{3, Steps{Mode: Pooled, Layers: middle, Tokens: 256}, 0, 9},
		{3, Steps{Mode: Pooled, Layers: first}, 0, 8}, // nothing is copied here
		{3, Steps{Mode: Pooled, Tokens: 256}, 0, 6},   // nor from here
		{3, Steps{Mode: Ring, Layers: all, Fastest: true, Tokens: 512}, 0, 9},
		{3, Steps{Mode: Ring, Layers: all, Tokens: 256}, 0, 7},
		{3, Steps{Mode: Ring, Layers: all, Tokens: 256, Behind: true}, 0, 6},
		{2, Steps{Mode: Ring, Layers: all, Fastest: true, Tokens: 512}, 0, 6},
		{2, Steps{Mode: Ring, Layers: all, Tokens: 256, Behind: true}, 0, 6},
		{3, Steps{Layers: middle, Tokens: 256}, 0, 10},
	} {
		b := buffers(k.nodes)
		b.Slots = k.slots
		if got := b.streams(k.s); got != k.want {
			t.Errorf("%d nodes, %+v: messages go through %d streams, want %d", k.nodes, k.s, got, k.want)
		}
	}
}

func TestStepsThatAskAreChunksWhereThereIsRoom(t *testing.T) {
	for _, k := range []struct{ chunk, nodes, context, want int }{
		{1024, 3, 1024, 256}, {1024, 3, 1500, 732}, {1024, 3, 1792, 1024}, {1024, 3, 200000, 1024},
		{1024, 1024, 131072, 1024}, {256, 3, 1024, 256}, {64, 3, 40, 40}, {1024, 100, 1600, 400},
	} {
		if got := MaxAsking(k.chunk, 256, k.nodes, k.context); got != k.want {
			t.Errorf("of chunks of %d on %d nodes, in a context of %d: %d, want %d", k.chunk, k.nodes, k.context, got, k.want)
		}
	}
}
