// Package emulator runs GPU kernels on the processor, to test them on any machine.
//
// The system's C++ compiler makes a shared library of each unit, which is cached by what it was made of. A group's threads
// are fibers on one thread of the system, switched at each barrier and simdgroup operation, so a run is
// deterministic, and can be repeated with the lanes and simdgroups in another order ([Host.SetOrder]): a kernel that lacks
// a barrier then gives another result. Memory that nothing has written holds NaN in all types. An access outside of
// a buffer, threads that part at a barrier, and too much threadgroup memory end the launch with an error that says where.
//
// It checks results, not speed: it is hundreds of times slower than package cpu.
package emulator
