package plan

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/orrery-ai/orrery/placement"
)

// allModes is every mode, in the order in which reports have them.
var allModes = []placement.Mode{placement.Pipeline, placement.Pooled, placement.Ring}

// Options say what is planned. A zero in a field means its default, where one is named.
type Options struct {
	Name       string                     // of the model, for people
	Context    int                        // tokens of each sequence, all of which must fit
	Sequences  int                        // at the same time; default 1
	Mode       placement.Mode             // the only one planned; default: all
	Weights    Weights                    // default WeightsQ4
	KV         KV                         // default KVF16
	Link       string                     // of every pair; default: as the cluster describes them
	Layers     map[string]placement.Range // of some nodes, instead of their proportional share
	Efficiency float64                    // share of bandwidth and FLOPS that kernels reach; default 0.47
	Chunk      int                        // tokens of a prefill step; default 1024
	Block      int                        // tokens of a KV block; default 256
	At         []int                      // contexts to predict, besides the full one; default 1, 8, 32 and 100 thousand
}

// defaultEfficiency is what one cluster was seen to reach: 6.8 tokens/s at 104,000 tokens of 254 KB on
// two M4 Max and an M4 Pro, in pipeline. Calibration replaces it on a real one.
const defaultEfficiency = 0.47

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		v   *int
		def int
	}{{&o.Sequences, 1}, {&o.Chunk, 1024}, {&o.Block, 256}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if o.Weights == 0 {
		o.Weights = WeightsQ4
	}
	if o.KV == 0 {
		o.KV = KVF16
	}
	if o.Efficiency == 0 {
		o.Efficiency = defaultEfficiency
	}
	if o.At == nil {
		o.At = []int{1000, 8000, 32000, 100000}
	}
	return o
}

// OptionsError says which of the options is wrong, for this model and cluster or for any.
type OptionsError struct{ err error }

// Error names the option.
func (e *OptionsError) Error() string { return e.err.Error() }

// Unwrap is what is wrong.
func (e *OptionsError) Unwrap() error { return e.err }

// check reports an option that is wrong.
func (o Options) check(a *Arch, c *Cluster) error {
	if o.Weights == WeightsStored && (a.Stored == nil || len(a.Stored.Layers) != len(a.Layers) || len(a.Stored.Reads) != len(a.Layers)) {
		return errors.New("weights as stored: only the configuration is known, not the files")
	}
	for _, name := range slices.Sorted(maps.Keys(o.Layers)) {
		switch r := o.Layers[name]; {
		case c.index(name) < 0:
			return fmt.Errorf("layers of %.70q: there is no such node", name)
		case r.End > len(a.Layers):
			return fmt.Errorf("layers %d to %d of %s: the model has layers 0 to %d", r.First, r.End-1, name, len(a.Layers)-1)
		}
	}
	for _, at := range o.At {
		if at < 1 {
			return fmt.Errorf("a context of %d to predict is not positive", at)
		}
	}
	if o.Link == "" || c.measured != nil {
		return nil
	}
	return c.known("link", o.Link)
}

// Report is a plan in every mode, and its speed.
type Report struct {
	Model           string       `json:"model"`
	Type            string       `json:"model_type"`
	Params          int64        `json:"parameters"`
	Active          int64        `json:"parameters_used_by_a_token"`
	Weights         Weights      `json:"weights"`
	WeightBytes     int64        `json:"weight_bytes"`
	KV              KV           `json:"kv"`
	KVBytesPerToken int64        `json:"kv_bytes_per_token"`
	Positions       int          `json:"max_position_embeddings,omitempty"`
	Context         int          `json:"context"`
	Sequences       int          `json:"sequences"`
	Efficiency      float64      `json:"efficiency"` // 1 if measured
	Measured        bool         `json:"measured"`   // speeds and links were measured, not described
	Link            string       `json:"link,omitempty"`
	Modes           []ModeReport `json:"modes"`
	Crossovers      []Crossover  `json:"crossovers"`
}

