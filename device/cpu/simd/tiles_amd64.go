//go:build amd64 && !linux && !noasm

package simd

// tilesPermitted says that there are no tiles: how other systems give them is not known.
func tilesPermitted() bool { return false }
