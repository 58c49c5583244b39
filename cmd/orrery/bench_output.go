package main

import (
	"os"

	"github.com/orrery-ai/orrery/bench"
)

// pictureFlags say what a benchmark over depth leaves behind.
type pictureFlags struct {
	Format string `help:"What is printed: table, json or csv." enum:"table,json,csv" default:"table"`
	Plot   string `help:"Picture of speed over depth to write." type:"path" placeholder:"FILE.svg|.png"`
}

// writeAll prints a report, and draws the picture if one is asked for.
func (f *pictureFlags) writeAll(r report, p *bench.Picture) error {
	if err := writeReport(os.Stdout, f.Format, r); err != nil || f.Plot == "" {
		return err
	}
	return draw(f.Plot, p.Draw)
}

// numbers are the numbers of a spread in a CSV file.
func numbers(s bench.Spread) []string {
	return []string{number(s.Median), number(s.Min), number(s.Max)}
}

// shareOf is a share for people; there is none where nothing was measured to compare with.
func shareOf(share float64) string {
	if share == 0 {
		return "-"
	}
	return percent(share)
}
