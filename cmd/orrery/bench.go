package main

type benchCmd struct {
	Kernels benchKernelsCmd `cmd:"" help:"Measure the GPU kernels, and what share of the device's limits they reach."`
}
