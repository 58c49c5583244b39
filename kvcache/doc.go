// Package kvcache stores one node's part of the KV cache.
//
// A [Block] is a rectangle of a sequence's cache: some layers of some consecutive tokens. Its life
// ([State]) is open, while it grows at the owner of its layers; sealed, from its last token on, when
// it is immutable and may be copied, shared and moved; moving, while it is sent; and dropped. Blocks
// end at multiples of the block size, or earlier when their layers change owner. Keys and values are
// stored in the format of the cache from the start: what is stored of a token does not depend on its
// block, so that a query sees the same wherever a block ends and whoever holds it.
//
// A [Sequence] is the blocks of one sequence on this node. For each epoch that is in force it
// publishes a [Table], an immutable list of what the node holds, which attention reads without a
// lock. What grows is reached through a [Step], which only the goroutine that runs the step uses.
//
// Memory is taken from a [Budget] before it is allocated, so a node says that its cache is full
// instead of being killed.
package kvcache
