// Package steering decides which mode a sequence should be in: at its start, and while its context grows. It
// is pure: what was predicted and measured in, decisions out, no clock, no I/O.
//
// # What it goes by
//
// A [Predictor] says how long it takes in each mode until each of so many sequences at a context has had a token, how long a prompt takes to be
// read, and how long a switch takes. [Lessons] correct it: for each mode, the median of measured over
// predicted of the last steps that were measured. All sequences of a model learn together. A mode that was
// never measured is taken to be off by the square root of what the measured ones are off by: part of an error
// is that of the machines, which all modes share, and part is the mode's own.
//
// Without a Predictor there are only measurements, of one sequence. A mode that was never measured is then tried once, when
// there are many tokens to come.
//
// # Several sequences
//
// Those that decode at the same time share steps, and gain less or more from a mode than one does. So each pilot weighs what it would be if all of them
// were in a mode ([Others]), with caches as long as theirs are on average. All weigh the same, and those that go together come to be in the same mode:
//
//   - how many there are is the median of the sequence's last 64 tokens, so that a brief one makes nobody change; and one that has fewer than half as many to
//     come does not change to where none of the others is;
//   - towards a mode in which others are the change need not be faster by any margin, since to be apart costs more than either mode;
//   - a job begins where others are, unless the whole is faster by a twentieth elsewhere, so that they will follow;
//   - a switch is taken to last as long as those of all who are not there yet.
//
// Lessons are learned from steps for which all were in one mode, apart for 1, 2, 3 to 4, 5 to 8, 9 to 16 and more sequences. For numbers that were never measured those of fewer hold.
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
