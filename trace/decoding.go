package trace

import (
	"cmp"
	"slices"
	"time"

	"github.com/orrery-ai/orrery/transport"
)

// Token is one token of decode: a step of a single token, while no other of its sequence is under way.
type Token struct {
	Seq, Step uint64
	Position  int           // of the token that was fed
	Took      time.Duration // from the result of the step before, if that is of the same job, to its own
	Device    time.Duration // the longest path of computing in the step: what it takes if everything else takes no time; Took at most
	Driver    time.Duration // the step was with the driver: until it had sent it, and since it had the result
	Nodes     []Share       // where the nodes' time went meanwhile
}

// Orchestration is what the token took beyond its device time: messages, waking up, handing out steps. Where nodes share
// a processor, it includes waiting for that.
func (t *Token) Orchestration() time.Duration { return t.Took - t.Device }

// Decoding is the tokens of decode, in order.
func (t *Trace) Decoding() []Token {
	sharers, jobs := t.sharers(), t.jobs()
	paths, away := t.paths(), t.away()
	var tokens []Token
	for _, chain := range t.chains() {
		for i, s := range chain {
			if !decodes(chain, i) {
				continue
			}
			begin := s.Begin
			if i > 0 && sameJob(jobs, &chain[i-1], &s) {
				begin = chain[i-1].End
			}
			token := Token{Seq: s.Seq, Step: s.Step, Position: int(s.First), Took: time.Duration(s.End - begin)}
			// One after the other is longer than it took where nodes wait for the same device in what they compute, or one merges while another attends.
			token.Device = min(paths[s.Step], token.Took)
			if a := away[s.Step]; a.begin < a.end {
				token.Driver = token.Took - time.Duration(a.end-a.begin)
			}
			for _, sh := range sharers {
				token.Nodes = append(token.Nodes, sh.between(begin, s.End))
			}
			tokens = append(tokens, token)
		}
	}
	return tokens
}

// Prefill is the other steps of a job, one after the other or several at a time.
type Prefill struct {
	Seq    uint64
	Tokens int
	Took   time.Duration
	Nodes  []Share // where the nodes' time went meanwhile
}

// Prefills is what was read, in order.
func (t *Trace) Prefills() []Prefill {
	sharers, jobs := t.sharers(), t.jobs()
	var all []Prefill
	for _, chain := range t.chains() {
		for first := 0; first < len(chain); {
			p, begin, end := Prefill{Seq: chain[first].Seq}, chain[first].Begin, int64(0)
			next := first
			for ; next < len(chain) && !decodes(chain, next) && sameJob(jobs, &chain[first], &chain[next]); next++ {
				p.Tokens += int(chain[next].Count)
				end = max(end, chain[next].End)
			}
			if next == first {
				first++
				continue
			}
			first, p.Took = next, time.Duration(end-begin)
			for _, sh := range sharers {
				p.Nodes = append(p.Nodes, sh.between(begin, end))
			}
			all = append(all, p)
		}
	}
	return all
}

// decodes reports whether step i of a sequence is one of decode.
func decodes(chain []Span, i int) bool {
	return chain[i].Count == 1 && (i == 0 || chain[i-1].End <= chain[i].Begin) && (i == len(chain)-1 || chain[i].End <= chain[i+1].Begin)
}

func (t *Trace) sharers() (s []*sharer) {
	for i := range t.Nodes {
		s = append(s, newSharer(&t.Nodes[i]))
	}
	return s
}

// chains is the steps of each sequence, in the order in which they were handed out.
func (t *Trace) chains() [][]Span {
	bySeq := map[uint64][]Span{}
	var order []uint64
	for _, s := range t.Driver.Spans {
		if s.Kind != Step {
			continue
		}
		if bySeq[s.Seq] == nil {
			order = append(order, s.Seq)
		}
		bySeq[s.Seq] = append(bySeq[s.Seq], s)
	}
	var chains [][]Span
	for _, seq := range order {
		chain := bySeq[seq]
		slices.SortFunc(chain, func(a, b Span) int { return cmp.Compare(a.Step, b.Step) })
		chains = append(chains, chain)
	}
	return chains
}

// jobs is those that were traced from beginning to end.
func (t *Trace) jobs() (jobs []Span) {
	for _, s := range t.Driver.Spans {
		if s.Kind == Job {
			jobs = append(jobs, s)
		}
	}
	return jobs
}

// sameJob reports whether two steps of a sequence, a before b, belong to one job.
func sameJob(jobs []Span, a, b *Span) bool {
	return slices.ContainsFunc(jobs, func(j Span) bool { return j.Seq == a.Seq && j.Begin <= a.Begin && b.End <= j.End })
}

// away is from when the driver had sent each step until it had its result.
func (t *Trace) away() map[uint64]interval {
	away := map[uint64]interval{}
	for i := range t.Driver.Spans {
		s := &t.Driver.Spans[i]
		a := away[s.Step]
		switch {
		case s.Kind == Send && s.Lane == transport.Step:
			a.begin = max(a.begin, s.End)
		case s.Kind == Wait && s.Lane == transport.Result:
			a.end = max(a.end, s.End)
		}
		away[s.Step] = a
	}
	return away
}

// paths is the longest path of computing through each step of decode. In a layer the nodes attend at the same time, each
// to the keys that it holds; all else comes one after the other.
func (t *Trace) paths() map[uint64]time.Duration {
	type layer struct {
		step  uint64
		layer int32
	}
	type part struct {
		layer
		node int
	}
	paths, attending := map[uint64]time.Duration{}, map[part]time.Duration{}
	for n := range t.Nodes {
		for i := range t.Nodes[n].Spans {
			switch s := &t.Nodes[n].Spans[i]; {
			case s.Count != 1 || !s.Kind.Computes():
			case s.Kind == Attend:
				attending[part{layer{s.Step, s.Layer}, n}] += s.Duration()
			default:
				paths[s.Step] += s.Duration()
			}
		}
	}
	longest := map[layer]time.Duration{}
	for p, took := range attending {
		longest[p.layer] = max(longest[p.layer], took)
	}
	for l, took := range longest {
		paths[l.step] += took
	}
	return paths
}
