//go:build linux

package cuda

import (
	"fmt"
	"runtime"
	"unsafe"

	"github.com/orrery-ai/orrery/metalkern/gpu"
)

// Arguments of cuTensorMapEncodeTiled.
const (
	tileElements  = 1  // CU_TENSOR_MAP_DATA_TYPE_UINT16
	tileSwizzle   = 3  // CU_TENSOR_MAP_SWIZZLE_128B
	tilePromotion = 2  // CU_TENSOR_MAP_L2_PROMOTION_L2_128B
	tileCols      = 64 // 128 bytes, what is swizzled
	tileAlign     = 64 // of the map, for the driver
)

var _ gpu.Tiles = (*Host)(nil)

// tensorMap is a TileMap where the driver can write it.
type tensorMap struct {
	room           [2 * len(gpu.TileMap{})]byte
	dims, strides  [2]uint64
	boxes, element [2]uint32
}

// TileMap implements [gpu.Tiles].
func (h *Host) TileMap(r gpu.Range, rows, cols, boxRows int) (m gpu.TileMap, err error) {
	b, ok := r.Buffer.(*buffer)
	if !ok || b.device == 0 || r.Offset < 0 || r.Offset > b.size-int64(rows)*int64(cols)*2 {
		return m, fmt.Errorf("cuda: tiles of [%d][%d] reach outside of their buffer", rows, cols)
	}
	t := &tensorMap{dims: [2]uint64{uint64(cols), uint64(rows)}, strides: [2]uint64{uint64(cols) * 2}, boxes: [2]uint32{tileCols, uint32(boxRows)}, element: [2]uint32{1, 1}}
	at := -uintptr(unsafe.Pointer(&t.room)) % tileAlign
	defer h.current()() // which the driver asks for, though it only writes to memory
	status := call(h.driver.tensorMap, uintptr(unsafe.Pointer(&t.room[at])), tileElements, 2, b.device+uintptr(r.Offset), uintptr(unsafe.Pointer(&t.dims)), uintptr(unsafe.Pointer(&t.strides)),
		uintptr(unsafe.Pointer(&t.boxes)), uintptr(unsafe.Pointer(&t.element)), 0, tileSwizzle, tilePromotion, 0)
	if status != 0 {
		return m, h.driver.check(fmt.Sprintf("a map of tiles of [%d][%d] at %#x", rows, cols, b.device+uintptr(r.Offset)), status)
	}
	copy(m[:], t.room[at:])
	runtime.KeepAlive(t)
	return m, nil
}
