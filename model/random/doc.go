// Package random writes models of a given shape with random weights, in any format that Orrery loads. They say nothing sensible, and take
// the time and the memory of a trained model of that shape: they are for measuring.
package random
