package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

// Result is a kernel's time at one size.
type Result struct {
	Kernel         string  `json:"kernel"`
	Size           string  `json:"size"`
	Seconds        float64 `json:"seconds"`
	Bytes          int64   `json:"bytes"`            // that it must move at least
	Operations     float64 `json:"operations"`       // that it must compute, a multiplication and an addition counted as two
	BytesPerSecond float64 `json:"bytes_per_second"` // Bytes over Seconds
	PerSecond      float64 `json:"operations_per_second"`
	Limit          string  `json:"limit"` // "memory" or "matrix": which would take longer
	Share          float64 `json:"share"` // of it
}

// Report is all of a device.
type Report struct {
	Device    gpu.Info `json:"device"`
	Bandwidth float64  `json:"bandwidth"` // of the copy kernel, bytes/s read and written
	Matrix    float64  `json:"matrix"`    // of the large product, operations/s
	Results   []Result `json:"results"`
}

// Options say what is measured.
type Options struct {
	// Tiny is for the emulator: sizes that show that all runs, and say nothing about speed.
	Tiny bool
	// Only, if not nil, says which kernels are measured, by name.
	Only func(kernel string) bool
	// Progress, if not nil, is called before each measurement.
	Progress func(kernel, size string)
}

const (
	// runs is how many times are taken.
	runs = 15
	// batch is for how long launches are timed together, so that the clock's steps do not show.
	batch = 200 * time.Microsecond
	// maxBatch bounds their number.
	maxBatch = 64
	// limit bounds the wait for one measurement.
	limit = 5 * time.Minute
)

// measured is one thing to measure.
type measured struct {
	bytes      int64
	operations float64
	// launch runs it once, on copy i of its inputs.
	launch func(i int) error
}

// bench is the state of a run.
type bench struct {
	set    *kernels.Set
	queue  gpu.Queue
	opts   Options
	report Report
	memory []gpu.Buffer
}

// Names are those of the kernels that are measured, beside the limits.
func Names(tiny bool) []string {
	var names []string
	for _, c := range (&bench{opts: Options{Tiny: tiny}}).cases() {
		names = append(names, c.kernel)
	}
	return names
}

// Run measures the kernels of a set, until ctx ends.
func Run(ctx context.Context, set *kernels.Set, opts Options) (Report, error) {
	queue, err := set.Host().NewQueue()
	if err != nil {
		return Report{}, err
	}
	defer queue.Close()
	b := &bench{set: set, queue: queue, opts: opts, report: Report{Device: set.Host().Info()}}
	cases := append(b.limits(), b.cases()...)
	for i, c := range cases {
		if err := ctx.Err(); err != nil {
			return b.report, err
		}
		if i > 1 && opts.Only != nil && !opts.Only(c.kernel) {
			continue
		}
		if opts.Progress != nil {
			opts.Progress(c.kernel, c.size)
		}
		if err := b.measure(i, c); err != nil {
			return b.report, fmt.Errorf("%s, %s: %w", c.kernel, c.size, err)
		}
	}
	return b.report, nil
}

// limits are the first two of the cases.
func (b *bench) limits() []maker {
	return []maker{b.copyCase(), b.matrixCase()}
}

// maker makes the inputs of a measurement when its turn has come.
type maker struct {
	kernel, size string
	make         func(b *bench) (measured, error)
}

func (b *bench) measure(i int, c maker) error {
	defer b.release()
	m, err := c.make(b)
	if err != nil {
		return err
	}
	seconds, err := b.time(m)
	if err != nil {
		return err
	}
	r := Result{Kernel: c.kernel, Size: c.size, Seconds: seconds, Bytes: m.bytes, Operations: m.operations,
		BytesPerSecond: float64(m.bytes) / seconds, PerSecond: m.operations / seconds}
	switch i {
	case 0:
		b.report.Bandwidth = r.BytesPerSecond
	case 1:
		b.report.Matrix = r.PerSecond
	}
	r.Limit, r.Share = "memory", r.BytesPerSecond/b.report.Bandwidth
	if b.report.Matrix > 0 && m.operations/b.report.Matrix > float64(m.bytes)/b.report.Bandwidth {
		r.Limit, r.Share = "matrix", r.PerSecond/b.report.Matrix
	}
	b.report.Results = append(b.report.Results, r)
	return nil
}

// time is the median time of one launch, in seconds.
func (b *bench) time(m measured) (float64, error) {
	wait := func() error { return b.queue.Wait(time.Now().Add(limit)) }
	one := func(n, from int) (time.Duration, error) {
		b.queue.ResetMarks()
		start := b.queue.Mark()
		for i := range n {
			if err := m.launch(from + i); err != nil {
				return 0, err
			}
		}
		end := b.queue.Mark()
		if err := wait(); err != nil {
			return 0, err
		}
		return b.queue.Elapsed(start, end)
	}
	if _, err := one(1, 0); err != nil { // not counted: kernels are compiled, caches filled
		return 0, err
	}
	first, err := one(1, 1)
	if err != nil {
		return 0, err
	}
	n, count := 1, runs
	if b.opts.Tiny {
		count = 1
	} else {
		n = int(max(1, min(maxBatch, batch/max(first, time.Nanosecond))))
	}
	times := make([]float64, count)
	for i := range times {
		d, err := one(n, i*n)
		if err != nil {
			return 0, err
		}
		times[i] = d.Seconds() / float64(n)
	}
	slices.Sort(times)
	return max(times[len(times)/2], 1e-9), nil
}

// alloc takes memory that is given back after the measurement.
func (b *bench) alloc(n int64) (gpu.Range, error) {
	m, err := b.set.Host().Alloc(n, gpu.Local)
	if err != nil {
		return gpu.Range{}, err
	}
	b.memory = append(b.memory, m)
	return gpu.Range{Buffer: m}, nil
}

func (b *bench) release() {
	for _, m := range b.memory {
		m.Free()
	}
	b.memory = nil
}

// filled takes n bytes that hold data, again and again.
func (b *bench) filled(n int64, data []byte) (gpu.Range, error) {
	r, err := b.alloc(n)
	if err != nil {
		return r, err
	}
	have := min(n, int64(len(data)))
	b.queue.Write(r, data[:have])
	for have < n { // twice as much each time
		more := min(have, n-have)
		b.queue.Copy(gpu.Range{Buffer: r.Buffer, Offset: have}, r, more)
		have += more
	}
	return r, b.queue.Wait(time.Now().Add(limit))
}
