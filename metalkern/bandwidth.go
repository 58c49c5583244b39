package metalkern

import (
	"time"
)

// bandwidthBytes is what is copied at a time to measure bandwidth: more than caches hold, unless the device is slow.
const bandwidthBytes = 256 << 20

// slowBytes is what is copied first, to see whether a device is slow.
const slowBytes = 1 << 20

// MeasureBandwidth is how fast the device's memory can be read and written, in bytes/s, as a copy does, measured for about so long.
func (d *Device) MeasureBandwidth(within time.Duration) (float64, error) {
	q, err := d.host.NewQueue()
	if err != nil {
		return 0, err
	}
	defer q.Close()
	copies := func(n, times int) (time.Duration, error) {
		b, err := d.memory.alloc(2 * n)
		if err != nil {
			return 0, err
		}
		defer d.memory.free(b)
		from, to := d.memory.bytes(b[:n]), d.memory.bytes(b[n:])
		if err := d.set.Copy(q, to, from, int64(n)); err != nil { // which compiles the kernel
			return 0, err
		}
		if err := q.Wait(time.Now().Add(stepTimeout)); err != nil {
			return 0, err
		}
		q.ResetMarks()
		begin := q.Mark()
		for range times {
			if err := d.set.Copy(q, to, from, int64(n)); err != nil {
				return 0, err
			}
		}
		end := q.Mark()
		if err := q.Wait(time.Now().Add(stepTimeout)); err != nil {
			return 0, err
		}
		took, err := q.Elapsed(begin, end)
		return max(took, 1), err
	}
	n := slowBytes
	took, err := copies(n, 1)
	if err != nil {
		return 0, err
	}
	times := 1
	if took < within/10 {
		n = bandwidthBytes
		if took, err = copies(n, times); err != nil {
			return 0, err
		}
		times = int(within/took) + 1
		if took, err = copies(n, times); err != nil {
			return 0, err
		}
	}
	return float64(2*n*times) / took.Seconds(), nil
}
