package model

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io/fs"
	"maps"
	"slices"
)

// sampleBytes is how much of each tensor enters the fingerprint.
const sampleBytes = 64

// Fingerprint tells models apart: SHA-256 over config.json, tokenizer.json, and of each file of
// weights the name, the size, the header and a few bytes from the middle of each tensor. The samples
// tell a fine-tuned model from its base, whose headers are the same; of the experts of a layer the first is looked at. It is no proof that two
// files are equal to the last byte.
func (m *Model) Fingerprint() [sha256.Size]byte { return m.fingerprint }

func (m *Model) takeFingerprint(config []byte) error {
	tokenizer, err := m.src.read("tokenizer.json")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	h := sha256.New()
	put := func(b []byte) { // with its length, so that no two sequences of parts run together alike
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	put(config)
	put(tokenizer)
	for _, f := range m.weights.files {
		put([]byte(f.name))
		put(binary.LittleEndian.AppendUint64(nil, uint64(f.size)))
		put(f.header)
	}
	for _, name := range slices.Sorted(maps.Keys(m.weights.tensors)) {
		if m.Config.otherExpert(name) { // there are thousands, and a page of the file is read for each
			continue
		}
		b := m.weights.tensors[name].data
		middle := max(len(b)/2-sampleBytes/2, 0)
		put(b[middle:min(middle+sampleBytes, len(b))])
	}
	m.fingerprint = [sha256.Size]byte(h.Sum(nil))
	return nil
}
