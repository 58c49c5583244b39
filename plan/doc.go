// Package plan answers, without weights and without machines, what a model would need of a cluster
// and how fast it would be there. It is pure but for the files that it is handed.
//
//   - An [Arch] is what a config.json says of a model: for each layer how many parameters it has, how
//     many of them a token uses, and what its attention keeps and sends. Each model_type is a few lines
//     in family.go; reading the file is config.go.
//   - A [Weights] and a [KV] are storage formats, and with an Arch they make placement's Model and
//     Work (footprint.go).
//   - A [Cluster] is a YAML file of nodes and links (cluster.go).
//   - [Make] places the model in every mode and predicts speeds: a [Report] (report.go), or says what
//     would make it fit (advice.go). [Report.Draw] is the picture.
//   - [Scale] places and simulates it on growing numbers of the nodes: a [Scaling] (scaling.go), with a
//     [Verdict] of where each mode and each kind of exchange stops, and why (verdict.go).
//
// What is predicted is what package placement documents. It assumes that every kernel reaches the
// same share of a node's bandwidth and FLOPS.
package plan
