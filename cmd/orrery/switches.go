package main

import (
	"fmt"
	"time"

	"github.com/orrery-ai/orrery"
	"github.com/orrery-ai/orrery/placement"
)

// switchReport is a mode switch, for programs.
type switchReport struct {
	From        string  `json:"from"`
	To          string  `json:"to"`
	AskedAt     int     `json:"asked_at_token"`
	EffectiveAt int     `json:"effective_at_token"`
	Bytes       int64   `json:"bytes_moved"`
	Seconds     float64 `json:"seconds_until_effective"`
	Error       string  `json:"error,omitempty"`
}

func switchReports(rs []orrery.SwitchReport) []switchReport {
	var out []switchReport
	for _, r := range rs {
		out = append(out, switchReport{From: r.From.String(), To: r.To.String(), AskedAt: r.Asked, EffectiveAt: r.Tokens, Bytes: r.Bytes,
			Seconds: r.Took.Seconds(), Error: errorText(r.Err)})
	}
	return out
}

// describeSwitch is a switch in one line.
func describeSwitch(r orrery.SwitchReport) string {
	if r.Err != nil {
		return r.Err.Error()
	}
	return fmt.Sprintf("%v → %v: %s moved, in effect after %v and %s", r.From, r.To, placement.FormatBytes(r.Bytes), r.Took.Round(100*time.Microsecond),
		counted(r.Tokens-r.Asked, "token"))
}
