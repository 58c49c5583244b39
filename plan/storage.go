package plan

import "fmt"

// Weights is how a model's matrices are stored. What is not a matrix stays in 16 bits.
type Weights uint8

// The formats of weights. The quantized ones are groups of 32 with an f16 scale, as in GGUF's Q4_0 to
// Q8_0; MLX's, with a scale and a bias for 64, take the same.
const (
	WeightsBF16   Weights = iota + 1 // 16 bits
	WeightsQ8                        // 8.5 bits
	WeightsQ6                        // 6.5 bits
	WeightsQ5                        // 5.5 bits
	WeightsQ4                        // 4.5 bits
	WeightsStored                    // as the model's files have them
)

var weightsNames = [...]string{WeightsBF16: "bf16", WeightsQ8: "q8", WeightsQ6: "q6", WeightsQ5: "q5", WeightsQ4: "q4", WeightsStored: "stored"}

// perGroup is the bytes of 32 parameters.
var perGroup = [...]int64{WeightsBF16: 64, WeightsQ8: 34, WeightsQ6: 26, WeightsQ5: 22, WeightsQ4: 18}

const mxfp4Group = 17 // bytes of 32 parameters: a shared exponent and 4 bits each

// String names the format as the --weights flag does.
func (w Weights) String() string { return weightsNames[w] }

// UnmarshalText reads the name.
func (w *Weights) UnmarshalText(b []byte) error {
	for f := WeightsBF16; f <= WeightsStored; f++ {
		if string(b) == f.String() {
			*w = f
			return nil
		}
	}
	return fmt.Errorf("weights %q are not bf16, q8, q6, q5, q4 or stored", b)
}

// bytes is the size of so many parameters of matrices.
func (w Weights) bytes(params int64) int64 { return (params*perGroup[w] + 31) / 32 }

// KV is how keys and values are stored.
type KV uint8

// The formats of keys and values. The quantized ones are groups of 32 with an f16 scale, within each
// vector of the cache.
const (
	KVF16 KV = iota + 1 // 16 bits
	KVQ8                // 8.5 bits
	KVQ4                // 4.5 bits
)

var kvNames = [...]string{KVF16: "f16", KVQ8: "q8", KVQ4: "q4"}

// String names the format as the --kv flag does.
func (k KV) String() string { return kvNames[k] }

// UnmarshalText reads the name.
func (k *KV) UnmarshalText(b []byte) error {
	for f := KVF16; f <= KVQ4; f++ {
		if string(b) == f.String() {
			*k = f
			return nil
		}
	}
	return fmt.Errorf("KV format %q is not f16, q8 or q4", b)
}

// bytes is the size of one vector of the cache.
func (k KV) bytes(elements int) int64 {
	groups := (int64(elements) + 31) / 32
	switch k {
	case KVQ8:
		return groups * 34
	case KVQ4:
		return groups * 18
	}
	return 2 * int64(elements)
}

// bits is what an element has, scales aside.
func (k KV) bits() int { return [...]int{KVF16: 16, KVQ8: 8, KVQ4: 4}[k] }

// MarshalText writes the name.
func (w Weights) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// MarshalText writes the name.
func (k KV) MarshalText() ([]byte, error) { return []byte(k.String()), nil }
