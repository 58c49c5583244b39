package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/orrery-ai/orrery/device"
	"github.com/orrery-ai/orrery/model/safetensors"
)

const (
	singleFile = "model.safetensors"
	indexFile  = "model.safetensors.index.json"
	maxShards  = 1024
)

// weightFile is one safetensors file of a model.
type weightFile struct {
	name   string
	size   int
	header []byte
}

// weights is every tensor of a model, whichever file it lies in.
type weights struct {
	files   []weightFile // by name
	tensors map[string]storedTensor
	stored  func(name string) string // what the files call the tensor of that name
}

// storedTensor is a tensor under the name that Hugging Face layout has for it.
type storedTensor struct {
	dtype  string        // as the file names it
	format device.Format // 0 if it is not known as weights
	shape  []int
	data   []byte

	scales, biases []byte // of MLX's formats
	scaleFormat    device.Format
	group          int

	file string
}

// bytes is what it takes in its file.
func (t *storedTensor) bytes() int64 {
	return int64(len(t.data)) + int64(len(t.scales)) + int64(len(t.biases))
}

// openWeights reads the headers of model.safetensors, or else of the shards that the index names.
func openWeights(src folder) (*weights, error) {
	w := &weights{tensors: map[string]storedTensor{}, stored: func(name string) string { return name }}
	err := w.add(src, singleFile, nil)
	if !errors.Is(err, fs.ErrNotExist) {
		return w, err
	}
	index, indexErr := src.read(indexFile)
	if errors.Is(indexErr, fs.ErrNotExist) {
		return nil, fmt.Errorf("neither %s nor %s: %w", singleFile, indexFile, err)
	}
	if indexErr != nil {
		return nil, indexErr
	}
	var parsed struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(index, &parsed); err != nil {
		return nil, fmt.Errorf("%s: %w", indexFile, err)
	}
	byShard := map[string][]string{}
	for tensor, shard := range parsed.WeightMap {
		byShard[shard] = append(byShard[shard], tensor)
	}
	if len(byShard) == 0 || len(byShard) > maxShards {
		return nil, fmt.Errorf("%s: weight_map names %d shards, not between 1 and %d", indexFile, len(byShard), maxShards)
	}
	for _, shard := range slices.Sorted(maps.Keys(byShard)) {
		if !filepath.IsLocal(shard) || filepath.Base(shard) != shard || strings.ContainsAny(shard, `/\`) {
			return nil, fmt.Errorf("%s: shard %q is not a file name beside it", indexFile, shard)
		}
		if err := w.add(src, shard, byShard[shard]); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// add parses a file and takes the tensors that the index places in it, or all if there is no index.
func (w *weights) add(src folder, name string, wanted []string) error {
	b, err := src.weights(name)
	if err != nil {
		return err
	}
	f, err := safetensors.Parse(b)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	w.files = append(w.files, weightFile{name: name, size: len(b), header: f.Header})
	if wanted == nil {
		wanted = slices.Collect(maps.Keys(f.Tensors))
	}
	for _, tensor := range wanted {
		t, ok := f.Tensors[tensor]
		if !ok {
			return fmt.Errorf("%s: tensor %q is missing, where %s places it", name, tensor, indexFile)
		}
		w.tensors[tensor] = storedTensor{dtype: t.DType, format: formats[t.DType], shape: t.Shape, data: t.Data, file: name}
	}
	return nil
}
