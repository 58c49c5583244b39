package gpu

// Adopter is a [Host] whose kernels can read memory of the host's where it lies.
type Adopter interface {
	Host
	// Adopt is a place in a buffer that shares memory with data, which must lie in mapped memory, such as a file of weights: whole
	// pages around it are shared. Launches read it, and nothing writes it; it stays mapped until the buffer is freed.
	Adopt(data []byte) (Range, error)
}
