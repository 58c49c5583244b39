// Package modeltest makes small random models for tests: folders in Hugging Face layout that
// [model.Open] reads. Weights are drawn so that the residual stream stays near 1, attention scores
// vary enough for the context to matter, and logits spread over a few units, as a trained model's do.
package modeltest
