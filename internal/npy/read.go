package npy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

// Read is the float32 matrix in a NumPy file of version 1.0, [rows][cols] in C order.
func Read(file []byte) (rows, cols int, data []float32, err error) {
	if !bytes.HasPrefix(file, []byte(magic)) || len(file) < len(magic)+2 {
		return 0, 0, nil, fmt.Errorf("npy: not a NumPy file of version 1.0")
	}
	at := len(magic) + 2 + int(binary.LittleEndian.Uint16(file[len(magic):]))
	if at > len(file) {
		return 0, 0, nil, fmt.Errorf("npy: the header of %d bytes ends after the file", at)
	}
	header := string(file[len(magic)+2 : at])
	_, shape, _ := strings.Cut(header, "'shape': ")
	if _, err := fmt.Sscanf(shape, "(%d, %d)", &rows, &cols); err != nil || !strings.Contains(header, "'<f4', 'fortran_order': False") {
		return 0, 0, nil, fmt.Errorf("npy: %s is not a matrix of float32 in C order", strings.TrimSpace(header))
	}
	if rows < 0 || cols < 0 || cols > 0 && rows > len(file)/4/cols || len(file)-at != 4*rows*cols {
		return 0, 0, nil, fmt.Errorf("npy: [%d][%d] does not make %d bytes of data", rows, cols, len(file)-at)
	}
	data = make([]float32, rows*cols)
	_, err = binary.Decode(file[at:], binary.LittleEndian, data)
	return rows, cols, data, err
}
