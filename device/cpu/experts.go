package cpu

import (
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu/simd"
)

// The experts of a step. Pairs of a token and one of its experts are ordered by the expert, so that each expert multiplies the rows of all
// its tokens at once, and its weights are read once: as they are stored for a few tokens, packed for more. First come gate, up
// and the activation, then down, and last each token adds up what its pairs gave.

// expertsJob is the arguments of the operation, and what its parts work on.
type expertsJob struct {
	dst, x device.Tensor
	to     device.Routing
	e      *device.Experts

	order  []int32 // pairs, token·Active + which, by expert and then by token
	place  []int32 // where each pair is in order
	from   []int32 // the token of each of order
	counts []int32 // pairs of each expert, and then where the next of them goes
	used   []expertRows
	gate   device.Tensor // [pairs][width], in order; silu(gate)·up in the end
	up     device.Tensor // [pairs][width], in order
	out    device.Tensor // [pairs][hidden], in order, where up was

	numbers device.Tensor // x, and then gate, as whole numbers, if an expert multiplies so

	inner  innerJob
	outer  outerJob
	gather gatherJob
}

// expertRows is an expert that has tokens: pairs [first, end) of order.
type expertRows struct{ expert, first, end int }

// Experts implements [device.Stream].
func (s *stream) Experts(dst, x device.Tensor, to device.Routing, e *device.Experts, room []float32) {
	width, hidden, pairs := e.Width(), e.Hidden(), len(to.Experts)
	if dst.Rows != x.Rows || dst.Cols != x.Cols || x.Cols != hidden || pairs != x.Rows*to.Active || len(to.Weights) != pairs {
		mismatch("Experts", "[%d][%d] by %d of %d experts [%d][%d] into [%d][%d]", x.Rows, x.Cols, to.Active, e.Len(), width, hidden, dst.Rows, dst.Cols)
	}
	if need := x.Rows * device.ExpertsRoom(to.Active, width, hidden); len(room) < need {
		mismatch("Experts", "%d elements of room for %d tokens, which need %d", len(room), x.Rows, need)
	}
	if pairs == 0 {
		return
	}
	j := &s.experts
	j.dst, j.x, j.to, j.e = dst, x, to, e
	j.gate = device.Tensor{Rows: pairs, Cols: width, Data: room[:pairs*width]}
	j.up = device.Tensor{Rows: pairs, Cols: width, Data: room[pairs*width:][:pairs*width]}
	j.out = device.Tensor{Rows: pairs, Cols: hidden, Data: room[pairs*width:][:pairs*hidden]}
	j.sort()
	j.inner.expertsJob, j.outer.expertsJob, j.gather.expertsJob = j, j, j
	if !s.expertNumbers(x, e.Gate, e.Up) {
		return
	}
	s.pieces(&j.inner, &j.inner.split, width, e.Gate[0], 2)
	if !s.expertNumbers(j.gate, e.Down) {
		return
	}
	s.pieces(&j.outer, &j.outer.split, hidden, e.Down[0], 1)
	s.run(&j.gather, dst.Rows, 0.4*float64(to.Active*hidden))
}

// sort orders the pairs.
func (j *expertsJob) sort() {
	n := j.e.Len()
	j.counts = grown(j.counts, n)
	clear(j.counts)
	for i, e := range j.to.Experts {
		if e < 0 || int(e) >= n {
			mismatch("Experts", "pair %d goes to expert %d of %d", i, e, n)
		}
		j.counts[e]++
	}
	j.used = j.used[:0]
	at := 0
	for e, count := range j.counts {
		if count > 0 {
			j.used = append(j.used, expertRows{e, at, at + int(count)})
		}
		j.counts[e] = int32(at)
		at += int(count)
	}
	j.order, j.place, j.from = grown(j.order, at), grown(j.place, at), grown(j.from, at)
	for i, e := range j.to.Experts {
		to := j.counts[e]
		j.counts[e]++
		j.order[to], j.place[i], j.from[to] = int32(i), to, int32(i/j.to.Active)
	}
}

// expertNumbers makes whole numbers of x if an expert in use multiplies many rows with such a matrix so. It reports whether there was memory for it.
func (s *stream) expertNumbers(x device.Tensor, matrices ...[]device.Matrix) bool {
	s.experts.numbers = device.Tensor{}
	for _, u := range s.experts.used {
		for _, of := range matrices {
			if _, whole := wholeGEMM(of[u.expert]); whole && u.end-u.first > dotTokens {
				var ok bool
				s.experts.numbers, ok = s.wholeNumbers(x)
				return ok
			}
		}
	}
	return true
}

