//go:build !linux

package nap

import "time"

// For sleeps for about so long: as much longer as the system takes to wake a thread. A signal may cut it short.
func For(d time.Duration) { time.Sleep(d) }
