// Package steering decides which mode a sequence should be in: at its start, and while its context grows. It
// is pure: what was predicted and measured in, decisions out, no clock, no I/O.
//
// # What it goes by
//
// A [Predictor] says how long a decode step takes in each mode at each context, how long a prompt takes to be
// read, and how long a switch takes. [Lessons] correct it: for each mode, the median of measured over
// predicted of the last steps that were measured. All sequences of a model learn together. A mode that was
// never measured is taken to be off by the square root of what the measured ones are off by: part of an error
// is that of the machines, which all modes share, and part is the mode's own.
//
// Without a Predictor there are only measurements. A mode that was never measured is then tried once, when
// there are many tokens to come.
//
// # The rules
//
// At the start of a job that mode is chosen in which the whole is predicted to be done first: reading the
// prompt, a switch to the mode that decodes it fastest if that is worth it, and writing as many tokens as are
// to come. If there is a cache already, a change must gain a tenth, three standard errors of what was measured
// on top, and twice its own time. A course that changes on the way must be faster by a hundredth.
//
// While tokens are written the pilot looks again every 16 of them, unless fewer are to come. It changes to another
// mode when
//
//   - a step there takes less at the present context by a twentieth, and three standard errors of what was
//     measured on top: the crossover is behind, and noise does not decide;
//   - over the tokens still to come it gains more than twice the time of the switch;
//   - the last change was 48 tokens ago or more, and there were fewer than 4 in this job.
//
// So it does not go to and fro. A mode to which a switch failed is left alone until the context is twice as
// long, and after the second time for good.
package steering
