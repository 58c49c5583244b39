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
// depend on the mode. With [Auto] the mode is chosen, and changed as the context grows.
//
// # What to look for
//
//   - To take part in a cluster: [Config]. Join names a node of it, and Client drives it without computing. Where
//     other machines can reach the node, Start wants a certificate (Identity, from package ca), and
//     refuses with an [ExposedError] without one: docs/security.md.
//   - To load a model: [LoadOptions]. Memory for the whole context is reserved, or [Cluster.Load] refuses.
//   - To keep a KV cache between prompts: a [Session]. For a conversation: [Model.RenderChat].
//   - To compare numbers: [Model.Logits]. To see where time goes: [Model.Trace], [Generation.Stats].
//   - To see the nodes, and the ways between them: [Cluster.Status], [Cluster.MeasureLinks].
//   - To end: Close of whatever was opened. That of a [Cluster] unloads what was loaded there, and leaves.
//
// Errors that a program may act on can be told apart: a *placement.Refusal of Load, where a
// model does not fit, an [AdmissionError] or a [ContextError] where a sequence or a prompt does not, a [NodeLostError]
// where a node is gone, after which the next session is on those that are left, and [ErrClosed].
//
// The packages below, from the top: actors (who does what), engine (how a step is run), residence (which
// node holds which part of the KV cache), placement (what fits where), model, tokenizer, kvcache,
// transport, cluster (membership), ca (certificates), attention and device. docs/architecture.md is the tour.
package orrery
