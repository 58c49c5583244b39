package kernels

import (
	"maps"
	"slices"

	"github.com/orrery-ai/orrery/attention"
	"github.com/orrery-ai/orrery/metalkern/dialect"
)

// Units is every kernel, for the shapes that models have: one unit for each file. It is what checks of all kernels compile.
func Units() []dialect.Unit {
	all := map[string][]instance{}
	for _, i := range instances() {
		all[i.file] = append(all[i.file], i)
	}
	var units []dialect.Unit
	for _, file := range slices.Sorted(maps.Keys(all)) {
		units = append(units, unit(file, all[file]))
	}
	return units
}

func instances() []instance {
	list := []instance{mergeInstance}
	for _, bits := range []int{16, 8, 4} {
		for _, dim := range []int{64, 80, 96, 128, 256} {
			for _, group := range []int{8, 16} {
				l := Layer{Shape: attention.Shape{Heads: group, KVHeads: 1, HeadDim: dim}, Bits: bits}
				list = append(list, l.decode(l.decodeForm()))
			}
		}
	}
	return list
}
