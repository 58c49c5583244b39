package main

// benchCmd measures.
type benchCmd struct {
	Decode    benchDecodeCmd    `cmd:"" help:"Measure decoding over depth, on one node or a cluster."`
	Prefill   benchPrefillCmd   `cmd:"" help:"Measure reading prompts, against what the multipliers and a large product reach."`
	Attention benchAttentionCmd `cmd:"" help:"Measure attention alone in each format of keys and values, against a plain read."`
	Pool      benchPoolCmd      `cmd:"" help:"Measure decoding over depth in each mode, on nodes of one core each: what pooling gains."`
	Memory    benchMemoryCmd    `cmd:"" help:"Hold the memory that node processes take against what was predicted."`
	Transport benchTransportCmd `cmd:"" help:"Measure what goes between two processes, against plain connections."`
	Kernels   benchKernelsCmd   `cmd:"" help:"Measure the GPU kernels, and what share of the device's limits they reach."`
	Read      benchReadCmd      `cmd:"" hidden:"" help:"Print how fast memory is read, as JSON."`
}

// Help is shown below the list of commands.
func (benchCmd) Help() string {
	return `Example:
  orrery bench decode --depth 0,4096,16384`
}
