//go:build amd64 && !noasm

package simd

import (
	"os"

	"github.com/klauspost/cpuid/v2"
)

// haveVBMI says that bytes can be put in any order, which the first processors with VNNI could not.
var haveVBMI = cpuid.CPU.Supports(cpuid.AVX512VBMI)

// detect says which assembly runs here.
func detect() (avx2, avxVNNI, avx512, vnni, gfni, amx bool) {
	limit := os.Getenv("ORRERY_SIMD")
	avx2 = limit != "off" && cpuid.CPU.Supports(cpuid.AVX2, cpuid.FMA3, cpuid.F16C)
	avxVNNI = avx2 && limit != "avx2" && cpuid.CPU.Supports(cpuid.AVXVNNI)
	avx512 = avx2 && limit != "avx2" && limit != "avxvnni" && cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512DQ, cpuid.AVX512VL)
	vnni = avx512 && limit != "avx512" && cpuid.CPU.Supports(cpuid.AVX512VNNI)
	gfni = vnni && limit != "vnni" && cpuid.CPU.Supports(cpuid.AVX512VBMI2, cpuid.GFNI)
	amx = gfni && limit != "gfni" && tilesPermitted()
	return avx2, avxVNNI, avx512, vnni, gfni, amx
}

// detectDirect says whether memory had better come into the first cache at once, rather than into the second and from there into the first: on AMD's processors
// (measured with Zen 5) products of one token read 2% to 20% faster so, and attention over halves 10%. On Intel's, whose line fill buffers are few, both are
// slower. Nothing but the vendor tells them apart.
func detectDirect() bool { return cpuid.CPU.IsVendor(cpuid.AMD) }
