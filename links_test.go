package orrery

import (
	"fmt"
	"testing"
	"time"

	"github.com/orrery-ai/orrery/cluster"
)

func TestEveryPairMeetsOnceAndNoMachineTwiceInARound(t *testing.T) {
	for n := 0; n <= 40; n++ {
		for _, machines := range []int{1, 3, 100} { // nodes of each
			var nodes []cluster.Node
			for i := range n {
				node := cluster.Node{Name: fmt.Sprintf("n%d", i), Machine: fmt.Sprintf("m%d", i/machines)}
				if machines == 1 && i%2 == 0 {
					node.Machine = "" // not known: its own
				}
				nodes = append(nodes, node)
			}
			met := map[[2]int]int{}
			all := rounds(nodes, pairs(n))
			for r, round := range all {
				busy := map[int]bool{}
				for _, p := range round {
					if p[0] >= p[1] || p[0] < 0 || p[1] >= n {
						t.Fatalf("%d nodes: pair %v", n, p)
					}
					a, b := p[0]/machines, p[1]/machines
					if busy[a] || busy[b] {
						t.Errorf("%d nodes, %d on a machine: round %d has a machine of %v twice", n, machines, r, p)
					}
					busy[a], busy[b] = true, true
					met[p]++
				}
			}
			for p, times := range met {
				if times != 1 {
					t.Errorf("%d nodes: %v is measured %d times", n, p, times)
				}
			}
			if want := n * (n - 1) / 2; n <= allPairs && len(met) != want {
				t.Errorf("%d nodes: %d pairs, want %d", n, len(met), want)
			}
			if n > allPairs && len(met) != n*sampledSteps {
				t.Errorf("%d nodes: %d pairs", n, len(met))
			}
			if n <= allPairs && machines == 1 && len(all) > n {
				t.Errorf("%d nodes take %d rounds", n, len(all))
			}
		}
	}
}

func TestPairsThatWereNotMeasuredGetTheMedians(t *testing.T) {
	var nodes []cluster.Node
	for i := range 4 {
		nodes = append(nodes, cluster.Node{Name: fmt.Sprintf("n%d", i)})
	}
	measured := []MeasuredLink{
		{From: "n0", To: "n1", Busy: 10, Paused: 300, Sending: 9, Rate: 5},
		{From: "n1", To: "n2", Busy: 20, Paused: 100, Sending: 7, Rate: 7},
		{From: "n2", To: "n3", Busy: 30, Paused: 200, Sending: 8, Rate: 6},
	}
	links := withGuesses(nodes, measured)
	if len(links) != 6 {
		t.Fatalf("%d links", len(links))
	}
	for i, l := range links {
		known := false
		for _, m := range measured {
			known = known || l == m
		}
		guess := MeasuredLink{From: l.From, To: l.To, Busy: 20, Paused: 200, Sending: 8, Rate: 6, Guessed: true}
		if known == l.Guessed || l.Guessed && l != guess {
			t.Errorf("link %d is %+v", i, l)
		}
	}
	matrix := matrixOf(nodes, links)
	for i := range nodes {
		for j := range nodes {
			if i != j && (matrix[i][j] != matrix[j][i] || matrix[i][j].Bandwidth == 0) {
				t.Errorf("from %d to %d: %+v and back %+v", i, j, matrix[i][j], matrix[j][i])
			}
		}
	}
	if got := matrix[1][0].Latency; got != (300*time.Nanosecond).Seconds()/2 {
		t.Errorf("the latency of a pause of 300 ns is %v s", got)
	}
}
