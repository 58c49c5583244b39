package bench

import (
	"time"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/device/cpu"
)

// Limits measures what a number of threads of this process can compute at the most, to compare with.
type Limits struct {
	threads int
	device  *cpu.Device
	stream  device.Stream
	dst, x  device.Tensor
	w       device.Matrix
}

// The large product: a chunk of tokens with the largest matrix of a layer of Llama-3.2-1B.
const (
	productTokens = 512
	productRows   = 8192
	productCols   = 2048
)

// NewLimits makes ready to measure. Close must follow.
func NewLimits(threads int) *Limits {
	l := &Limits{threads: threads, device: cpu.New(threads), dst: device.NewTensor(productTokens, productRows), x: device.NewTensor(productTokens, productCols),
		w: device.Matrix{Format: device.BF16, Rows: productRows, Cols: productCols, Data: make([]byte, productRows*device.BF16.MatrixBytes(1, productCols))}}
	l.stream = l.device.NewStream()
	for i := range l.w.Data {
		l.w.Data[i] = 0x3c // two of them are a small number
	}
	for i := range l.x.Data {
		l.x.Data[i] = 1 / float32(1+i%7)
	}
	return l
}

// Peak is what the multipliers do, see [cpu.MeasurePeak], in multiplications and additions a second.
func (l *Limits) Peak() float64 { return cpu.MeasurePeak(l.threads, peakTime) }

// Product is what a large product does, bf16 [512][2048] · [8192][2048]ᵀ, likewise.
func (l *Limits) Product() (float64, error) {
	start := time.Now()
	l.stream.MatMul(l.dst, l.x, l.w)
	if err := l.stream.Wait(); err != nil {
		return 0, err
	}
	return 2 * productTokens * productRows * productCols / time.Since(start).Seconds(), nil
}

// Close ends the threads.
func (l *Limits) Close() error {
	err := l.stream.Close()
	if failed := l.device.Close(); err == nil {
		err = failed
	}
	return err
}