// ModeReport is one mode: a plan with its speeds, or a refusal with advice.
type ModeReport struct {
	Mode     string             `json:"mode"`
	Fits     bool               `json:"fits"`
	Nodes    []NodeReport       `json:"nodes"`
	Beside   []string           `json:"beside,omitempty"`    // the modes beside which it does not fit, though it does by itself
	Advice   []string           `json:"would_fit,omitempty"` // with each of these, when it does not
	Exchange float64            `json:"exchange_seconds,omitempty"`
	Speeds   []Speed            `json:"speeds,omitempty"`
	Refusal  *placement.Refusal `json:"-"` // nil when it fits
	cost     *placement.Cost
}

// NodeReport is what one node holds, or would have to, in bytes.
type NodeReport struct {
	Node    string  `json:"node"`
	First   int     `json:"first_layer"`
	Layers  int     `json:"layers"`
	Tokens  float64 `json:"share_of_tokens,omitempty"` // in pooled and ring
	Weights int64   `json:"weight_bytes"`
	KV      int64   `json:"kv_bytes"`
	Rest    int64   `json:"rest_bytes"`
	Needs   int64   `json:"needs_bytes"`
	Has     int64   `json:"has_bytes"`
	Lacks   int64   `json:"lacks_bytes,omitempty"`
}

func nodeReport(s placement.Share) NodeReport {
	return NodeReport{Node: s.Node, First: s.Layers.First, Layers: s.Layers.Len(), Tokens: s.TokenWeight,
		Weights: s.Weights, KV: s.KV, Rest: s.Rest, Needs: s.Needs(), Has: s.Has, Lacks: max(s.Needs()-s.Has, 0)}
}

// Speed is what is predicted at a context.
type Speed struct {
	Context int            `json:"context"`
	Decode  float64        `json:"decode_tokens_per_second"`                   // of all sequences, each at that context
	Each    float64        `json:"decode_tokens_per_second_of_each,omitempty"` // of one of several
	Rows    float64        `json:"decode_step_sequences,omitempty"`            // of several, how many have a token of a step, on average
	Step    placement.Step `json:"decode_step_seconds"`
	Prefill float64        `json:"prefill_tokens_per_second"`
	Waiting float64        `json:"prefill_waiting_share"` // of the time of prefill
}

// Crossover is the context from which one mode decodes no slower than another, or that there is none
// within the context planned for.
type Crossover struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Context int    `json:"context"`
	Within  bool   `json:"within_the_context"`
}

// Make plans a model on a cluster, in every mode or the one of Options.Mode. That nothing fits is no
// error: the report says so. An option that does not go with them is an *OptionsError.
func Make(a *Arch, c *Cluster, o Options) (*Report, error) {
	o = o.withDefaults()
	if err := o.check(a, c); err != nil {
		return nil, &OptionsError{err}
	}
	links, err := c.Matrix(o.Link)
	if err != nil {
		return nil, err
	}
	if c.measured != nil {
		o.Efficiency = 1
	}
	r, work := request(a, c.Nodes, o, len(c.Nodes))
	rep := &Report{Model: o.Name, Type: a.Type, Params: a.Params(), Active: a.Active(), Weights: o.Weights, WeightBytes: weightBytes(&r.Model),
		KV: o.KV, KVBytesPerToken: a.KVBytesPerToken(o.KV), Positions: a.Positions, Context: o.Context, Sequences: o.Sequences,
		Efficiency: o.Efficiency, Measured: c.measured != nil, Link: o.Link}
	if rep.Link == "" {
		rep.Link = c.regular
	}
	predict := func(p *placement.Plan) (*placement.Cost, error) {
		cost, err := placement.NewCost(r, p, work, links, o.Efficiency)
		if err != nil {
			return nil, err
		}
		return cost, c.measured.tell(cost)
	}
	load, placed, err := placeAll(r, o.Mode, predict)
	if err != nil {
		return nil, err
	}
	if load != 0 {
		placed.Promises(load) // which gives up the modes that do not fit beside those before, as loading does
	}
	for _, mode := range allModes {
		p, refusal := placed.Plans[mode], placed.Refused[mode]
		if p == nil && refusal == nil {
			continue
		}
		m := ModeReport{Mode: mode.String(), Fits: p != nil, Refusal: refusal}
		if p == nil {
			for _, row := range refusal.Rows {
				m.Nodes = append(m.Nodes, nodeReport(row.Share))
			}
			for _, other := range refusal.Beside {
				m.Beside = append(m.Beside, other.String())
			}
			m.Advice = advise(a, c.Nodes, o, refusal)
			rep.Modes = append(rep.Modes, m)
			continue
		}
		if m.cost, err = predict(p); err != nil {
			return nil, err
		}
		for _, s := range p.Shares {
			m.Nodes = append(m.Nodes, nodeReport(s))
		}
		m.Exchange = m.cost.Exchange()
		for _, at := range contexts(o) {
			decode, prefill := m.decode(at, o.Sequences), m.cost.Prefill(at)
			speed := Speed{Context: at, Decode: decode.Rate(), Step: decode.Step, Prefill: prefill.Rate(at), Waiting: prefill.Waiting / prefill.Seconds}
			if o.Sequences > 1 {
				speed.Each, speed.Rows = 1/decode.Seconds(), decode.Rows
			}
			m.Speeds = append(m.Speeds, speed)
		}
		rep.Modes = append(rep.Modes, m)
	}
	for i, from := range rep.Modes {
		for _, to := range rep.Modes[i+1:] {
			if from.cost != nil && to.cost != nil {
				at, ok := placement.Crossover(from.cost, to.cost, o.Sequences)
				rep.Crossovers = append(rep.Crossovers, Crossover{from.Mode, to.Mode, at, ok && at <= o.Context})
			}
		}
	}
	return rep, nil
}

