// Package npy writes and reads matrices as NumPy files, format version 1.0 (numpy.lib.format).
package npy

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// Writer writes the rows of a float32 matrix, in any order and from any goroutine.
type Writer struct {
	w          io.WriterAt
	rows, cols int
	data       int64 // offset of the first element
}

// magic opens a file of version 1.0.
const magic = "\x93NUMPY\x01\x00"

// align is what the format wants the data's offset to be a multiple of.
const align = 64

// NewWriter writes the header of a [rows][cols] matrix.
func NewWriter(w io.WriterAt, rows, cols int) (*Writer, error) {
	dict := fmt.Sprintf("{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", rows, cols)
	total := (len(magic) + 2 + len(dict) + 1 + align - 1) / align * align
	header := make([]byte, total)
	for i := range header {
		header[i] = ' '
	}
	copy(header, magic)
	binary.LittleEndian.PutUint16(header[len(magic):], uint16(total-len(magic)-2))
	copy(header[len(magic)+2:], dict)
	header[total-1] = '\n'
	if _, err := w.WriteAt(header, 0); err != nil {
		return nil, err
	}
	return &Writer{w: w, rows: rows, cols: cols, data: int64(total)}, nil
}

// WriteRows writes consecutive rows, [n][cols], from first on.
func (w *Writer) WriteRows(first int, rows []float32) error {
	n := len(rows) / w.cols
	if len(rows) != n*w.cols || first < 0 || first+n > w.rows {
		return fmt.Errorf("npy: %d elements from row %d do not fit in [%d][%d]", len(rows), first, w.rows, w.cols)
	}
	b := make([]byte, 4*len(rows))
	for i, v := range rows {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(v))
	}
	_, err := w.w.WriteAt(b, w.data+int64(first)*int64(w.cols)*4)
	return err
}
