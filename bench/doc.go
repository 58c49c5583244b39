// Package bench measures what generation costs at a depth: in time, and in memory. [Decoding] and [Prefilling] measure a loaded
// model, [Attending] one operation of a CPU, [Exercise] takes a model through all that it needs memory for.
//
// [Comparison] holds predicted speeds of decoding against measured ones, by measuring in turns what predictions go by and how
// fast the model decodes.
//
// A speed alone says little on a machine whose own speed changes from one second to the next, as a virtual one's does. So what is
// measured is held against what the machine can do, measured just before or in turns with it: how fast memory is read ([cpu.PlainRead]), and how
// fast multipliers run and a large product is computed ([Limits]). Shares are medians of the quotients.
//
// A context is not computed up to the depth: its blocks are filled with made-up keys and values
// ([orrery.Session.Fill]), on the nodes and in the memory where a real context has them, and what comes after
// is computed for real. So 200,000 tokens can be measured in seconds.
package bench
