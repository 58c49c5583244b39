// Package orrery runs large language models on a cluster of unlike machines, and pools their memory
// bandwidth for long contexts.
//
// A program that embeds Orrery starts a node of its own, alone or as part of a cluster, loads a model,
// and generates:
//
//	c, err := orrery.Start(ctx, orrery.Config{})
//	m, err := c.Load(ctx, "recall", orrery.LoadOptions{})
//	g, err := m.Generate(ctx, prompt, orrery.GenerateOptions{MaxTokens: 64})
//	for token, err := range g.Tokens() {
//		fmt.Print(token.Text)
//	}
//
// While a generation runs, [Generation.SwitchMode] moves it between the modes: pipeline, where layers
// and their KV cache are split over the nodes; pooled, where every node holds a share of every layer's
// KV cache and all read at once; and ring, where prefill is split by tokens too. The tokens do not
// depend on the mode.
//
// Errors that a program may act on can be told apart: an [ExposedError] of Start, a *placement.Refusal of Load, where a
// model does not fit, an [AdmissionError] or a [ContextError] where a sequence or a prompt does not, a [NodeLostError]
// where a node is gone, after which the next session is on those that are left, and [ErrClosed].
//
// [Model.Trace] shows what every node does meanwhile, for each layer of each token.
//
// Where other machines can reach the node, Start wants a certificate (Config.Identity, from package ca), and
// refuses with an [ExposedError] without one: docs/security.md.
//
// The packages below, from the top: actors (who does what), engine (how a step is run), residence (which
// node holds which part of the KV cache), placement (what fits where), model, tokenizer, kvcache,
// transport, cluster (membership), ca (certificates), attention and device. docs/architecture.md is the tour.
package orrery
