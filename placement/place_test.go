package placement

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const gib = 1 << 30

// llama is like Llama-3.3-70B in 4 bits with an f16 cache: 80 layers, 320 KiB a token.
func llama() Model {
	m := Model{Name: "llama-70b", EmbedBytes: gib, HeadBytes: gib, ScratchBytes: func(s Steps) int64 { return int64(s.Chunk) << 18 }}
	for range 80 {
		m.LayerBytes = append(m.LayerBytes, 460<<20)
		m.KVBytesPerToken = append(m.KVBytesPerToken, 4096)
	}
	return m
}

// studios is two big machines and a small one, fast, fast and half as fast.
func studios(big, small int64) []Node {
	return []Node{
		{Name: "studio1", Memory: big, Bandwidth: 546e9}, {Name: "studio2", Memory: big, Bandwidth: 546e9},
		{Name: "macbook", Memory: small, Bandwidth: 273e9},
	}
}

func request(mode Mode, big, small int64) Request {
	return Request{Model: llama(), Nodes: studios(big, small), Mode: mode, Context: 204800, Sequences: 1, Chunk: 512, BlockTokens: 256}
}

func place(t *testing.T, r Request) *Plan {
	t.Helper()
	p, err := Place(r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestLayersFollowBandwidthWhenThereIsRoom(t *testing.T) {
	p := place(t, request(Pipeline, 200*gib, 200*gib))
	want := []Range{{0, 32}, {32, 64}, {64, 80}}
	for i, s := range p.Shares {
		if s.Layers != want[i] {
			t.Errorf("%s has layers %v, want %v", s.Node, s.Layers, want[i])
		}
	}
	first := p.Shares[0]
	if first.Weights != 32*460<<20+gib || first.KV != 32*4096*204800 || first.Rest != 512<<18+RuntimeBytes {
		t.Errorf("first share is %+v", first)
	}
	if p.Owner != -1 {
		t.Errorf("owner %d", p.Owner)
	}
}

func TestLayersMoveFromANodeThatWouldOverflow(t *testing.T) {
	p := place(t, request(Pipeline, 64*gib, 10*gib))
	n := p.Shares[2].Layers.Len()
	if n == 0 || n >= 16 || p.Shares[0].Layers.Len()+p.Shares[1].Layers.Len()+n != 80 {
		t.Errorf("split:\n%s", p.Table())
	}
	fits(t, p)
}

func TestTokensFollowBandwidthAsFarAsMemoryAllows(t *testing.T) {
	p := place(t, request(Pooled, 200*gib, 200*gib))
	if got := []int{p.Shares[0].Blocks, p.Shares[1].Blocks, p.Shares[2].Blocks}; !reflect.DeepEqual(got, []int{320, 320, 160}) {
		t.Errorf("blocks %v", got)
	}
	p = place(t, request(Pooled, 100*gib, 10*gib))
	a, b, c := p.Shares[0], p.Shares[1], p.Shares[2]
	if c.Blocks >= 160 || a.Blocks+b.Blocks+c.Blocks != 800 || a.Blocks-b.Blocks > 1 || b.Blocks-a.Blocks > 1 {
		t.Errorf("blocks:\n%s", p.Table())
	}
	if c.Has-c.Needs() >= 256*80*4096 {
		t.Errorf("the small node has room for another block:\n%s", p.Table())
	}
	fits(t, p)
}

func TestRingGivesEveryNodeAllWeightsAndTheFastestTheLayers(t *testing.T) {
	r := request(Ring, 100*gib, 100*gib)
	r.Nodes[0], r.Nodes[2] = r.Nodes[2], r.Nodes[0]
	p := place(t, r)
	if p.Owner != 1 {
		t.Errorf("owner is node %d, want the first of the two fastest", p.Owner)
	}
	for _, s := range p.Shares {
		if s.Layers != (Range{0, 80}) || s.Weights != 80*460<<20+2*gib {
			t.Errorf("share %+v", s)
		}
	}
	fits(t, p)
}

func TestTiedHeadIsCountedOncePerNode(t *testing.T) {
	m := Model{Name: "tiny", LayerBytes: []int64{10, 10}, KVBytesPerToken: []int64{1, 1}, EmbedBytes: 100, HeadBytes: 105, Tied: true}
	r := Request{Model: m, Nodes: []Node{{Name: "a", Memory: gib, Bandwidth: 1}}, Mode: Pipeline, Context: 5, Sequences: 1, Chunk: 1, BlockTokens: 4}
	if got := place(t, r).Shares[0]; got.Weights != 125 || got.KV != 16 {
		t.Errorf("one node holds %+v, want 125 bytes of weights and 8 tokens", got)
	}
	r.Nodes = append(r.Nodes, Node{Name: "b", Memory: gib, Bandwidth: 1})
	p := place(t, r)
	if a, b := p.Shares[0].Weights, p.Shares[1].Weights; a != 110 || b != 115 {
		t.Errorf("two nodes hold %d and %d bytes of weights, want 110 and 115", a, b)
	}
}

func TestMoreNodesThanLayersLeavesSomeIdle(t *testing.T) {
	m := Model{Name: "tiny", LayerBytes: []int64{10}, KVBytesPerToken: []int64{1}}
	r := Request{Model: m, Mode: Pipeline, Context: 5, Sequences: 1, Chunk: 1, BlockTokens: 4,
		Nodes: []Node{{Name: "a", Memory: 0, Bandwidth: 1}, {Name: "b", Memory: gib, Bandwidth: 1}, {Name: "c", Memory: gib, Bandwidth: 1}}}
	p := place(t, r)
	if p.Shares[0].Needs() != 0 || p.Shares[1].Layers.Len()+p.Shares[2].Layers.Len() != 1 {
		t.Errorf("split:\n%s", p.Table())
	}
}

func TestOverridesAreKeptAndTheRestIsShared(t *testing.T) {
	r := request(Pipeline, 200*gib, 200*gib)
	r.Overrides = map[string]Range{"studio2": {50, 70}}
	p := place(t, r)
	if got := []Range{p.Shares[0].Layers, p.Shares[1].Layers, p.Shares[2].Layers}; !reflect.DeepEqual(got, []Range{{0, 50}, {50, 70}, {70, 80}}) {
		t.Errorf("layers %v", got)
	}
	r.Overrides = map[string]Range{"studio2": {}}
	p = place(t, r)
	if a, c := p.Shares[0].Layers.Len(), p.Shares[2].Layers.Len(); a != 53 || c != 27 {
		t.Errorf("layers %d and %d, want 53 and 27", a, c)
	}
	r.Overrides = map[string]Range{"studio1": {0, 10}, "studio2": {20, 30}}
	var refused *Refusal
	if _, err := Place(r); err == nil || errors.As(err, &refused) || !strings.Contains(err.Error(), "overrides") {
		t.Errorf("a gap between overrides gives %v", err)
	}
}

func TestARefusalSaysWhoLacksWhatAndWhatWouldFit(t *testing.T) {
	r := request(Ring, 100*gib, 20*gib)
	_, err := Place(r)
	var refused *Refusal
	if !errors.As(err, &refused) {
		t.Fatalf("error is %v", err)
	}
	if refused.Rows[0].Lacks != 0 || refused.Rows[1].Lacks != 0 || refused.Rows[2].Lacks == 0 || refused.MaxContext != 0 || refused.MaxSeqs != 0 {
		t.Errorf("refusal %+v", refused)
	}
	for _, s := range []string{"macbook lacks", "every node holds all weights", "no context is short enough", FormatBytes(refused.Missing)} {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q does not say %q", err, s)
		}
	}
	if strings.Contains(err.Error(), "studio") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%q names a node that has enough, or breaks the line", err)
	}
	lines := strings.Split(strings.TrimSpace(refused.Table()), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[3], "macbook") || !strings.HasSuffix(lines[3], FormatBytes(refused.Missing)) {
		t.Errorf("table:\n%s", refused.Table())
	}

	r = request(Pipeline, 40*gib, 20*gib)
	r.Sequences = 2
	if _, err = Place(r); !errors.As(err, &refused) {
		t.Fatalf("error is %v", err)
	}
	if refused.MaxSeqs != 0 || refused.MaxContext == 0 || !strings.Contains(err.Error(), fmt.Sprint("context of ", refused.MaxContext)) {
		t.Errorf("%v", err)
	}
}

