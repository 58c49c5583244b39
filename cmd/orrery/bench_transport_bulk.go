package main

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"time"
)

// transfer sends messages of a size, and gives the bytes/s.
func (t *transportBench) transfer(w way, size int) (float64, error) {
	send := t.sendBulk
	if w == wayBare {
		send = t.sendStream
	}
	count := max(1, bulkRound/size)
	begun := time.Now()
	for left := count - 1; left >= 0; left-- {
		if err := send(size, left); err != nil {
			return 0, err
		}
	}
	var err error
	if w == wayBare {
		_, err = io.ReadFull(t.stream, make([]byte, 1))
	} else {
		err = t.awaitDone()
	}
	return float64(count*size) / time.Since(begun).Seconds(), err
}

func (t *transportBench) sendStream(size, left int) (err error) {
	if t.stream == nil {
		if t.stream, err = t.connect(benchRequest{Kind: "sink"}); err != nil {
			return err
		}
	}
	if err := t.stream.SetDeadline(time.Now().Add(benchWait)); err != nil {
		return err
	}
	var head [8 + bulkHeader]byte
	binary.LittleEndian.PutUint64(head[:], uint64(size))
	binary.LittleEndian.PutUint64(head[8:], uint64(left))
	if _, err := t.stream.Write(head[:]); err != nil {
		return err
	}
	_, err = t.stream.Write(t.body[:size])
	return err
}

func (t *transportBench) sendBulk(size, left int) error {
	var head [bulkHeader]byte
	binary.LittleEndian.PutUint64(head[:], uint64(left))
	return t.bulk.Send(time.Now().Add(benchWait), head[:], t.body[:size])
}

func (t *transportBench) awaitDone() error {
	m, err := t.done.Receive(time.Now().Add(benchWait))
	if err == nil {
		m.Release()
	}
	return err
}

// underLoad is the times of exchanges while the bulk lane is full, and what that carries in bytes/s.
func (t *transportBench) underLoad() ([]time.Duration, float64, error) {
	var stop atomic.Bool
	sent, failed := 0, make(chan error, 1)
	begun := time.Now()
	go func() {
		for !stop.Load() {
			if err := t.sendBulk(loadSize, 1); err != nil {
				failed <- err
				return
			}
			sent += loadSize
		}
		failed <- t.sendBulk(0, 0)
	}()
	var ds []time.Duration
	var err error
	b := slices.Clone(t.body[:markSize])
	for err == nil && time.Since(begun) < loadRound {
		at := time.Now()
		err = t.exchangeLane(b)
		ds = append(ds, time.Since(at))
	}
	stop.Store(true)
	err = errors.Join(err, <-failed)
	if err == nil {
		err = t.awaitDone()
	}
	return ds, float64(sent) / time.Since(begun).Seconds(), err
}
