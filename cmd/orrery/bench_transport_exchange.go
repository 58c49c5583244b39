package main

import (
	"io"
	"net"
	"slices"
	"time"
)

// exchanges appends the times of some exchanges to ds.
func (t *transportBench) exchanges(ds []time.Duration, k exchangeKey) ([]time.Duration, error) {
	exchange := t.exchangeLane
	switch k.way {
	case wayDevice:
		exchange = t.shared.exchange
	case wayBare:
		if t.bare[k.size] == nil {
			nc, err := t.connect(benchRequest{Kind: "ping", Size: k.size})
			if err != nil {
				return ds, err
			}
			t.bare[k.size] = nc
		}
		nc := t.bare[k.size]
		if err := nc.SetDeadline(time.Now().Add(benchWait)); err != nil {
			return ds, err
		}
		exchange = func(b []byte) error { return exchangeBare(nc, b) }
	}
	n := backToBack
	if k.paced {
		n = pacedRound
	}
	b := slices.Clone(t.body[:k.size])
	for range n {
		if k.paced {
			compute(computing)
		}
		begun := time.Now()
		if err := exchange(b); err != nil {
			return ds, err
		}
		ds = append(ds, time.Since(begun))
	}
	return ds, nil
}

// exchangeName is what --only calls exchanges.
func exchangeName(paced bool) string {
	if paced {
		return "paced"
	}
	return "exchange"
}

// compute keeps this core busy.
func compute(d time.Duration) {
	for begun := time.Now(); time.Since(begun) < d; {
	}
}

func exchangeBare(nc net.Conn, b []byte) error {
	if _, err := nc.Write(b); err != nil {
		return err
	}
	_, err := io.ReadFull(nc, b)
	return err
}

func (t *transportBench) exchangeLane(b []byte) error {
	deadline := time.Now().Add(benchWait)
	if err := t.ping.Send(deadline, b); err != nil {
		return err
	}
	m, err := t.pong.Receive(deadline)
	if err != nil {
		return err
	}
	m.Release()
	return nil
}
