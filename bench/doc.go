// Package bench measures what generation costs at a depth: in time, and in memory.
//
// A context is not computed up to the depth: its blocks are filled with made-up keys and values
// ([orrery.Session.Fill]), on the nodes and in the memory where a real context has them, and what comes after
// is computed for real. So 200,000 tokens can be measured in seconds.
package bench
