package main

import (
	"context"
	"slices"
	"time"
)

// Sizes of the messages, in bytes.
var (
	smallSizes = []int{64, 4 << 10, 32 << 10}
	bulkSizes  = []int{1 << 20, 64 << 20}
)

const (
	markSize   = 4 << 10 // of the small messages that have marks
	backToBack = 500     // exchanges of a round
	pacedRound = 50
	computing  = 400 * time.Microsecond // before each exchange that is paced
	bulkRound  = 128 << 20              // bytes
	loadRound  = 100 * time.Millisecond
	loadSize   = 1 << 20 // bytes of a bulk message behind which small ones are measured
)

type exchangeKey struct {
	size  int
	paced bool
	way   way
}

type bulkKey struct {
	size int
	way  way
}

// transportTimes is what was measured: times of exchanges, and bytes/s.
type transportTimes struct {
	exchanges   map[exchangeKey][]time.Duration
	rates       map[bulkKey][]float64
	loaded      map[way][]time.Duration
	loadedRates map[way][]float64
}

// bulkEvery is in which rounds bulk is measured, where exchanges are too: it takes as long as many of them.
const bulkEvery = 4

// measure does what is asked for, in turns, so that what else the machine does meets all alike.
func (t *transportBench) measure(ctx context.Context, rounds int, only []string) (*transportTimes, error) {
	asked := func(what string) bool { return slices.Contains(only, what) }
	m := &transportTimes{exchanges: make(map[exchangeKey][]time.Duration), rates: make(map[bulkKey][]float64),
		loaded: make(map[way][]time.Duration), loadedRates: make(map[way][]float64)}
	for i := range rounds {
		for _, size := range smallSizes {
			for _, paced := range []bool{false, true} {
				if !asked(exchangeName(paced)) && (paced || size != markSize || !asked("load")) { // load is compared with these
					continue
				}
				for _, w := range exchangeWays {
					if w == wayDevice && t.shared == nil {
						continue
					}
					if err := ctx.Err(); err != nil {
						return nil, err
					}
					k := exchangeKey{size, paced, w}
					if err := t.take(w); err != nil {
						return nil, err
					}
					var err error
					if m.exchanges[k], err = t.exchanges(m.exchanges[k], k); err != nil {
						return nil, err
					}
				}
			}
		}
		if i%bulkEvery > 0 && (asked("exchange") || asked("paced")) {
			continue
		}
		for _, w := range ways {
			if err := t.take(w); err != nil {
				return nil, err
			}
			for _, size := range bulkSizes {
				if !asked("bulk") {
					break
				}
				rate, err := t.transfer(w, size)
				if err != nil {
					return nil, err
				}
				m.rates[bulkKey{size, w}] = append(m.rates[bulkKey{size, w}], rate)
			}
			if w == wayBare || !asked("load") {
				continue
			}
			latencies, rate, err := t.underLoad()
			if err != nil {
				return nil, err
			}
			m.loaded[w], m.loadedRates[w] = append(m.loaded[w], latencies...), append(m.loadedRates[w], rate)
		}
	}
	return m, nil
}
