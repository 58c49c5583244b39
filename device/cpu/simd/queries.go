package simd

// Queries are those of some tokens and key-value heads, each of the query heads of one token that share keys, ready for scores with rows of 8 or 4 bits.
// Where there is VNNI, of AVX-512 or by itself, and in 4 bits where there is AVX2, they are whole numbers of 24 bits, so that their error is 2⁻²⁴ of a head's largest element; else
// they are as they were given.
// The zero value is ready.
type Queries struct {
	bits, heads, dim int
	given            []float32
	fixed            []byte // of each query, as the routines for shares of its heads take them
	isFixed          []bool // whether it has any
	rest             *rest  // what the routines take when fewer keys than they need are left
	scaling          scaling
}

// fixedDim is the largest number of elements in a row for which there are routines that take whole numbers.
const fixedDim = 256

// rest is sixteen keys and their scores for four heads.
type rest struct {
	rows   [16 * fixedDim]byte
	scores [4 * 16]float32
}

// Set takes n queries, x [n][heads][dim], which must not change while they are in use.
func (q *Queries) Set(bits int, x []float32, n, heads, dim int) {
	q.bits, q.heads, q.dim, q.given = bits, heads, dim, x[:n*heads*dim]
	q.fixed, q.isFixed = q.fixed[:0], q.isFixed[:0]
	for i := range n {
		var ok bool
		q.fixed, ok = fix(q.fixed, bits, q.of(i), heads, dim)
		q.isFixed = append(q.isFixed, ok)
		if ok && q.rest == nil {
			q.rest = new(rest)
		}
	}
}

// of is a query as it was given.
func (q *Queries) of(query int) []float32 {
	return q.given[query*q.heads*q.dim : (query+1)*q.heads*q.dim]
}

// Scores is [ScoresQuantized] with one of the queries, of the bits that they were set for, and scales as halves.
func (q *Queries) Scores(query int, s []float32, stride int, k, scales, next []byte, n int) {
	if !q.isFixed[query] || n == 0 {
		ScoresQuantized(q.bits, s, stride, q.of(query), k, q.scaling.plain(scales), next, q.heads, n, q.dim)
		return
	}
	row, perRow := q.dim*q.bits/8, 2*groups(q.dim)
	for at := 0; at < n; at += dealtKeys {
		some := min(dealtKeys, n-at)
		scoresFixed(q, query, s[at:(q.heads-1)*stride+at+some], stride, k[at*row:(at+some)*row], scales[at*perRow:(at+some)*perRow], next, some)
		next = nil
	}
}
