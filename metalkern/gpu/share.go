package gpu

// Sharer is a [Host] whose kernels can use memory that other processes have mapped too, and that their devices use at the same time.
type Sharer interface {
	// Share is a buffer of such memory, which begins with a page of its own and stays mapped until the buffer is freed.
	Share(memory []byte) (Buffer, error)
}
