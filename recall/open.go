package recall

import (
	_ "embed"

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

// Open opens the embedded model. Its weights are used where they lie in the program.
func Open() (*model.Model, error) {
	return model.OpenEmbedded(Name, map[string]string{
		"config.json":           config,
		"model.safetensors":     weights,
		"tokenizer.json":        tokenizer,
		"tokenizer_config.json": tokenizerConfig,
	})
}