func TestBadRequestsNameTheField(t *testing.T) {
	for want, spoil := range map[string]func(*Request){
		"mode(0)":         func(r *Request) { r.Mode = 0 },
		"no layers":       func(r *Request) { r.Model.LayerBytes = nil },
		"KVBytesPerToken": func(r *Request) { r.Model.KVBytesPerToken = r.Model.KVBytesPerToken[1:] },
		"layer 3":         func(r *Request) { r.Model.LayerBytes[3] = -1 },
		"Windows":         func(r *Request) { r.Model.Windows = []int{1} },
		"window -1":       func(r *Request) { r.Model.Windows = make([]int, 80); r.Model.Windows[3] = -1 },
		"HeadBytes":       func(r *Request) { r.Model.HeadBytes = -1 },
		"tied":            func(r *Request) { r.Model.Tied, r.Model.HeadBytes = true, 1 },
		"ScratchBytes":    func(r *Request) { r.Model.ScratchBytes = func(s Steps) int64 { return int64(s.Mode) - 3 } },
		"no nodes":        func(r *Request) { r.Nodes = nil },
		"Context 0":       func(r *Request) { r.Context = 0 },
		"2^40":            func(r *Request) { r.Chunk = math.MaxInt },
		"2^50":            func(r *Request) { r.Sequences = math.MaxInt },
		"used twice":      func(r *Request) { r.Nodes[1].Name = "studio1" },
		"memory -1":       func(r *Request) { r.Nodes[0].Memory = -1 },
		"bandwidth 0":     func(r *Request) { r.Nodes[0].Bandwidth = 0 },
		"bandwidth NaN":   func(r *Request) { r.Nodes[0].Bandwidth = math.NaN() },
		`node "x"`:        func(r *Request) { r.Overrides = map[string]Range{"x": {}} },
		"node macbook":    func(r *Request) { r.Overrides = map[string]Range{"macbook": {3, 81}} },
	} {
		r := request(Pipeline, gib, gib)
		spoil(&r)
		_, err := Place(r)
		var refused *Refusal
		if err == nil || errors.As(err, &refused) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestModesAreParsedAsTheyArePrinted(t *testing.T) {
	for m := Pipeline; m <= Ring; m++ {
		if got, err := ParseMode(m.String()); err != nil || got != m {
			t.Errorf("%v is parsed as %v, %v", m, got, err)
		}
	}
	if _, err := ParseMode("auto"); err == nil {
		t.Error("auto is not a mode of residence")
	}
}

func TestBytesArePrintedForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0.0 MiB", 1 << 20: "1.0 MiB", 1<<30 - 1: "1.0 GiB", 3 * gib / 2: "1.5 GiB", 2 << 40: "2.0 TiB"} {
		if got := FormatBytes(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}

// fits checks a plan against what it promises by itself.
func fits(t interface{ Fatalf(string, ...any) }, p *Plan) {
	weight := 0.0
	layers := 0
	for _, s := range p.Shares {
		if s.Needs() > s.Has {
			t.Fatalf("%s overflows:\n%s", s.Node, p.Table())
		}
		if p.Mode != Ring && s.Layers.Len() > 0 {
			if s.Layers.First != layers {
				t.Fatalf("layers are not contiguous:\n%s", p.Table())
			}
			layers = s.Layers.End
		}
		weight += s.TokenWeight
	}
	if p.Mode != Pipeline && math.Abs(weight-1) > 1e-9 {
		t.Fatalf("token weights sum to %v:\n%s", weight, p.Table())
	}
}

// small draws a request that exhaustive search can decide. Memory is drawn about what is needed.
func small(t *rapid.T) Request {
	layers := rapid.IntRange(1, 5).Draw(t, "layers")
	bytes := rapid.Int64Range(0, 12)
	m := Model{Name: "small", EmbedBytes: bytes.Draw(t, "embed"), Tied: rapid.Bool().Draw(t, "tied")}
	m.HeadBytes = bytes.Draw(t, "head")
	if m.Tied {
		m.HeadBytes += m.EmbedBytes
	}
	for range layers {
		m.LayerBytes = append(m.LayerBytes, bytes.Draw(t, "weights"))
		m.KVBytesPerToken = append(m.KVBytesPerToken, rapid.Int64Range(0, 3).Draw(t, "kv"))
	}
	if rapid.IntRange(0, 2).Draw(t, "windowed") == 0 {
		m.Windows = rapid.SliceOfN(rapid.IntRange(0, 4), layers, layers).Draw(t, "windows")
	}
	const kinds = 4 // of ranges: with the first layer or not, with the last or not
	scratch := rapid.SliceOfN(rapid.Int64Range(0, 4), 2*kinds*int(Ring+1), -1).Draw(t, "scratch")
	each, most := rapid.Int64Range(0, 4).Draw(t, "scratch of a token"), rapid.IntRange(0, 9).Draw(t, "tokens that it is of")
	m.ScratchBytes = func(s Steps) int64 {
		kind := kinds*int(s.Mode) + bit(s.Layers.First == 0) + 2*bit(s.Layers.End == layers)
		if s.Fastest {
			kind += kinds * int(Ring+1)
		}
		return scratch[kind]*int64(s.Chunk+s.Context) + each*int64(min(s.Tokens, most)*s.Sequences)
	}
	m.BlockOverhead = rapid.Int64Range(0, 3).Draw(t, "overhead")
	r := Request{
		Model: m, Mode: Mode(rapid.IntRange(1, 3).Draw(t, "mode")),
		Context: rapid.IntRange(1, 12).Draw(t, "context"), Sequences: rapid.IntRange(1, 2).Draw(t, "sequences"),
		Chunk: rapid.IntRange(1, 4).Draw(t, "chunk"), BlockTokens: rapid.IntRange(1, 3).Draw(t, "block"),
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "nodes") {
		memory := rapid.Int64Range(0, 150).Draw(t, "memory")
		if rapid.IntRange(0, 7).Draw(t, "below") > 0 {
			memory += RuntimeBytes
		}
		r.Nodes = append(r.Nodes, Node{Name: string(rune('a' + i)), Memory: memory, Bandwidth: rapid.Float64Range(1, 9).Draw(t, "bandwidth")})
	}
	if rapid.IntRange(0, 4).Draw(t, "override") == 0 {
		first := rapid.IntRange(0, layers).Draw(t, "first")
		r.Overrides = map[string]Range{"a": {0, first}}
	}
	return r
}

// bit is 1 if set.
func bit(set bool) int {
	if set {
		return 1
	}
	return 0
}

// fastestOf is the first of the nodes with the highest bandwidth.
func fastestOf(nodes []Node) int {
	best := 0
	for i := range nodes {
		if nodes[i].Bandwidth > nodes[best].Bandwidth {
			best = i
		}
	}
	return best
}

// takes is what a node needs, counted from the rules in the package comment and layer by layer.
func takes(r *Request, mode Mode, node int, rg Range, blocks int) int64 {
	if rg.First == rg.End && blocks == 0 {
		return 0
	}
	total := (r.Context + r.BlockTokens - 1) / r.BlockTokens * r.BlockTokens
	staged := (r.Chunk+r.BlockTokens-1)/r.BlockTokens*r.BlockTokens + r.BlockTokens
	n := RuntimeBytes + r.Model.ScratchBytes(Steps{mode, rg, node == fastestOf(r.Nodes), node == (fastestOf(r.Nodes)+1)%len(r.Nodes), blocks * r.BlockTokens, min(r.Chunk, r.Context), r.Context, r.Sequences})
	keeps := total / r.BlockTokens
	if mode != Pipeline {
		keeps = min(blocks+staged/r.BlockTokens, keeps)
	}
	n += r.Model.BlockOverhead * int64(keeps*r.Sequences)
	last := len(r.Model.LayerBytes) - 1
	for l := range r.Model.LayerBytes {
		tokens := blocks * r.BlockTokens
		if rg.First <= l && l < rg.End {
			n += r.Model.LayerBytes[l]
			if mode == Pipeline {
				tokens = total
			} else if mode == Pooled || node == fastestOf(r.Nodes) {
				tokens = min(tokens+staged, total)
			}
			if l == 0 {
				n += r.Model.EmbedBytes
			}
			if l == last {
				n += r.Model.HeadBytes
				if r.Model.Tied && rg.First == 0 {
					n -= r.Model.EmbedBytes
				}
			}
		}
		if r.Model.Windows != nil && r.Model.Windows[l] > 0 {
			tokens = 0
			if rg.First <= l && l < rg.End {
				window := min(r.Model.Windows[l], r.Context)
				tokens = min((window+r.BlockTokens-1)/r.BlockTokens*r.BlockTokens+staged, total)
			}
		}
		n += int64(tokens*r.Sequences) * r.Model.KVBytesPerToken[l]
	}
	return n
}

// search tries every split of the layers and every distribution of the blocks.
func search(r *Request, mode Mode) bool {
	layers := len(r.Model.LayerBytes)
	blocks := (r.Context + r.BlockTokens - 1) / r.BlockTokens
	if mode == Pipeline {
		blocks = 0
	}
	var try func(node, layer, blocks int) bool
	try = func(node, layer, blocks int) bool {
		if node == len(r.Nodes) {
			return (mode == Ring || layer == layers) && blocks == 0
		}
		n := r.Nodes[node]
		for end := layer; end <= layers; end++ {
			rg := Range{layer, end}
			if mode == Ring {
				rg = Range{0, layers}
			} else if o, ok := r.Overrides[n.Name]; ok && o.Len() != rg.Len() {
				continue
			}
			for b := 0; b <= blocks && takes(r, mode, node, rg, b) <= n.Memory; b++ {
				next := end
				if mode == Ring {
					next = layer
				}
				if try(node+1, next, blocks-b) {
					return true
				}
			}
			if mode == Ring {
				return false
			}
		}
		return false
	}
	return try(0, 0, blocks)
}

func TestPlacesWhatExhaustiveSearchCanPlaceAndNoMore(t *testing.T) {
	placed, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		r := small(t)
		p, err := Place(r)
		var refusal *Refusal
		if err != nil && !errors.As(err, &refusal) {
			t.Skip(err) // an override that leaves layers to nobody
		}
		if can := search(&r, r.Mode); can != (err == nil) {
			t.Fatalf("search places it: %v; Place: %v", can, err)
		}
		if fits, wrong := Fits(r); wrong != nil || fits != (err == nil) {
			t.Fatalf("Fits: %v, %v; Place: %v", fits, wrong, err)
		}
		if err == nil {
			placed++
			fits(t, p)
			for i, s := range p.Shares {
				if want := takes(&r, r.Mode, i, s.Layers, s.Blocks); s.Needs() != want {
					t.Fatalf("%s needs %d, want %d", s.Node, s.Needs(), want)
				}
			}
			return
		}
		refused++

		// What the refusal advises must be true, and the most that can be said.
		more := r
		more.Nodes = append([]Node(nil), r.Nodes...)
		missing := int64(0)
		for i, row := range refusal.Rows {
			more.Nodes[i].Memory += row.Lacks
			missing += row.Lacks
		}
		if missing == 0 || missing != refusal.Missing || !search(&more, r.Mode) {
			t.Fatalf("with %d bytes more it does not fit:\n%s", refusal.Missing, refusal.Table())
		}
		for c := r.BlockTokens; c <= r.Context+r.BlockTokens; c += r.BlockTokens {
			shorter := r
			shorter.Context = c
			if search(&shorter, r.Mode) != (c <= refusal.MaxContext) {
				t.Fatalf("at context %d search does not agree with MaxContext %d", c, refusal.MaxContext)
			}
		}
		for n := 1; n <= r.Sequences; n++ {
			fewer := r
			fewer.Sequences = n
			if search(&fewer, r.Mode) != (n <= refusal.MaxSeqs) {
				t.Fatalf("with %d sequences search does not agree with MaxSeqs %d", n, refusal.MaxSeqs)
			}
		}
	})
	if placed == 0 || refused == 0 {
		t.Errorf("%d requests placed and %d refused: the test shows nothing", placed, refused)
	}
}

