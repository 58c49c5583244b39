package device

// NumbersBytes is what a device may take, besides tensors, for products of so many rows of activations with quantized weights: these activations as
// whole numbers of 16 bits, and for each 32 of them a scale and a sum in float32.
func NumbersBytes(rows, cols int) int64 { return int64(rows) * int64(2*cols+2*4*(cols/32)) }
