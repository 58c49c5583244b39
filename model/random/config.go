package random

import (
	"encoding/json"
	"fmt"

	"github.com/orrery-ai/orrery/model"
)

// Extend is a config.json with another max_position_embeddings: a model of random weights can be measured
// at any length, whatever the one of its shape was made for. 0 leaves it.
func Extend(config []byte, positions int) ([]byte, error) {
	if positions == 0 {
		return config, nil
	}
	var fields map[string]any
	if err := json.Unmarshal(config, &fields); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	fields["max_position_embeddings"] = positions
	extended, err := json.MarshalIndent(fields, "", " ")
	if err != nil {
		return nil, err
	}
	if _, err := model.ParseConfig(extended); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	return extended, nil
}