func TestPipelineRefusalAsksForTheLeastMemory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := small(t)
		r.Mode, r.Overrides = Pipeline, nil
		_, err := Place(r)
		var refusal *Refusal
		if !errors.As(err, &refusal) {
			t.Skip("it fits")
		}
		least := int64(math.MaxInt64)
		var walk func(node, layer int, lack int64)
		walk = func(node, layer int, lack int64) {
			if node == len(r.Nodes) {
				if layer == len(r.Model.LayerBytes) {
					least = min(least, lack)
				}
				return
			}
			for end := layer; end <= len(r.Model.LayerBytes); end++ {
				walk(node+1, end, lack+max(0, takes(&r, Pipeline, node, Range{layer, end}, 0)-r.Nodes[node].Memory))
			}
		}
		walk(0, 0, 0)
		if refusal.Missing != least {
			t.Fatalf("missing %d, the least is %d", refusal.Missing, least)
		}
	})
}

func TestApportionIsWholeBoundedAndFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "n")
		weights := rapid.SliceOfN(rapid.Float64Range(1, maxBandwidth), n, n).Draw(t, "weights")
		caps := rapid.SliceOfN(rapid.Int64Range(0, 1<<rapid.IntRange(1, 40).Draw(t, "bits")), n, n).Draw(t, "caps")
		total := rapid.Int64Range(0, maxTokens).Draw(t, "total")
		share := apportion(total, weights, caps)
		room, sum := int64(0), int64(0)
		for i := range share {
			room += caps[i]
			sum += share[i]
			if share[i] < 0 || share[i] > caps[i] {
				t.Fatalf("share %d is %d of %d", i, share[i], caps[i])
			}
		}
		if sum != min(total, room) {
			t.Fatalf("%d shared out of %d, with room for %d", sum, total, room)
		}
		for i := range share {
			for j := range share {
				if share[i] < caps[i] && share[j] < caps[j] { // both follow their weights, to less than one whole
					a, b := float64(share[i])/weights[i], float64(share[j])/weights[j]
					if slack := 1/weights[i] + 1/weights[j]; math.Abs(a-b) > slack*(1+1e-9)+1e-9*a {
						t.Fatalf("shares %d and %d for weights %g and %g", share[i], share[j], weights[i], weights[j])
					}
				}
			}
		}
	})
}
