package device

import "fmt"

// Experts are the gated MLPs of a layer that its router chooses from (Shazeer et al., 2017): as many of each part, all of one shape, and
// within a part of one format.
type Experts struct {
	Gate, Up []Matrix // [width][hidden]
	Down     []Matrix // [hidden][width]

	// Place is where a device that has loaded them keeps what it knows of them. It is the device's own.
	Place []byte
}

// Len is how many experts there are.
func (e *Experts) Len() int { return len(e.Gate) }

// Width is how many columns lie between an expert's two products.
func (e *Experts) Width() int { return e.Gate[0].Rows }

// Hidden is how many columns the input and the output of an expert have.
func (e *Experts) Hidden() int { return e.Gate[0].Cols }

// Check returns an error that says which expert is not like the first.
func (e *Experts) Check() error {
	if len(e.Gate) == 0 || len(e.Up) != len(e.Gate) || len(e.Down) != len(e.Gate) {
		return fmt.Errorf("%d gates, %d matrices up and %d down of experts", len(e.Gate), len(e.Up), len(e.Down))
	}
	if up, down := e.Up[0], e.Down[0]; up.Rows != e.Width() || up.Cols != e.Hidden() || down.Rows != e.Hidden() || down.Cols != e.Width() {
		return fmt.Errorf("experts of [%d][%d], [%d][%d] and [%d][%d]", e.Width(), e.Hidden(), up.Rows, up.Cols, down.Rows, down.Cols)
	}
	for _, part := range e.Parts() {
		for i, m := range part {
			if err := m.Check(); err != nil {
				return fmt.Errorf("expert %d: %w", i, err)
			}
			if !m.alike(part[0]) {
				return fmt.Errorf("expert %d has %s, expert 0 %s", i, m.kind(), part[0].kind())
			}
		}
	}
	return nil
}

// Parts is the three matrices of all experts: gate, up and down.
func (e *Experts) Parts() [3][]Matrix { return [...][]Matrix{e.Gate, e.Up, e.Down} }

// alike reports whether two matrices differ in their elements only.
func (m Matrix) alike(o Matrix) bool {
	return m.Rows == o.Rows && m.Cols == o.Cols && m.Format == o.Format && m.ScaleFormat == o.ScaleFormat && m.Group == o.Group
}

// kind is all of a matrix but its elements, for errors.
func (m Matrix) kind() string {
	s := fmt.Sprintf("[%d][%d] in %v", m.Rows, m.Cols, m.Format)
	if m.Format.Affine() {
		s += fmt.Sprintf(", groups of %d with scales in %v", m.Group, m.ScaleFormat)
	}
	return s
}

// Routing is which experts tokens go to. It lies in the device's memory.
type Routing struct {
	Active  int       // experts of a token
	Experts []int32   // [T][Active], the one with the largest logit first
	Weights []float32 // [T][Active]: what the experts' outputs are multiplied with
}

// Rows is the number of tokens, T.
func (r Routing) Rows() int { return len(r.Experts) / r.Active }

// ExpertsRoom is how many elements Experts needs for each token that goes to so many experts: what is between their products, and what
// comes of them.
func ExpertsRoom(active, width, hidden int) int { return active * (width + max(width, hidden)) }
