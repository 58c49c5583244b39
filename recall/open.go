package recall

import (
	_ "embed"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/orrery-ai/orrery/model"
)

// Name is what the embedded model is called.
const Name = "recall"

// MaxTokens is the longest document that the model is reliable on: with it, a question and an answer,
// the context stays within what it was trained for.
const MaxTokens = 204_800

var (
	//go:embed model/config.json
	config string
	//go:embed model/model.safetensors
	weights string
	//go:embed model/tokenizer.json
	tokenizer string
	//go:embed model/tokenizer_config.json
	tokenizerConfig string
)

// forgotten is that the weights were let go of once: later, there may be huge pages in the place of the program's, which would be cleared.
var forgotten sync.Once

// Open opens the embedded model. Its weights are used where they lie in the program.
func Open() (*model.Model, error) {
	m, err := model.OpenEmbedded(Name, map[string]string{
		"config.json":           config,
		"model.safetensors":     weights,
		"tokenizer.json":        tokenizer,
		"tokenizer_config.json": tokenizerConfig,
	})
	forgotten.Do(func() { forget(weights) })
	return m, err
}

// forget lets go of the pages of a constant that were read so far, as fingerprints do here and there: a node pays for those of
// its own layers only. They are read from the program again when they are needed.
func forget(constant string) {
	p, page := unsafe.StringData(constant), os.Getpagesize()
	skip := int(-uintptr(unsafe.Pointer(p)) % uintptr(page))
	if whole := (len(constant) - skip) / page * page; whole > 0 {
		_ = unix.Madvise(unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(p), skip)), whole), unix.MADV_DONTNEED) // if it fails they merely stay
	}
}
