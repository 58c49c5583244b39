package lint

import (
	"fmt"

	"github.com/orrery-ai/orrery/metalkern/dialect"
)

// cudaWords are those that NVRTC knows by itself. Clang knows the attributes behind them, but not the last two, which are of launches and arguments.
const cudaWords = `
#define __device__ __attribute__((__device__))
#define __global__ __attribute__((__global__))
#define __shared__ __attribute__((__shared__))
#define __launch_bounds__(...) __attribute__((__launch_bounds__(__VA_ARGS__)))
#define __cluster_dims__(...)
#define __grid_constant__
`

// CheckCUDA compiles a unit as NVRTC gets it for a compute capability, such as 80 or 90; what instructions mean in assembly is not looked at. The errors are those of [Check].
func CheckCUDA(u dialect.Unit, capability int) error {
	// Clang 14 knows no capability above 8.6, and it is the macro alone that units ask.
	cuda := language{"CUDA", []string{
		"-x", "cuda", "--cuda-device-only", "-nocudainc", "-nocudalib", "--cuda-gpu-arch=sm_80", "-std=c++17",
		"-Wno-builtin-macro-redefined", "-Wno-macro-redefined", fmt.Sprintf("-D__CUDA_ARCH__=%d0", capability),
	}}
	return cuda.check(u.Name, cudaWords, dialect.Source(dialect.CUDA, u))
}
