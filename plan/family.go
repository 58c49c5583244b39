package plan

import (
	"maps"
	"slices"
	"strings"
)

// Arch is the geometry of a model, as far as memory and speed depend on it.
type Arch struct {
	Type      string // model_type
	Hidden    int    // width of the hidden state
	Heads     int    // query heads
	Vocab     int    //
	Positions int    // longest context that it was made for; 0 is unknown
	Tied      bool   // the head is the embedding
	Layers    []Layer
	Stored    *Stored // what its files have; nil if only its configuration is known
}

// Stored is what the weights of a model take in its files, in bytes.
type Stored struct {
	Embed, Head int64   // the head with the last norm
	Layers      []int64 //
	Reads       []int64 // of each layer, what decoding a token reads

	ReadIn []map[string]int64 // of Reads, what is in which format, by its name; nil is not known
	HeadIn map[string]int64   // and of Head
}

// Layer is one layer's parameters and attention.
type Layer struct {
	Dense   int64 // parameters of matrices that every token uses
	Kept    int64 // parameters that are never quantized: norms, biases, routers, sinks
	Experts int   // routed experts
	Active  int   // of them, used by a token
	Expert  int64 // parameters of the matrices of one
	Bias    int64 // parameters of the biases of one, never quantized
	MXFP4   bool  // experts are stored as MXFP4, whatever the other matrices are
	Inner   int   // elements that the last product of an MLP takes, for all experts that a token uses
	Wide    int   // elements between the products of an MLP, for all experts that a token uses with what comes of each

	Rows   []int // elements of each vector that a token leaves in the cache, quantized one by one
	Window int   // tokens that it attends to; 0 is all
	Key    int   // elements of a query head, as it is sent and multiplied with keys
	Value  int   // elements of a head's result, as the partial result has it
}

// family adds what its model_type has in a layer. It may assume that nothing is wrong so far.
type family func(r *reader, a *Arch, layer int, l *Layer)

// families is every architecture whose sizes are known, by model_type. Shapes are those of the
// checkpoints, as transformers names them.
var families = map[string]family{
	"llama": func(r *reader, a *Arch, _ int, l *Layer) {
		grouped(r, a, l, r.AttentionBias, r.AttentionBias)
		dense(r, a, l)
		if r.MLPBias {
			l.Kept += int64(l.Wide) + int64(a.Hidden) // of gate and up, and of down
		}
	},
	"qwen2": func(r *reader, a *Arch, layer int, l *Layer) {
		grouped(r, a, l, true, false)
		windows(r, layer, l, r.UseWindow)
		dense(r, a, l)
	},
	"qwen3": func(r *reader, a *Arch, layer int, l *Layer) {
		grouped(r, a, l, r.AttentionBias, r.AttentionBias)
		normHeads(l)
		windows(r, layer, l, r.UseWindow)
		dense(r, a, l)
	},
	"qwen3_moe": func(r *reader, a *Arch, layer int, l *Layer) {
		grouped(r, a, l, r.AttentionBias, r.AttentionBias)
		normHeads(l)
		windows(r, layer, l, r.UseWindow)
		step := r.optional("decoder_sparse_step", r.SparseStep, 1, 1, maxLayers)
		if slices.Contains(r.DenseOnly, layer) || (layer+1)%step != 0 {
			dense(r, a, l)
			return
		}
		routed(r, a, l, r.number("num_experts", r.NumExperts, 1, maxExperts), r.number("moe_intermediate_size", r.ExpertWidth, 1, maxWidth))
	},
	"mixtral": func(r *reader, a *Arch, layer int, l *Layer) {
		grouped(r, a, l, false, false)
		windows(r, layer, l, r.Window != nil)
		routed(r, a, l, r.number("num_local_experts", r.LocalExperts, 1, maxExperts), r.number("intermediate_size", r.Intermediate, 1, maxWidth))
	},
	"glm4_moe": func(r *reader, a *Arch, layer int, l *Layer) {
		grouped(r, a, l, r.AttentionBias, false)
		if r.QKNorm {
			normHeads(l)
		}
		afterDense(r, a, layer, l)
	},
	"glm4_moe_lite": func(r *reader, a *Arch, layer int, l *Layer) {
		latent(r, a, l)
		afterDense(r, a, layer, l)
	},
	"deepseek_v3": func(r *reader, a *Arch, layer int, l *Layer) {
		latent(r, a, l)
		afterDense(r, a, layer, l)
	},
	"minimax_m2": func(r *reader, a *Arch, _ int, l *Layer) {
		grouped(r, a, l, false, false)
		l.Kept += int64(a.Heads*l.Key) + int64(len(l.Rows)/2*l.Key) // norms over the whole of q and k
		experts := r.number("num_local_experts", r.LocalExperts, 1, maxExperts)
		routed(r, a, l, experts, r.number("intermediate_size", r.Intermediate, 1, maxWidth))
		l.Kept += int64(experts) // correction of the routing
	},
	"gpt_oss": func(r *reader, a *Arch, layer int, l *Layer) {
		grouped(r, a, l, true, true)
		l.Kept += int64(a.Heads) // a sink for each head
		windows(r, layer, l, r.LayerTypes == nil && layer%2 == 0)
		experts, width := r.number("num_local_experts", r.LocalExperts, 1, maxExperts), r.number("intermediate_size", r.Intermediate, 1, maxWidth)
		routed(r, a, l, experts, width)
		l.Kept += int64(experts) // bias of the router
		l.Bias = int64(2*width + a.Hidden)
		l.MXFP4 = r.Quantization.Method == "mxfp4"
	},
}

