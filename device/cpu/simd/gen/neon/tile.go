package main

import "fmt"

// tiles are the products of prefill attention. Queries lie in the lanes, 24 of them in six vectors, so that maximum and sum of a
// query's scores need no sum across lanes. Four keys, or four elements of a value, times six vectors are 24 accumulators.
var tiles = []routine{{"tile_scores", tileScores}, {"tile_values", tileValues}}

const (
	tileVectors = 6
	tileLanes   = 4 * tileVectors
	tileRows    = 4
)

func tileScores(a *asm) {
	a.begin("tileScoresNEON", "func(s, k, q []float32, n, dim int)",
		is("tileScoresNEON", fmt.Sprintf("for j := range n {\n\tfor lane := range %d {\n\t\tfor i := range dim {\n\t\t\ts[j*%[1]d+lane] += k[j*dim+i] * q[i*%[1]d+lane] // from 0\n\t\t}\n\t}\n}", tileLanes),
			"for n and dim multiples of 4."))
	s, k, q, n, dim := a.ptr("s"), a.ptr("k"), a.ptr("q"), a.integer("n"), a.integer("dim")
	row := a.shifted(dim, 2)
	a.repeat(n, tileRows, func() {
		ks, x, left := a.rows(k, row, tileRows), a.copyOf(q), a.copyOf(dim)
		acc := a.zeros(tileRows * tileVectors)
		a.repeat(left, 4, func() {
			keys := a.vecs(tileRows)
			for r, v := range keys {
				a.nextq(v, ks[r])
			}
			for i := range 4 {
				for t := range tileVectors {
					v := a.vec()
					a.nextq(v, x)
					for r, key := range keys {
						a.do(fmlaLane(acc[r*tileVectors+t], v, key, i))
					}
					a.free(v)
				}
			}
			a.free(keys...)
		})
		for _, v := range acc {
			a.putq(v, s)
		}
		a.line("MOVD\t%v, %v", ks[tileRows-1], k)
		a.drop(x, left)
		a.drop(ks...)
		a.free(acc...)
	})
}

func tileValues(a *asm) {
	a.begin("tileValuesNEON", "func(o, v, p, f []float32, n, dim int)",
		is("tileValuesNEON", fmt.Sprintf("for i := range dim {\n\tfor lane := range %d {\n\t\to[i*%[1]d+lane] *= f[lane]\n\t\tfor j := range n {\n\t\t\to[i*%[1]d+lane] += v[j*dim+i] * p[j*%[1]d+lane]\n\t\t}\n\t}\n}", tileLanes),
			"for dim a multiple of 4."))
	o, v, p, f, n, dim := a.ptr("o"), a.ptr("v"), a.ptr("p"), a.ptr("f"), a.integer("n"), a.integer("dim")
	row := a.shifted(dim, 2)
	a.repeat(dim, tileRows, func() {
		at, weights, left := a.copyOf(v), a.copyOf(p), a.copyOf(n)
		acc := a.vecs(tileRows * tileVectors)
		for t := range tileVectors {
			factor := a.vec()
			a.ldq(factor, f, 16*t)
			for r := range tileRows {
				x := acc[r*tileVectors+t]
				a.ldq(x, o, 16*(r*tileVectors+t))
				a.do(fmul(x, x, factor))
			}
			a.free(factor)
		}
		a.repeat(left, 1, func() {
			value := a.vec()
			a.ldq(value, at, 0)
			a.line("ADD\t%v, %v", row, at)
			for t := range tileVectors {
				x := a.vec()
				a.nextq(x, weights)
				for r := range tileRows {
					a.do(fmlaLane(acc[r*tileVectors+t], x, value, r))
				}
				a.free(x)
			}
			a.free(value)
		})
		for _, x := range acc {
			a.putq(x, o)
		}
		a.advance(4*tileRows, v)
		a.drop(at, weights, left)
		a.free(acc...)
	})
}
