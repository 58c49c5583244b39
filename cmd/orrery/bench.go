package main

type benchCmd struct {
	Decode    benchDecodeCmd    `cmd:"" help:"Measure decoding at depths, beside what is predicted."`
	Memory    benchMemoryCmd    `cmd:"" help:"Hold the memory that node processes take against what was predicted."`
	Transport benchTransportCmd `cmd:"" help:"Measure what goes between two processes, against plain connections."`
	Kernels   benchKernelsCmd   `cmd:"" help:"Measure the GPU kernels, and what share of the device's limits they reach."`
}
