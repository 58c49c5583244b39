package modeltest

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"os"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/internal/half"
)

// writeSafetensors writes the tensors, all in one format, one after the other.
func writeSafetensors(path string, format device.Format, tensors []tensor) (err error) {
	header, err := safetensorsHeader(format, tensors)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<16)
	defer func() { err = errors.Join(err, w.Flush(), f.Close()) }()
	if _, err := w.Write(header); err != nil {
		return err
	}
	var element [4]byte
	for _, t := range tensors {
		for v := range t.values {
			switch format {
			case device.F32:
				binary.LittleEndian.PutUint32(element[:], math.Float32bits(v))
			case device.F16:
				binary.LittleEndian.PutUint16(element[:], half.ToF16(v))
			case device.BF16:
				binary.LittleEndian.PutUint16(element[:], half.ToBF16(v))
			}
			if _, err := w.Write(element[:format.Bytes()]); err != nil {
				return err
			}
		}
	}
	return nil
}

// safetensorsHeader is the header with its length, padded so that the data starts at a multiple of 8.
func safetensorsHeader(format device.Format, tensors []tensor) ([]byte, error) {
	type entry struct {
		DType   string `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets [2]int `json:"data_offsets"`
	}
	entries := map[string]any{"__metadata__": map[string]string{"format": "pt"}}
	at := 0
	for _, t := range tensors {
		end := at + t.elements()*format.Bytes()
		entries[t.name] = entry{format.String(), t.shape, [2]int{at, end}}
		at = end
	}
	text, err := json.Marshal(entries)
	if err != nil {
		return nil, err
	}
	for len(text)%8 != 0 {
		text = append(text, ' ')
	}
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), nil
}
