package cpu

import (
	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/device"
)

type appendJob struct {
	kv   *attention.KV
	at   int
	k, v device.Tensor
}

// Append implements [device.Stream].
func (s *stream) Append(kv *attention.KV, at int, k, v device.Tensor) {
	if kv.HeadDim <= 0 || kv.Format.Check(kv.HeadDim) != nil || k.Cols%kv.HeadDim != 0 || k.Rows != v.Rows || k.Cols != v.Cols || at < 0 || at+k.Rows > kv.Cap ||
		min(len(kv.K), len(kv.V)) < k.Cols/kv.HeadDim*kv.Format.PlaneBytes(kv.HeadDim, kv.Cap) {
		mismatch("Append", "[%d][%d] and [%d][%d] at token %d of a block of %d tokens with heads of %d elements, %d and %d bytes in %v",
			k.Rows, k.Cols, v.Rows, v.Cols, at, kv.Cap, kv.HeadDim, len(kv.K), len(kv.V), kv.Format)
	}
	s.store = appendJob{kv, at, k, v}
	s.run(&s.store, k.Rows, 0.4*float64(k.Cols))
}

func (j *appendJob) run(first, end int, _ *worker) {
	dim := j.kv.HeadDim
	for t := first; t < end; t++ {
		k, v := j.k.Row(t), j.v.Row(t)
		for head := range len(k) / dim {
			j.kv.Put(j.kv.K, head, j.at+t, k[head*dim:(head+1)*dim])
			j.kv.Put(j.kv.V, head, j.at+t, v[head*dim:(head+1)*dim])
		}
	}
}
