// Package gated is the queue of a GPU whose launches may depend on messages of other machines. All of a step is given to the GPU
// ahead, and nothing of it is computed from a message that has not arrived.
//
// # Gates
//
// Where a step awaits a message, a kernel, the gate, looks at the lane's words. On arrival it ends. If the lane has failed, if the host gives
// the abort word, or after so many looks, it poisons the step: it notes why and where, and sets the sizes of all launches behind
// it in the batch to no groups. Those launches take their sizes from memory, so they do nothing; that includes the ones that tell others of results. A later
// batch of the step begins with a gate that only asks whether the step is poisoned. On devices where a launch cannot take its size from memory all launches
// behind gates look at one word of the device's instead, which the gate sets to 0.
//
// How a gate is reached differs. With events ("safe") the GPU waits for an event of the driver's, and the gate looks at once. Without ("fast")
// the gate spins, on memory that the processor and the GPU see alike. Both are bounded: by the count of looks, and by the
// host, which gives the abort word when its patience ends or the deadline comes.
//
// # Splitting
//
// What lies before the gate that poisoned a step has run once, and nothing behind it has run at all. So the step goes on from there, split: the host waits for
// the message, gives the GPU what lies before the next one, waits for that, and so on. The next step is whole again.
//
// The package knows nothing of Metal or CUDA: a [Device] runs the batches. [Runner] is one for any plain queue, such as the emulator's.
package gated
