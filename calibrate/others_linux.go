package calibrate

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// work is processor time since the start: of all processes of the machine, idle time included, and of this one.
type work struct{ busy, all, own time.Duration }

func workNow() (work, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return work{}, err
	}
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return work{}, err
	}
	w, err := parseStat(string(b))
	w.own = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	return w, err
}

// parseStat reads the first line of /proc/stat: ticks of 10 ms.
func parseStat(s string) (work, error) {
	const tick = 10 * time.Millisecond
	var user, nice, system, idle, iowait, irq, softirq, steal int64
	if _, err := fmt.Sscanf(s, "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &iowait, &irq, &softirq, &steal); err != nil {
		return work{}, fmt.Errorf("/proc/stat: %w", err)
	}
	busy := user + nice + system + irq + softirq + steal
	return work{busy: time.Duration(busy) * tick, all: time.Duration(busy+idle+iowait) * tick}, nil
}

// others is the share of the machine's processor time that other processes have had between two looks.
func others(before, after work) float64 {
	all := after.all - before.all
	if all <= 0 {
		return 0
	}
	return max(0, float64((after.busy-before.busy)-(after.own-before.own))/float64(all))
}
