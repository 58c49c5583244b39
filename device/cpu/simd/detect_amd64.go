//go:build amd64 && !noasm

package simd

import (
	"os"

	"github.com/klauspost/cpuid/v2"
)

// haveAVX2 says whether the assembly runs here.
var haveAVX2 = os.Getenv("ORRERY_SIMD") != "off" && cpuid.CPU.Supports(cpuid.AVX2, cpuid.FMA3, cpuid.F16C)
