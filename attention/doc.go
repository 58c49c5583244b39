// Package attention holds the mathematics that lets a KV cache live anywhere in a cluster.
//
// Attention over a set of keys splits exactly. Over any partition of the keys each part i gives
// (o_i, m_i, l_i): the unnormalised weighted sum of the values, the running maximum of the scores
// and the sum of their exponentials. The parts merge into the exact result, in any grouping:
//
//	m = max m_i    l = Σ l_i e^(m_i-m)    o = Σ o_i e^(m_i-m)    attention = o / l
//
// (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018, section 3; Dao et al.,
// FlashAttention, 2022, section 3.1.) A [Partial] is such a part for a run of queries, [Merge] joins
// two, and [Finish] divides. The package also decides which node computes which tokens when a prompt
// is prefilled around a ring ([Balance]), and computes attention on the CPU ([Flash]), never storing
// a score matrix.
package attention