// familyNames lists every model_type that is known, for people.
func familyNames() string { return strings.Join(slices.Sorted(maps.Keys(families)), ", ") }

// grouped is grouped-query attention: q, k, v and o, and keys and values of each KV head in the cache.
func grouped(r *reader, a *Arch, l *Layer, biases, outBias bool) {
	kvHeads := r.optional("num_key_value_heads", r.KVHeads, a.Heads, 1, a.Heads)
	if r.HeadDim == nil && a.Hidden%a.Heads != 0 {
		r.fail("num_attention_heads %d does not divide hidden_size %d, and head_dim is missing", a.Heads, a.Hidden)
	}
	if a.Heads%kvHeads != 0 {
		r.fail("num_key_value_heads %d does not divide num_attention_heads %d", kvHeads, a.Heads)
	}
	dim := r.optional("head_dim", r.HeadDim, max(a.Hidden/a.Heads, 1), 1, maxHeadDim)
	q, kv := int64(a.Heads*dim), int64(kvHeads*dim)
	l.Dense += int64(a.Hidden) * (2*q + 2*kv)
	if biases {
		l.Kept += q + 2*kv
	}
	if outBias {
		l.Kept += int64(a.Hidden)
	}
	l.Rows = slices.Repeat([]int{dim}, 2*kvHeads)
	l.Key, l.Value = dim, dim
}

// normHeads is an RMS norm over each head of q and k.
func normHeads(l *Layer) { l.Kept += 2 * int64(l.Key) }

// latent is multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): the cache is one latent and
// one rotated key for all heads. Queries are sent, and results come back, in the latent's space.
func latent(r *reader, a *Arch, l *Layer) {
	rank := r.number("kv_lora_rank", r.KVRank, 1, maxWidth)
	nope := r.number("qk_nope_head_dim", r.NopeDim, 1, maxHeadDim)
	rope := r.number("qk_rope_head_dim", r.RopeDim, 1, maxHeadDim)
	value := r.number("v_head_dim", r.VDim, 1, maxHeadDim)
	q := int64(a.Heads * (nope + rope))
	if qRank := int64(r.optional("q_lora_rank", r.QRank, 0, 0, maxWidth)); qRank > 0 {
		l.Dense += qRank * (int64(a.Hidden) + q)
		l.Kept += qRank
	} else {
		l.Dense += int64(a.Hidden) * q
	}
	l.Dense += int64(a.Hidden) * int64(rank+rope)
	l.Dense += int64(rank) * int64(a.Heads*(nope+value))
	l.Dense += int64(a.Heads*value) * int64(a.Hidden)
	l.Kept += int64(rank)
	if r.AttentionBias {
		l.Kept += int64(r.optional("q_lora_rank", r.QRank, 0, 0, maxWidth)) + int64(rank+rope) + int64(a.Hidden)
	}
	l.Rows = []int{rank, rope}
	l.Key, l.Value = rank+rope, rank
}

