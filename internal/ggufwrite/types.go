package ggufwrite

import (
	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/model/gguf"
)

// Types is what files call the formats that they can have.
var Types = map[device.Format]gguf.Type{
	device.F32: gguf.F32, device.F16: gguf.F16, device.BF16: gguf.BF16,
	device.Q8_0: gguf.Q8_0, device.Q4_0: gguf.Q4_0, device.Q4_K: gguf.Q4_K, device.Q6_K: gguf.Q6_K,
}
