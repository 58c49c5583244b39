// Package device is the narrow interface between Orrery and whatever computes.
//
// It is not a tensor algebra. It offers the few fused operations that a decoder needs, recorded in
// order on a [Stream]: on a CPU each runs at once, on a GPU a whole step is encoded ahead and runs
// when the host calls Wait. Activations are float32; weights are used in the format they were stored in.
package device
