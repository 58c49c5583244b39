package kernels

import (
	"maps"
	"slices"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/metalkern/dialect"
)

// Units is every kernel in the dialect, for the shapes that models have: one unit for each file. It is what checks of all kernels compile.
func Units() []dialect.Unit { return unitsOf(instances()) }

// HopperUnits is every kernel that is there for sm_90a only.
func HopperUnits() []dialect.Unit {
	var list []instance
	for _, g := range wideForms {
		list = append(list, wide(F16, g), wide(BF16, g))
	}
	for _, bits := range []int{16, 8, 4} {
		list = append(list, Layer{Shape: attention.Shape{Heads: 1, KVHeads: 1, HeadDim: attendDim}, Bits: bits}.attend())
	}
	return unitsOf(list)
}

// StreamUnits is every kernel that is for GPUs which copy to threadgroup memory on their own: for CUDA, and the emulator.
func StreamUnits() []dialect.Unit {
	var list []instance
	for _, f := range []WeightFormat{F16, BF16, Q8, Q4} {
		list = append(list, streamKernels(f)...)
	}
	for dim, forms := range stagedForms {
		for bits, g := range forms {
			list = append(list, Layer{Shape: attention.Shape{HeadDim: dim}, Bits: bits}.staged(g))
		}
	}
	return unitsOf(list)
}

func unitsOf(list []instance) []dialect.Unit {
	all, listed := map[string][]instance{}, map[string]bool{}
	for _, i := range list {
		if !listed[i.name] {
			listed[i.name] = true
			all[i.file] = append(all[i.file], i)
		}
	}
	var units []dialect.Unit
	for _, file := range slices.Sorted(maps.Keys(all)) {
		units = append(units, unit(file, all[file]))
	}
	return units
}

// instances are the kernels of all formats, head sizes and forms.
func instances() []instance {
	list := []instance{mergeInstance, {file: "store.metal", name: "append"}}
	for _, name := range []string{"norm_wide", "norm_narrow", "rope", "add", "add_bias", "swiglu", "reset", "copy16"} {
		list = append(list, rowsKernel(name))
	}
	for _, f := range []WeightFormat{F32, F16, BF16, Q8, Q4, Q4K, Q6K, Affine(4, 64, BF16), Affine(8, 64, F16), Affine(4, 32, F32)} {
		list = append(list, embedding(f), gemm(f, gemmSmall.of(f)), gemm(f, gemmLarge.of(f)))
		for _, tokens := range []int{1, 2, 4, 8} {
			list = append(list, matvec(f, tokens, matvecDefault))
			if tokens <= 2 {
				list = append(list, matvecOf(someMatvecs, f, tokens, matvecDefault), matvecOf(gatedMatvecs, f, tokens, matvecDefault))
			}
		}
		list = append(list, expertKernels(f)...)
		list = append(list, expertGemm(f, expertSmall.of(f)), expertGemm(f, expertLarge.of(f)))
		for _, chunk := range f.chunks() {
			list = append(list, packing(f, chunk), skinny(f, chunk, skinnyDefault))
		}
	}
	list = append(list, sampleKernels()...)
	list = append(list, routeKernels()...)
	list = append(list, splitting(F16), splitting(BF16))
	for _, dim := range []int{64, 80, 96, 128, 256} {
		for _, bits := range []int{16, 8, 4} {
			for _, group := range []int{8, 16} {
				l := Layer{Shape: attention.Shape{Heads: group, KVHeads: 1, HeadDim: dim}, Bits: bits}
				list = append(list, l.decode(l.decodeForm()))
			}
			l := Layer{Shape: attention.Shape{Heads: 1, KVHeads: 1, HeadDim: dim}, Bits: bits}
			list = append(list, l.prefill(l.prefillForm(applePool)), l.prefill(l.prefillForm(hopperPool)))
		}
		list = append(list, quantize(8, dim), quantize(4, dim))
	}
	capped := Layer{Shape: attention.Shape{Heads: 1, KVHeads: 1, HeadDim: 256}, Bits: 16, SoftCap: 1}
	list = append(list, capped.decode(capped.decodeForm()), capped.prefill(capped.prefillForm(applePool)), capped.prefill(capped.prefillForm(hopperPool)))
	return list
}

// Threadgroup memory of the two kinds of devices, in bytes.
const (
	applePool  = 32 << 10
	hopperPool = 227 << 10
)
