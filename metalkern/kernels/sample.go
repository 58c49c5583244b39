package kernels

import (
	"fmt"
	"math"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

const (
	// samplePart is how many logits a group looks through.
	samplePart = 2048
	// sampleParts is how many parts there can be.
	sampleParts = 256
	// sampleDigits is how many values a digit of a logit's bits has; digitBits are its bits.
	sampleDigits, digitBits = 32, 5
	// boundBytes is the size of a Bound, and bestBytes that of the place of the largest logit, rounded.
	boundBytes, bestBytes = 32, 16
	// maxScale is how far from 1 a temperature may be, either way.
	maxScale = 1024
)

// Draw is how to draw a token, see package sampling.
type Draw struct {
	Temperature float32
	TopK        int     // 0: all
	TopP, MinP  float32 // 0: all
	Number      uint64  // the random number, from 0 to 1, of 2^64
}

type sampleParams struct {
	goal, portion, number                     uint64
	scale, least                              float32
	cols, parts, known, turn, weighted, whole uint32
}

func sampleKernel(name string) instance { return instance{file: "sample.metal", name: name} }

func sampleKernels() []instance {
	return append(argmaxKernels(), sampleKernel("sample_narrow"), sampleKernel("sample_weigh"), sampleKernel("sample_draw"))
}

// Samples reports whether Sample draws so from so many logits. Temperatures beyond 1/1024 and 1024 are left to the host, where weights are float64.
func (d Draw) Samples(cols int) bool {
	return d.Temperature >= 1./maxScale && d.Temperature <= maxScale && cols > 0 && cols <= samplePart*sampleParts
}

// SampleBytes is the scratch that Sample needs.
func SampleBytes(cols int) int64 {
	parts := int64((cols + samplePart - 1) / samplePart)
	return bestBytes + max(ArgmaxBytes(1, cols), 2*boundBytes+8*parts*(2*sampleDigits+2))
}

// Sample writes to token int32 the one that d draws from logits x [cols]: -1 if one is NaN, or the largest is infinite. scratch is SampleBytes long.
func (s *Set) Sample(queue gpu.Queue, token, x, scratch gpu.Range, cols int, d Draw) error {
	k, err := s.keep(queue, x, scratch, cols, d)
	if err == nil {
		k.draw(queue, token, d.Number)
	}
	return err
}

// kept is what a Draw keeps of logits, on the device.
type kept struct {
	kernel                    gpu.Kernel
	params                    sampleParams
	x, bound, weights, equals gpu.Range
}

// draw writes the token in which number falls.
func (k *kept) draw(queue gpu.Queue, token gpu.Range, number uint64) {
	k.params.number = number
	gpu.Launch(queue, k.kernel, groups(1, 256), gpu.Buffers(k.x, k.bound, k.weights, k.equals, token), k.params)
}

// keep finds what d keeps.
func (s *Set) keep(queue gpu.Queue, x, scratch gpu.Range, cols int, d Draw) (k kept, err error) {
	if !d.Samples(cols) {
		return k, fmt.Errorf("kernels: a token of %d, at a temperature of %v, is not drawn on a device", cols, d.Temperature)
	}
	narrow, err := s.get(sampleKernel("sample_narrow"))
	if err != nil {
		return k, err
	}
	weigh, err := s.get(sampleKernel("sample_weigh"))
	if err != nil {
		return k, err
	}
	if k.kernel, err = s.get(sampleKernel("sample_draw")); err != nil {
		return k, err
	}
	parts := (cols + samplePart - 1) / samplePart
	offset := scratch.Offset
	take := func(n int) gpu.Range {
		r := gpu.Range{Buffer: scratch.Buffer, Offset: offset}
		offset += int64(n)
		return r
	}
	best := take(bestBytes)
	if err := s.Argmax(queue, best, x, take(0), 1, cols); err != nil {
		return k, err
	}
	bounds := [2]gpu.Range{take(boundBytes), take(boundBytes)}
	digits := [2]gpu.Range{take(8 * parts * sampleDigits), take(8 * parts * sampleDigits)}
	weights, equals := take(8*parts), take(8*parts)

	p := sampleParams{cols: uint32(cols), parts: uint32(parts), scale: float32(math.Log2E / float64(d.Temperature)), least: -math.MaxFloat32, whole: 1}
	if d.MinP > 0 {
		p.least = float32(float64(d.Temperature) * math.Log(float64(d.MinP)))
	}
	var from, to uint32
	launch := func(kernel gpu.Kernel, threads int, rest ...gpu.Range) {
		from, to = (p.turn+1)%2, p.turn%2
		buffers := append(make([]gpu.Range, 0, 7), x, best, bounds[from], digits[from], bounds[to])
		gpu.Launch(queue, kernel, groups(parts, threads), append(buffers, rest...), p)
		p.turn++
	}
	find := func() {
		for p.known = 0; p.known < 32; p.known += digitBits {
			launch(narrow, 64, digits[p.turn%2])
		}
	}
	if 0 < d.TopK && d.TopK < cols {
		p.goal = uint64(d.TopK)
		find()
	}
	if 0 < d.TopP && d.TopP < 1 {
		p.goal, p.weighted, p.whole = 0, 1, 0
		p.portion = uint64(math.Ldexp(float64(d.TopP), 64))
		find()
	}
	p.known = 35 // all of them
	launch(weigh, 256, weights, equals)
	k.params, k.x, k.bound, k.weights, k.equals = p, x, bounds[to], weights, equals
	return k, nil
}
