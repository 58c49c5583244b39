package metalkern

import (
	"cmp"
	"fmt"
	"slices"
	"unsafe"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/kernels"
)

// experts is a layer's experts that were loaded.
type experts struct {
	matrices []device.Matrix // loaded one by one
	spans    [][]byte        // memory of the host that the device shares
	numbers  [][]byte        // scales and biases of matrices in it
	table    []byte          // [experts]kernels.ExpertAddress, on the device
}

// LoadExperts implements [device.Device]: kernels find the experts by a table of their addresses.
func (d *Device) LoadExperts(e device.Experts) (device.Experts, error) {
	if err := e.Check(); err != nil {
		return e, fmt.Errorf("metalkern: %w", err)
	}
	if gate, up := formatOf(e.Gate[0]), formatOf(e.Up[0]); gate != up {
		return e, fmt.Errorf("%s computes with no experts whose gates are in %v, and what is beside them in %v; use --device cpu", d.Name(), gate, up)
	}
	loaded := device.Experts{Gate: slices.Clone(e.Gate), Up: slices.Clone(e.Up), Down: slices.Clone(e.Down)}
	x := &experts{}
	err := d.placeExperts(x, loaded)
	if err == nil {
		if err = kernelExperts(loaded).Check(); err != nil {
			err = fmt.Errorf("%w; use --device cpu", err)
		}
	}
	table := make([]kernels.ExpertAddress, loaded.Len())
	if err == nil {
		for i := range table {
			at := &table[i]
			for _, p := range []struct {
				m            device.Matrix
				data, scales *uint64
			}{{loaded.Gate[i], &at.Gate, &at.GateScales}, {loaded.Up[i], &at.Up, &at.UpScales}, {loaded.Down[i], &at.Down, &at.DownScales}} {
				if *p.data = d.distance(p.m.Data); len(p.m.Scales) > 0 {
					*p.scales = d.distance(p.m.Scales)
				}
			}
		}
		if x.table, err = d.Alloc(len(bytesOf(table))); err == nil {
			err = d.Write(x.table, bytesOf(table))
		}
	}
	if err != nil {
		d.freeExperts(x)
		return e, err
	}
	loaded.Place = x.table
	d.mu.Lock()
	defer d.mu.Unlock()
	d.experts[unsafe.SliceData(x.table)] = x
	return loaded, nil
}

// placeExperts puts the matrices of e where the device can read them: in the memory of the host, if it shares that, all that lie side by side at once,
// since there are thousands; else as Load does.
func (d *Device) placeExperts(x *experts, e device.Experts) error {
	var all []*device.Matrix
	for _, part := range e.Parts() {
		for i := range part {
			all = append(all, &part[i])
		}
	}
	if h, ok := d.host.(gpu.Adopter); ok && adoptable(all) {
		return d.adoptExperts(x, h, all)
	}
	for _, m := range all {
		loaded, err := d.Load(*m)
		if err != nil {
			return err
		}
		x.matrices = append(x.matrices, loaded)
		*m = loaded
	}
	return nil
}

// adoptable says whether kernels can read matrices where they lie.
func adoptable(all []*device.Matrix) bool {
	for _, m := range all {
		if !asStored(m.Format) || uintptr(unsafe.Pointer(unsafe.SliceData(m.Data)))%weightAlign != 0 {
			return false
		}
	}
	return true
}

// adoptExperts shares the memory of matrices with the device.
func (d *Device) adoptExperts(x *experts, h gpu.Adopter, all []*device.Matrix) error {
	begin := func(m *device.Matrix) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(m.Data))) }
	slices.SortFunc(all, func(a, b *device.Matrix) int { return cmp.Compare(begin(a), begin(b)) })
	for len(all) > 0 {
		first, n, size := all[0].Data, 1, len(all[0].Data)
		for n < len(all) && begin(all[n]) == begin(all[0])+uintptr(size) {
			size += len(all[n].Data)
			n++
		}
		from, err := h.Adopt(unsafe.Slice(unsafe.SliceData(first), size))
		if err != nil {
			return err
		}
		span, err := d.memory.enter(from, size)
		if err != nil {
			return err
		}
		x.spans = append(x.spans, span)
		for _, m := range all[:n] {
			m.Data, span = span[:len(m.Data):len(m.Data)], span[len(m.Data):]
		}
		for _, m := range all[:n] {
			if !m.Format.Affine() {
				continue
			}
			if m.Scales, err = d.numbers(*m); err != nil {
				return err
			}
			m.Biases = nil
			x.numbers = append(x.numbers, m.Scales)
		}
		all = all[n:]
	}
	return nil
}