// windows makes a layer look back over sliding_window tokens only, where layer_types says so; where
// it is missing, otherwise decides.
func windows(r *reader, layer int, l *Layer, otherwise bool) {
	sliding := otherwise
	if r.LayerTypes != nil {
		if len(r.LayerTypes) != *r.Layers {
			r.fail("layer_types has %d layers, num_hidden_layers is %d", len(r.LayerTypes), *r.Layers)
			return
		}
		switch kind := r.LayerTypes[layer]; kind {
		case "full_attention", "sliding_attention":
			sliding = kind == "sliding_attention"
		default:
			r.fail("layer_types[%d] %.40q is unknown; known are full_attention and sliding_attention", layer, kind)
		}
	}
	if sliding {
		l.Window = r.number("sliding_window", r.Window, 1, maxPositions)
	}
}

// dense is a gated MLP: gate, up and down.
func dense(r *reader, a *Arch, l *Layer) {
	width := r.number("intermediate_size", r.Intermediate, 1, maxWidth)
	l.Dense += 3 * int64(a.Hidden) * int64(width)
	l.Inner, l.Wide = width, 2*width
}

// routed is a router over experts that are gated MLPs.
func routed(r *reader, a *Arch, l *Layer, experts, width int) {
	l.Experts = experts
	l.Active = r.number("num_experts_per_tok", r.ExpertsPerToken, 1, experts)
	l.Expert = 3 * int64(a.Hidden) * int64(width)
	l.Kept += int64(experts) * int64(a.Hidden)
	l.Inner, l.Wide = l.Active*width, l.Active*(width+max(width, a.Hidden))
}

// afterDense is the MLP of GLM and DeepSeek: dense in the first layers, then routed and shared experts,
// with a correction of the routing.
func afterDense(r *reader, a *Arch, layer int, l *Layer) {
	sparse := layer >= r.optional("first_k_dense_replace", r.FirstDense, 1, 0, maxLayers)
	if r.MLPTypes != nil {
		if len(r.MLPTypes) != *r.Layers {
			r.fail("mlp_layer_types has %d layers, num_hidden_layers is %d", len(r.MLPTypes), *r.Layers)
			return
		}
		sparse = r.MLPTypes[layer] == "sparse"
	}
	if !sparse {
		dense(r, a, l)
		return
	}
	experts, width := r.number("n_routed_experts", r.RoutedExperts, 1, maxExperts), r.number("moe_intermediate_size", r.ExpertWidth, 1, maxWidth)
	routed(r, a, l, experts, width)
	l.Kept += int64(experts)
	shared := r.optional("n_shared_experts", r.SharedExperts, 0, 0, maxExperts)
	l.Dense += int64(shared) * l.Expert
	l.Wide += 2 * shared * width
}

// Params is how many parameters the model has.
func (a *Arch) Params() int64 {
	n := a.table() + int64(a.Hidden)
	if !a.Tied {
		n += a.table()
	}
	for i := range a.Layers {
		n += a.Layers[i].params()
	}
	return n
}

func (l *Layer) params() int64 { return l.Dense + l.Kept + int64(l.Experts)*(l.Expert+l.Bias) }

// Active is how many parameters decoding a token uses: not all experts, and of the embedding one row.
func (a *Arch) Active() int64 {
	n := a.table() + int64(2*a.Hidden)
	for i := range a.Layers {
		l := &a.Layers[i]
		n += l.Dense + l.Kept + int64(l.Active)*(l.Expert+l.Bias)
	}
	return n
}

// table is the parameters of the embedding, or of the head.
func (a *Arch) table() int64 { return int64(a.Vocab) * int64(a.Hidden) }
