package device

import "fmt"

// Matrix is a weight matrix as it was stored: [Rows][Cols], row-major, little-endian, and never
// written. Data usually lies in a mapped file and stays valid until its model is closed.
type Matrix struct {
	Format     Format
	Rows, Cols int
	Data       []byte

	// Of affine formats only, [Rows][Cols/Group] in ScaleFormat, F32, F16 or BF16.
	Scales, Biases []byte
	ScaleFormat    Format
	Group          int // elements with one scale and one bias: 32, 64 or 128
}

// GroupBytes is the size of the Scales, and of the Biases, of an affine matrix.
func (m Matrix) GroupBytes() int { return m.Rows * (m.Cols / m.Group) * m.ScaleFormat.Bytes() }

// Check returns an error that says which size does not fit the others.
func (m Matrix) Check() error {
	switch b := m.Format.Block(); {
	case !m.Format.Valid():
		return fmt.Errorf("weights in format %v", m.Format)
	case m.Rows < 0 || m.Cols < 0:
		return fmt.Errorf("a matrix [%d][%d]", m.Rows, m.Cols)
	case m.Cols%b.Elements != 0:
		return fmt.Errorf("%d columns, in %v, whose blocks have %d elements", m.Cols, m.Format, b.Elements)
	case len(m.Data) < m.Format.MatrixBytes(m.Rows, m.Cols):
		return fmt.Errorf("%d bytes for [%d][%d] in %v, which take %d", len(m.Data), m.Rows, m.Cols, m.Format, m.Format.MatrixBytes(m.Rows, m.Cols))
	case !m.Format.Affine():
		return nil
	case m.Group != 32 && m.Group != 64 && m.Group != 128:
		return fmt.Errorf("groups of %d elements: %v has groups of 32, 64 or 128", m.Group, m.Format)
	case m.Cols%m.Group != 0:
		return fmt.Errorf("%d columns, in groups of %d elements", m.Cols, m.Group)
	case m.ScaleFormat.Bytes() == 0:
		return fmt.Errorf("scales in format %v: they are in F32, F16 or BF16", m.ScaleFormat)
	case len(m.Scales) < m.GroupBytes() || len(m.Biases) < m.GroupBytes():
		return fmt.Errorf("%d and %d bytes of scales and biases, which take %d each", len(m.Scales), len(m.Biases), m.GroupBytes())
	}
	return nil
}
