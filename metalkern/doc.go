// Package metalkern finds the devices that run Orrery's GPU kernels.
//
// The kernels are written once, in a dialect that is a subset of the Metal Shading Language (package dialect), and lie in package
// kernels. A host (package gpu) compiles and runs them: package metal on Apple GPUs, package cuda on NVIDIA GPUs, and package emulator on any machine with a C++ compiler, to test
// them there. Package bench measures them.
package metalkern
