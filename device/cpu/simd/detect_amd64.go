//go:build amd64 && !noasm

package simd

import (
	"os"

	"github.com/klauspost/cpuid/v2"
)

// haveVBMI says that bytes can be put in any order, which the first processors with VNNI could not.
var haveVBMI = cpuid.CPU.Supports(cpuid.AVX512VBMI)

// nearAtOnce says that attention over halves has memory come into the first cache at once, rather than into the second and from there into the first: faster
// on AMD's processors, slower on Intel's, whose line fill buffers are few. Nothing but the vendor tells them apart.
var nearAtOnce = cpuid.CPU.IsVendor(cpuid.AMD)

// detect says which assembly runs here.
func detect() (avx2, avxVNNI, avx512, vnni, gfni bool) {
	limit := os.Getenv("ORRERY_SIMD")
	avx2 = limit != "off" && cpuid.CPU.Supports(cpuid.AVX2, cpuid.FMA3, cpuid.F16C)
	avxVNNI = avx2 && limit != "avx2" && cpuid.CPU.Supports(cpuid.AVXVNNI)
	avx512 = avx2 && limit != "avx2" && limit != "avxvnni" && cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512DQ, cpuid.AVX512VL)
	vnni = avx512 && limit != "avx512" && cpuid.CPU.Supports(cpuid.AVX512VNNI)
	gfni = vnni && limit != "vnni" && cpuid.CPU.Supports(cpuid.AVX512VBMI2, cpuid.GFNI)
	return avx2, avxVNNI, avx512, vnni, gfni
}

// detectDirect says whether products of one token had better ask for memory into the first cache at once: AMD's processors (measured with Zen 5) read so 2% to 20% faster than
// by way of the second, and Intel's do not.
func detectDirect() bool { return cpuid.CPU.VendorID == cpuid.AMD }
