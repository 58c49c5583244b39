package main

import (
	"fmt"
	"math"
	"strconv"
)

// counted is so many of something.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// numbered is a large number for people.
func numbered(n int64) string {
	if n < 1e9 {
		return fmt.Sprintf("%.1f million", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f billion", float64(n)/1e9)
}

// gigabytes is a rate in bytes/s, for people.
func gigabytes(bytesPerSecond float64) string {
	return fmt.Sprintf("%.1f GB/s", bytesPerSecond/1e9)
}

func milliseconds(seconds float64) string { return fmt.Sprintf("%.1f ms", 1000*seconds) }

func microseconds(seconds float64) string { return fmt.Sprintf("%.0f µs", 1e6*seconds) }

func percent(share float64) string { return fmt.Sprintf("%.0f%%", 100*share) }

// shortTime is a time to three digits: "12.3 µs".
func shortTime(seconds float64) string {
	if seconds >= 1e-3 {
		return fmt.Sprintf("%.3g ms", seconds*1e3)
	}
	return fmt.Sprintf("%.3g µs", seconds*1e6)
}

// number is a number in a CSV file: a whole one as it is, another to six digits.
func number(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return strconv.FormatInt(int64(v), 10)
	}
	return strconv.FormatFloat(v, 'g', 6, 64)
}

// known is a number in a CSV file that is left empty if it is 0, which is not known.
func known(v float64) string {
	if v == 0 {
		return ""
	}
	return number(v)
}
