// Package simd holds the inner loops of the CPU device and of attention on the CPU.
//
// Each routine is a plain Go loop, its twin, which its comment shows, and an assembly version, chosen once when the program
// starts: on amd64 for AVX2, FMA and F16C, and some a further one for AVX-VNNI, for AVX-512, for its VNNI, or for GFNI and VBMI2 too; on arm64 for NEON, which every such processor
// has. The assembly is generated: gen/ is a module of its own, so that its generators (gen for amd64, gen/neon for arm64) are
// not a dependency of Orrery. The build tag noasm leaves the assembly out, and ORRERY_SIMD=off in the environment turns it off,
// ORRERY_SIMD=avxvnni only what is for AVX-512, ORRERY_SIMD=avx2 what is for AVX-VNNI, too, ORRERY_SIMD=avx512 only what is for VNNI, ORRERY_SIMD=vnni only what is for GFNI. Other processors run the twins.
//
// Stored weights, keys and values are little-endian bytes, at any alignment: they lie in mapped files.
// F16 is the IEEE 754 half, BF16 the upper half of a float32. Assembly and twin may differ in the
// last bits, because they add in another order; either gives the same bits each time.
//
// Flush alone has no twin: without assembly, and on arm64, it reports that it cannot.
//
// Lengths are those of the Go loops: a slice that is too short panics.
package simd

//go:generate go run -C gen . ..
//go:generate go run -C gen ./neon ..
