package device

import "github.com/orrery-ai/orrery/attention"

// Tensor is a dense activation, [Rows][Cols] float32, row-major. Data lies in the host's memory, or in that of a
// device, see [Memory].
type Tensor struct {
	Rows, Cols int
	Data       []float32
}

// NewTensor allocates a zeroed tensor on the host.
func NewTensor(rows, cols int) Tensor {
	return Tensor{Rows: rows, Cols: cols, Data: make([]float32, rows*cols)}
}

// Row is row i.
func (t Tensor) Row(i int) []float32 { return t.Data[i*t.Cols : (i+1)*t.Cols] }

// Slice is the view of rows [first, end).
func (t Tensor) Slice(first, end int) Tensor {
	return Tensor{Rows: end - first, Cols: t.Cols, Data: t.Data[first*t.Cols : end*t.Cols]}
}

// Reshape is the same elements seen as [rows][cols]; rows*cols must equal Rows*Cols.
func (t Tensor) Reshape(rows, cols int) Tensor {
	return Tensor{Rows: rows, Cols: cols, Data: t.Data[:rows*cols]}
}

// A Device computes. Its methods may be called from any goroutine.
type Device interface {
	Memory
	// Name says what it is, for people: "cpu (2 threads, avx2)".
	Name() string
	// Check returns an error that says why the device cannot attend over blocks in a format, with heads of a shape.
	Check(f attention.Format, s attention.Shape) error
	// Load makes a matrix ready for use in streams: in the device's memory, as long as it is not there already. On a CPU
	// it is the matrix itself. Each Load is taken back by an Unload of what it returned.
	Load(m Matrix) (Matrix, error)
	Unload(m Matrix)
	// LoadExperts and UnloadExperts are the same for experts, which have been checked.
	LoadExperts(e Experts) (Experts, error)
	UnloadExperts(e Experts)
	// NewStream makes a stream. Streams of one device may run at the same time.
	NewStream() Stream
	// Close frees what the device holds; no stream of it may be used afterwards.
	Close() error
}

// A Stream runs operations in the order in which they were recorded. It belongs to one goroutine. Tensors, partials and
// blocks lie in the device's memory, and matrices and weights have been loaded; so what the host reads or writes goes through
// Write, Upload and Download. What operations use must stay where it is until Wait has returned.
// T stands for the number of tokens in a step. An operation whose shapes do not fit panics: shapes
// come from a checked model configuration, so a mismatch is a mistake in Orrery.
type Stream interface {
	// Embed copies row ids[i] of table [vocabulary][hidden] to row i of dst [T][hidden].
	Embed(dst Tensor, table Matrix, ids []int32)
	// RMSNorm sets each row of dst to x/sqrt(mean(x²)+eps)·weight (Zhang and Sennrich, 2019).
	// dst may be x. Per-head norms pass a tensor reshaped to [T·heads][headDim].
	RMSNorm(dst, x Tensor, weight []float32, eps float32)
	// MatMul sets dst [T][w.Rows] to x [T][w.Cols] · wᵀ, accumulating in float32.
	MatMul(dst, x Tensor, w Matrix)
	// Add adds x to dst; AddBias adds b [cols] to each row of dst.
	Add(dst, x Tensor)
	AddBias(dst Tensor, b []float32)
	// Rope rotates the first 2·cos.Cols elements of each head of x [T][heads·headDim] in half-split
	// pairs (i, i+cos.Cols), or, interleaved, in pairs of neighbours (2i, 2i+1), by the angles of cos and
	// sin [T][rotated/2] (Su et al., 2021, section 3.4.2).
	Rope(x Tensor, headDim int, cos, sin Tensor, interleaved bool)
	// Append stores k and v [T][kvHeads·headDim] in kv, in its format, at tokens [at, at+T) of the
	// block. It does not change kv.Len.
	Append(kv *attention.KV, at int, k, v Tensor)
	// Attend accumulates into p the attention of q [T][heads·headDim], the queries of positions
	// first, first+1, …, over the keys in kv. A query sees only keys at its own position or before.
	Attend(p attention.Partial, q Tensor, first int, s attention.Shape, kv []attention.KV)
	// Reset makes p the part without keys.
	Reset(p attention.Partial)
	// Merge accumulates src into dst; Finish writes dst = p.O/p.L, [T][heads·headDim], and p is to be Reset then.
	Merge(dst, src attention.Partial)
	Finish(dst Tensor, p attention.Partial)
	// SwiGLU sets dst to silu(gate)·up; dst may be gate (Shazeer, 2020).
	SwiGLU(dst, gate, up Tensor)
	// Route chooses experts for each row of logits [T][experts]: those of the to.Active largest logits, of equal ones the first. Their weights
	// are those of the softmax over all experts or, normalized, over those that were chosen. A row with a logit that is not finite goes
	// to the first experts, with weights that are NaN.
	Route(to Routing, logits Tensor, normalized bool)
	// Experts adds to each row of dst [T][hidden] what its experts make of the row of x [T][hidden], times their weights: down(silu(gate(x))·up(x)).
	// What room holds, ExpertsRoom elements for each row, is lost; it begins at a multiple of 16 bytes.
	Experts(dst, x Tensor, to Routing, e *Experts, room []float32)
	// Argmax sets each element of to [T], of the device's memory, to the place of the largest of the row of x [T][n], of equal ones the
	// first; to -1 if the row has a NaN, or no finite element that is the largest.
	Argmax(to []int32, x Tensor)
	// Write copies src, which is the host's and may be changed when Write has returned, to dst; len(src) is Rows·Cols.
	Write(dst Tensor, src []float32)
	// Upload is the host's src in memory of the device, until the next Wait; it may be src itself. Once the operations that
	// read it have been recorded src may be changed.
	Upload(src []byte) []byte
	// Download is src, of the device, in memory of the host. It holds the data from the next Wait until another
	// operation is recorded after that; it may be src itself.
	Download(src []byte) []byte
	// Wait returns when everything recorded has run, or with the error that stopped it.
	Wait() error
	// Close frees what the stream holds. Nothing is pending, and nothing is recorded afterwards.
	Close() error
}

// A Batcher is a Stream that computes the attention of several sequences together.
type Batcher interface {
	Stream
	// AttendRows is Reset and Attend of each row of p by itself: row i of q attends to what rows[i] has.
	AttendRows(p attention.Partial, q Tensor, rows []Row, s attention.Shape)
}

// Row is what the query of a sequence attends to.
type Row struct {
	First int // its position
	KV    []attention.KV
}

// AttendRows has a stream do what a [Batcher] does, whether it is one or not.
func AttendRows(stream Stream, p attention.Partial, q Tensor, rows []Row, s attention.Shape) {
	if b, ok := stream.(Batcher); ok {
		b.AttendRows(p, q, rows, s)
		return
	}
	AttendEach(stream, p, q, rows, s)
}

// AttendEach is AttendRows row by row.
func AttendEach(stream Stream, p attention.Partial, q Tensor, rows []Row, s attention.Shape) {
	for i, r := range rows {
		part := p.Slice(i, i+1)
		stream.Reset(part)
		stream.Attend(part, q.Slice(i, i+1), r.First, s, r.KV)
	}
}
