package gpu

// TileMap is how a device's copy engine finds the elements of a matrix: a part of a kernel's value, at a multiple of 64 bytes. What it holds is the driver's.
type TileMap [128]byte

// Tiles is implemented by hosts whose kernels may have tiles of matrices brought by the device's copy engine.
type Tiles interface {
	// TileMap describes elements of 16 bits [rows][cols], cols a multiple of 8, from r on, a multiple of 16 bytes, that are brought in
	// boxes of boxRows, at most 256, by 64, swizzled. What lies outside is brought as zeros.
	TileMap(r Range, rows, cols, boxRows int) (TileMap, error)
}
