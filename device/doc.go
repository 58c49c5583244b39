// Package device is the narrow interface between Orrery and whatever computes.
//
// It is not a tensor algebra. It offers the few fused operations that a decoder needs, recorded in
// order on a [Stream]: on a CPU each runs at once, on a GPU a whole step is encoded ahead and runs
// when the host calls Wait. Activations are float32; weights are used in the format they were stored in.
//
// Tensors, blocks and weights lie in the device's [Memory]. A CPU's is the host's; what another one's slices point to only the device
// can reach, and the host reads and writes it by Memory's and Stream's copies.
package device