// split is the products of the experts in use as items: each the same number of rows of one expert's matrix.
type split struct{ rows, each int } // rows of an item, and items of an expert

// pieces runs a job whose items are rows of matrices like w, so many of which it reads for each.
func (s *stream) pieces(j job, to *split, rows int, w device.Matrix, matrices float64) {
	const perByte, perProduct, least = 0.07, 0.03, 16 // nanoseconds; rows
	used := len(s.experts.used)
	pairs := float64(len(s.experts.order)) / float64(used) // of an expert, on average
	cost := matrices * max(perByte*float64(w.Format.MatrixBytes(1, w.Cols)), perProduct*float64(w.Cols)*pairs)
	to.rows = maxTile
	for to.rows > least && (float64(to.rows)*cost > 4*grain || used*((rows+to.rows-1)/to.rows) < 4*s.pool.threads) && (to.rows > minTile || pairs <= float64(dotTokens)) {
		to.rows /= 2
	}
	to.each = (rows + to.rows - 1) / to.rows
	s.pool.run(&s.batch, &s.own, j, used*to.each, 1, float64(used*rows)*cost)
}

// rowsOf is the rows of an item, of an expert's matrices with so many.
func (s split) rowsOf(item, rows int) (used, first, end int) {
	first = item % s.each * s.rows
	return item / s.each, first, min(first+s.rows, rows)
}

// innerJob is what is between the two products of an expert.
type innerJob struct {
	*expertsJob
	split split
}

func (j *innerJob) run(first, end int, w *worker) {
	width := j.gate.Cols
	for i := first; i < end; i++ {
		n, a, b := j.split.rowsOf(i, width)
		u := j.used[n]
		from := j.from[u.first:u.end]
		product(j.gate.Slice(u.first, u.end), j.x, j.numbers, from, j.e.Gate[u.expert], a, b, w)
		product(j.up.Slice(u.first, u.end), j.x, j.numbers, from, j.e.Up[u.expert], a, b, w)
		for r := u.first; r < u.end; r++ {
			gate := j.gate.Row(r)[a:b]
			simd.SwiGLU(gate, gate, j.up.Row(r)[a:b])
		}
	}
}

// outerJob is the second product of an expert.
type outerJob struct {
	*expertsJob
	split split
}

func (j *outerJob) run(first, end int, w *worker) {
	for i := first; i < end; i++ {
		n, a, b := j.split.rowsOf(i, j.out.Cols)
		u := j.used[n]
		numbers := j.numbers
		if numbers.Rows > 0 {
			numbers = numbers.Slice(u.first, u.end)
		}
		product(j.out.Slice(u.first, u.end), j.gate.Slice(u.first, u.end), numbers, nil, j.e.Down[u.expert], a, b, w)
	}
}

// gatherJob adds up, for each token, what its experts gave, in the order in which they were chosen.
type gatherJob struct{ *expertsJob }

func (j *gatherJob) run(first, end int, _ *worker) {
	k := j.to.Active
	for t := first; t < end; t++ {
		dst := j.dst.Row(t)
		for i := t * k; i < (t+1)*k; i++ {
			weight := j.to.Weights[i]
			for c, v := range j.out.Row(int(j.place[i]))[:len(dst)] {
				dst[c] += weight * v
			}
		}
	}
}

// product sets columns [a, b) of dst to x by rows [a, b) of w, where row i of x is that of number from[i], if there is from; numbers is x as whole numbers.
func product(dst, x, numbers device.Tensor, from []int32, w device.Matrix, a, b int, worker *worker) {
	if dst.Rows > dotTokens {
		worker.packs()
		j := newGEMM(dst, device.Tensor{Rows: dst.Rows, Cols: x.Cols, Data: x.Data}, w)
		j.from, j.cols, j.numbers = from, b-a, numbers
		for row := 0; row < dst.Rows; row += j.rows {
			j.tile(row, a, worker)
		}
		return
	}
	switch len(from) {
	case 0:
	case 1:
		x = x.Slice(int(from[0]), int(from[0])+1)
	default:
		worker.gathered = grow(worker.gathered, len(from)*x.Cols)
		for i, row := range from {
			copy(worker.gathered[i*x.Cols:(i+1)*x.Cols], x.Row(int(row)))
		}
		x = device.Tensor{Rows: len(from), Cols: x.Cols, Data: worker.gathered}
	}
	j := dotsJob{dst: dst, x: x, w: w}
	j.prepare(&worker.whole)
	j.run(a, b, worker)
}
