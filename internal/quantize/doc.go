// Package quantize writes quantized weights, for tests and for models of random weights, and reads them back, one row
// at a time, by the definitions of package quant. It rounds each element to the nearest that scales taken from the
// extremes of its block allow, and does not search for better scales, as converters of models do.
package quantize
