package sampling

import (
	"fmt"
	"math"
)

// Params say how to choose a token. The zero value is greedy.
type Params struct {
	Temperature float32 // divides the logits; 0 is greedy, whatever the other fields say
	TopK        int     // keep so many of the most probable; 0 keeps all
	TopP        float32 // keep the most probable that add up to so much; 0 and 1 keep all
	MinP        float32 // keep those so many times as probable as the most probable; 0 keeps all
	Seed        uint64  // the same seed draws the same tokens from the same logits
}

// Validate reports the first field whose value has no meaning.
func (p Params) Validate() error {
	// The comparisons are written so that NaN fails them.
	switch t := float64(p.Temperature); {
	case !(t >= 0) || math.IsInf(t, 1):
		return fmt.Errorf("temperature: %v is not a finite number of 0 or more", p.Temperature)
	case p.TopK < 0:
		return fmt.Errorf("top_k: %d is negative", p.TopK)
	case !(p.TopP >= 0 && p.TopP <= 1):
		return fmt.Errorf("top_p: %v is not from 0 to 1", p.TopP)
	case !(p.MinP >= 0 && p.MinP <= 1):
		return fmt.Errorf("min_p: %v is not from 0 to 1", p.MinP)
	}
	return nil
}
