package model

import (
	"encoding/json"
	"fmt"
	"math"
)

// Rope says how positions become angles: position·frequency, with one frequency for each pair of
// elements of a head. Fields that the type does not use are zero.
type Rope struct {
	Type                 string  // "default", "linear", "llama3" or "factors"
	Theta                float64 // base of the frequencies
	Factor               float64 // linear, llama3: by how much the context was stretched
	LowFreq, HighFreq    float64 // llama3: turns over the original context below which all, above which nothing is stretched
	OriginalMaxPositions int     // llama3: context before the stretch, in tokens

	Factors     []float64 // factors: by how much each pair is slowed down, as GGUF files have them
	Interleaved bool      // pairs are neighbours, not half a head apart
}

// ropeTypes is every way of scaling that Orrery knows, as a function of a pair and its plain frequency.
var ropeTypes = map[string]func(r *Rope, pair int, freq float64) float64{
	"default": func(_ *Rope, _ int, freq float64) float64 { return freq },
	"linear":  func(r *Rope, _ int, freq float64) float64 { return freq / r.Factor },
	"llama3":  (*Rope).llama3,
	"factors": func(r *Rope, pair int, freq float64) float64 { return freq / r.Factors[pair] },
}

// llama3 stretches low frequencies by Factor, leaves high ones, and blends in between (the
// apply_scaling function of Meta's llama-models, Llama 3.1).
func (r *Rope) llama3(_ int, freq float64) float64 {
	turns := float64(r.OriginalMaxPositions) * freq / (2 * math.Pi)
	keep := (turns - r.LowFreq) / (r.HighFreq - r.LowFreq)
	keep = min(max(keep, 0), 1)
	return freq * (keep + (1-keep)/r.Factor)
}

// Frequencies are the angles by which one position turns each of the headDim/2 pairs:
// theta^(-2i/headDim), scaled (Su et al., RoFormer, 2021, section 3.2.2).
func (r *Rope) Frequencies(headDim int) []float64 {
	scale := ropeTypes[r.Type]
	f := make([]float64, headDim/2)
	for i := range f {
		f[i] = scale(r, i, math.Pow(r.Theta, -2*float64(i)/float64(headDim)))
	}
	return f
}

// rawRope is rope_scaling (older files) or rope_parameters (newer ones).
type rawRope struct {
	Type         *string  `json:"rope_type"`
	TypeOld      *string  `json:"type"`
	Theta        *float64 `json:"rope_theta"`
	Factor       *float64 `json:"factor"`
	LowFreq      *float64 `json:"low_freq_factor"`
	HighFreq     *float64 `json:"high_freq_factor"`
	Original     *int     `json:"original_max_position_embeddings"`
	RotaryFactor *float64 `json:"partial_rotary_factor"`

	Factors []float64 `json:"factors"`
}

// UnmarshalJSON refuses newer files' form of one object for each type of layer, which otherwise
// would read as no scaling at all.
func (r *rawRope) UnmarshalJSON(b []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return fmt.Errorf("rope parameters are not an object: %w", err)
	}
	for name, v := range fields {
		if v[0] == '{' {
			return fmt.Errorf("rope parameters for each type of layer (%.40q) are not known", name)
		}
	}
	type plain rawRope
	return json.Unmarshal(b, (*plain)(r))
}

// canStretch is whether frequencies times or over f stay finite, and above 0.
func canStretch(f float64) bool { return f >= 1e-6 && f <= 1e6 }

// rope joins the spellings, in the order of transformers: rope_scaling before rope_parameters, a
// theta inside them before one outside, rope_type before type.
func (r *rawConfig) rope(fam family, headDim int) (Rope, error) {
	where, raw := "rope_parameters", r.RopeParameters
	if r.RopeScaling != nil {
		where, raw = "rope_scaling", r.RopeScaling
	}
	if raw == nil {
		raw = &rawRope{}
	}
	out := Rope{Type: "default", Theta: fam.ropeTheta, Interleaved: r.RopeInterleave}
	for _, t := range []*string{raw.TypeOld, raw.Type} {
		if t != nil {
			out.Type = *t
		}
	}
	for _, theta := range []*float64{r.RopeTheta, raw.Theta} {
		if theta != nil {
			out.Theta = *theta
		}
	}
	if !(out.Theta > 1 && out.Theta < 1e15) {
		return Rope{}, fmt.Errorf("rope_theta %g is not between 1 and 1e15", out.Theta)
	}
	if _, ok := ropeTypes[out.Type]; !ok {
		return Rope{}, fmt.Errorf("%s: rope_type %.40q is unknown; known are %s", where, out.Type, known(ropeTypes))
	}
	if raw.RotaryFactor != nil && *raw.RotaryFactor != 1 {
		return Rope{}, fmt.Errorf("%s: partial_rotary_factor %g: a %s rotates whole heads", where, *raw.RotaryFactor, *r.ModelType)
	}
	switch out.Type {
	case "default":
		return out, nil
	case "factors":
		if len(raw.Factors) != headDim/2 {
			return Rope{}, fmt.Errorf("%s: %d factors for %d pairs", where, len(raw.Factors), headDim/2)
		}
		for i, f := range raw.Factors {
			if !canStretch(f) {
				return Rope{}, fmt.Errorf("%s: factors[%d] %g is not between 1e-6 and 1e6", where, i, f)
			}
		}
		out.Factors = raw.Factors
		return out, nil
	}
	set := func(to *float64, name string, from *float64) error {
		if from == nil {
			return fmt.Errorf("%s: %s is missing", where, name)
		}
		if !canStretch(*from) {
			return fmt.Errorf("%s: %s %g is not between 1e-6 and 1e6", where, name, *from)
		}
		*to = *from
		return nil
	}
	if err := set(&out.Factor, "factor", raw.Factor); err != nil {
		return Rope{}, err
	}
	if out.Type == "linear" {
		return out, nil
	}
	if err := set(&out.LowFreq, "low_freq_factor", raw.LowFreq); err != nil {
		return Rope{}, err
	}
	if err := set(&out.HighFreq, "high_freq_factor", raw.HighFreq); err != nil {
		return Rope{}, err
	}
	if out.LowFreq >= out.HighFreq {
		return Rope{}, fmt.Errorf("%s: low_freq_factor %g is not below high_freq_factor %g", where, out.LowFreq, out.HighFreq)
	}
	if err := setInt(&out.OriginalMaxPositions, where+": original_max_position_embeddings", raw.Original, 0, maxPositions); err != nil {
		return Rope{}, err
	}
	return out, nil
}