// UnloadExperts implements [device.Device].
func (d *Device) UnloadExperts(e device.Experts) {
	at := unsafe.SliceData(e.Place)
	d.mu.Lock()
	x := d.experts[at]
	delete(d.experts, at)
	d.mu.Unlock()
	if x == nil {
		panic("metalkern: UnloadExperts of experts that were not loaded")
	}
	d.freeExperts(x)
}

func (d *Device) freeExperts(x *experts) {
	for _, m := range x.matrices {
		d.Unload(m)
	}
	for _, b := range append(x.spans, x.numbers...) {
		d.Free(b)
	}
	d.Free(x.table)
}

// kernelExperts is what kernels are told of experts, but for where they lie.
func kernelExperts(e device.Experts) kernels.Experts {
	of := func(m device.Matrix) kernels.Weights {
		return kernels.Weights{Format: formatOf(m), Rows: m.Rows, Cols: m.Cols}
	}
	return kernels.Experts{Gate: of(e.Gate[0]), Down: of(e.Down[0]), Count: e.Len()}
}

// routes is where a routing lies.
func (s *stream) routes(to device.Routing) kernels.Routes {
	m := s.device.memory
	return kernels.Routes{Chosen: m.bytes(bytesOf(to.Experts)), Weights: m.floats(to.Weights), Active: to.Active}
}

// Route implements [device.Stream].
func (s *stream) Route(to device.Routing, logits device.Tensor, normalized bool) {
	if to.Active < 1 || to.Active > logits.Cols || len(to.Experts) != logits.Rows*to.Active || len(to.Weights) != len(to.Experts) {
		mismatch("Route", "logits [%d][%d] to %d and %d of %d each", logits.Rows, logits.Cols, len(to.Experts), len(to.Weights), to.Active)
	}
	if logits.Rows > 0 {
		s.do(func() error {
			return s.device.set.Route(s.queue, s.routes(to), s.at(logits), logits.Rows, logits.Cols, normalized)
		})
	}
}

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
	s.do(func() error {
		m, k := s.device.memory, kernelExperts(*e)
		k.Origin, k.Table = s.device.origin, m.bytes(e.Place)
		lists, err := s.orders.atLeast(int(kernels.ListBytes(x.Rows, to.Active, e.Len())))
		if err != nil {
			return err
		}
		terms, err := s.terms.atLeast(int(kernels.ExpertTerms(x.Rows, to.Active, k)))
		if err != nil {
			return err
		}
		return s.device.set.Experts(s.queue, s.at(dst), s.at(x), s.routes(to), k, kernels.ExpertsRoom{
			Gate: m.floats(room[:pairs*width]), Other: m.floats(room[pairs*width:][:pairs*max(width, hidden)]), Lists: lists, Terms: terms,
		}, x.Rows)
	})
}

// Argmax implements [device.Stream].
func (s *stream) Argmax(to []int32, x device.Tensor) {
	if len(to) != x.Rows || x.Cols == 0 {
		mismatch("Argmax", "[%d][%d] into %d", x.Rows, x.Cols, len(to))
	}
	if x.Rows > 0 {
		s.do(func() error {
			scratch, err := s.orders.atLeast(int(kernels.ArgmaxBytes(x.Rows, x.Cols)))
			if err != nil {
				return err
			}
			return s.device.set.Argmax(s.queue, s.device.memory.bytes(bytesOf(to)), s.at(x), scratch, x.Rows, x.Cols)
		})
	}
}
