package cpu

import (
	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
)

const (
	// splitRows is up to how many queries the keys, too, are divided among workers.
	splitRows = 48
	// splitKeys is the least number of keys in a part.
	splitKeys = 1024
	// maxParts bounds the parts of one query's keys: a part begins with keys that nothing has asked for yet.
	maxParts = 16
	// maxSplits bounds those of all queries, and with them the memory for their results.
	maxSplits = 64
	// itemsEach is how many items each thread has at least, if there are several and heads to divide: they even out the threads' speeds.
	itemsEach = 8
)

type attendJob struct {
	p     attention.Partial
	q     []float32
	first int
	shape attention.Shape
	rows  int // queries of an item
	tiles int // items of the same heads and part
	heads int // key-value heads of an item, but for the last ones

	// Keys in parts; item = (head/heads·parts + part)·tiles + tile.
	kv     []attention.KV
	parts  int
	bounds [maxParts + 1]int // part i is slices[bounds[i]:bounds[i+1]]
	slices []attention.KV
	sums   attention.Partial // [parts·queries], if there is more than one part
}

// Attend implements [device.Stream].
func (s *stream) Attend(p attention.Partial, q device.Tensor, first int, shape attention.Shape, kv []attention.KV) {
	if q.Rows != p.Rows || q.Cols != shape.Heads*shape.HeadDim || p.Heads != shape.Heads || p.Dim != shape.HeadDim {
		mismatch("Attend", "queries [%d][%d] and a partial [%d][%d][%d], of shape %+v", q.Rows, q.Cols, p.Rows, p.Heads, p.Dim, shape)
	}
	keys := 0
	for i := range kv {
		keys += kv[i].Visible(first + q.Rows - 1)
	}
	if keys == 0 {
		return
	}
	j := &s.attend
	j.p, j.q, j.first, j.shape = p, q.Data, first, shape
	j.rows = attention.TileRows(shape)
	j.split(kv, keys)
	j.tiles = (q.Rows + j.rows - 1) / j.rows
	n := j.divide(s.pool.threads) * j.parts * j.tiles

	const perByte, perProduct, perQuery = 0.07, 0.03, 400 // nanoseconds; of a head
	bytes := float64(keys) * float64(shape.KVBytes(attention.F16))
	products := 2 * float64(keys) * float64(q.Rows) * float64(shape.Heads*shape.HeadDim)
	s.pool.run(&s.batch, &s.own, j, n, 1, max(perByte*bytes, perProduct*products)+perQuery*float64(q.Rows*shape.Heads))

	for part := range j.parts {
		if j.parts > 1 {
			attention.Merge(p, j.sums.Slice(part*p.Rows, (part+1)*p.Rows))
		}
	}
}

// split divides the keys that a few queries see into parts, by their number only, so that results do
// not depend on the number of threads. It takes many queries as they are.
func (j *attendJob) split(kv []attention.KV, keys int) {
	rows := j.p.Rows
	j.kv, j.parts = kv, 1
	if rows > splitRows {
		return
	}
	parts := min(keys/splitKeys, max(4, min(maxSplits/rows, maxParts)))
	if parts <= 1 {
		return
	}
	j.parts = parts
	j.slices = j.slices[:0]
	last := j.first + rows - 1
	block, at := 0, 0 // the first token that is not in a part yet
	for part := range parts {
		j.bounds[part] = len(j.slices)
		for want := keys/parts + bit(part < keys%parts); want > 0; {
			left := kv[block].Visible(last) - at
			if left <= 0 {
				block, at = block+1, 0
				continue
			}
			n := min(want, left)
			j.slices = append(j.slices, kv[block].Slice(at, at+n))
			at += n
			want -= n
		}
	}
	j.bounds[parts] = len(j.slices)
	if need := parts * rows; j.sums.Heads != j.shape.Heads || j.sums.Dim != j.shape.HeadDim || j.sums.Rows < need {
		j.sums = attention.NewPartial(need, j.shape)
	}
}

// divide chooses the heads of an item, and returns how many times the heads are divided. Results do not depend on it. An item of few queries
// has as many as leave work for each thread: in a block heads lie side by side, and memory that is read in a row is read faster.
func (j *attendJob) divide(threads int) int {
	all := j.shape.KVHeads
	j.heads = 1
	if j.p.Rows <= splitRows {
		j.heads = all
		if threads > 1 {
			j.heads = max(1, min(all, all*j.parts*j.tiles/(itemsEach*threads)))
		}
	}
	return (all + j.heads - 1) / j.heads
}

// bit is 1 if set.
func bit(set bool) int {
	if set {
		return 1
	}
	return 0
}

func (j *attendJob) run(first, end int, w *worker) {
	for i := first; i < end; i++ {
		row := i % j.tiles * j.rows
		part := i / j.tiles % j.parts
		j.item(i/j.tiles/j.parts*j.heads, part, row, min(row+j.rows, j.p.Rows), w)
	}
}

// item computes the queries [row, end) for an item's key-value heads, from head on, and one part of the keys.
func (j *attendJob) item(head, part, row, end int, w *worker) {
	width, until := j.shape.Heads*j.shape.HeadDim, min(head+j.heads, j.shape.KVHeads)
	q := j.q[row*width : end*width]
	if j.parts == 1 {
		w.flash.Attend(j.p.Slice(row, end), q, j.first+row, j.shape, head, until, j.kv)
		return
	}
	p := j.sums.Slice(part*j.p.Rows+row, part*j.p.Rows+end)
	p.ResetHeads(head*j.shape.Group(), until*j.shape.Group())
	w.flash.Attend(p, q, j.first+row, j.shape, head, until, j.slices[j.bounds[part]:j.bounds[part+1]])
}

// Reset implements [device.Stream].
func (s *stream) Reset(p attention.Partial) { p.Reset() }

// Merge implements [device.Stream].
func (s *stream) Merge(dst, src attention.Partial) { attention.Merge(dst, src) }

type finishJob struct {
	dst device.Tensor
	p   attention.Partial
}

// Finish implements [device.Stream].
func (s *stream) Finish(dst device.Tensor, p attention.Partial) {
	if dst.Rows != p.Rows || dst.Cols != p.Heads*p.Dim {
		mismatch("Finish", "a partial [%d][%d][%d] into [%d][%d]", p.Rows, p.Heads, p.Dim, dst.Rows, dst.Cols)
	}
	s.finish = finishJob{dst, p}
	s.run(&s.finish, dst.Rows, 0.3*float64(dst.Cols))
}

func (j *finishJob) run(first, end int, _ *worker) {
	attention.Finish(j.dst.Slice(first, end).Data, j.p.Slice(first, end))
}