// decode predicts so many sequences at a context.
func (m *ModeReport) decode(context, sequences int) placement.Batch {
	return m.cost.Batch(slices.Repeat([]int{context}, sequences))
}

// contexts is what is predicted, in order and once each: no longer than the full one.
func contexts(o Options) []int {
	at := append(slices.Clone(o.At), o.Context)
	slices.Sort(at)
	return slices.DeleteFunc(slices.Compact(at), func(n int) bool { return n > o.Context })
}

// Fits reports whether any mode does.
func (r *Report) Fits() bool {
	return slices.ContainsFunc(r.Modes, func(m ModeReport) bool { return m.Fits })
}

// request is what placement is asked, and the work of the same model, with lanes for so many members.
func request(a *Arch, nodes []placement.Node, o Options, members int) (placement.Request, placement.Work) {
	m, w := a.Footprint(o.Name, o.Weights, o.KV, o.Block, members)
	return placement.Request{Model: m, Nodes: nodes, Mode: o.Mode, Context: o.Context, Sequences: o.Sequences,
		Chunk: o.Chunk, BlockTokens: o.Block, Overrides: o.Layers}, w
}

func weightBytes(m *placement.Model) int64 {
	n := m.HeadBytes
	if !m.Tied {
		n += m.EmbedBytes
	}
	for _, b := range m.LayerBytes {
		n += b
	}
	return n
}

// placeAll places as loading does: in the first mode that fits, so that it can switch to the others, with the layers that predictions
// say are fastest. With a mode given it is the only one. If none fits load is 0.
func placeAll(r placement.Request, only placement.Mode, predict func(*placement.Plan) (*placement.Cost, error)) (load placement.Mode, placed *placement.Reservation, err error) {
	modes := allModes
	if only != 0 {
		modes = []placement.Mode{only}
	}
	refused := map[placement.Mode]*placement.Refusal{}
	for _, r.Mode = range modes {
		res, err := placement.PlaceAll(r, modes)
		if err == nil {
			res, err = res.Refine(only, predict)
		}
		if err == nil {
			maps.Copy(res.Refused, refused) // with layers of their own, those do not fit either
			return r.Mode, res, nil
		}
		var refusal *placement.Refusal
		if !errors.As(err, &refusal) {
			return 0, nil, err
		}
		refused[r.Mode] = refusal
	}
	return 0, &placement.Reservation{Refused: refused}, nil
}
