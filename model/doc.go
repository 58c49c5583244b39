// Package model reads models in Hugging Face layout and runs their layers on a device.
//
// A model is a folder with config.json, tokenizer.json and its weights: one model.safetensors, or
// shards named by model.safetensors.index.json; or it is a GGUF file, whose metadata amount to the same. Weights may be
// quantized, by MLX or in GGUF's blocks, and stay so. [Open] maps the weights into memory, read-only, so
// that a node pays only for the pages that its layers touch; [OpenEmbedded] does the same for files
// that are part of the program. Both check everything that a header can tell before any weight is
// read: every tensor of every layer is there, with its shape and a type that Orrery computes in.
//
// What an architecture is, is data: [Config] says the geometry, a table of families says what differs
// between them. A [Decoder] is a range of layers, bound to a model's weights. It records a step on a
// [device.Stream], in pieces, because attention in between belongs to whoever holds the keys:
//
//	d.Embed(st, s, ids)               // on the node that has the first layer
//	d.Angles(st, s, 0, first, len(ids)) // rotary angles, once a step, for all layers
//	for l := r.First; l < r.End; l++ {
//		d.QKV(st, l, s)           // s.Q, s.K, s.V
//		…                         // append K and V, attend with Q over the cluster: s.Attn
//		d.AfterAttention(st, l, s)
//	}
//	d.Logits(st, s, first, end, out)  // on the node that has the last layer
//
// The activations of a step live in a [Scratch], allocated once. Its size and those of the weights
// ([Model.LayerBytes], [Model.RangeBytes]) are known from headers alone, so that placement counts
// bytes before anything is loaded. [Model.Fingerprint] lets nodes see that they hold the same model.
package model
