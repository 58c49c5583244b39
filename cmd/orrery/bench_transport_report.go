package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
)

// transportReport is what was measured. Times are in microseconds; ratios are to the bare connection.
type transportReport struct {
	Peer      string          `json:"peer"`
	Cores     int             `json:"cores"`
	Frame     int             `json:"frame_bytes"`
	Exchanges []exchangeRow   `json:"exchanges"`
	Bulk      []bulkRow       `json:"bulk"`
	Load      []loadRow       `json:"under_load"`
	Marks     []transportMark `json:"marks"`
}

type exchangeRow struct {
	Security string  `json:"security"`
	Bytes    int     `json:"bytes"`
	Paced    bool    `json:"paced"`
	Way      way     `json:"way"`
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	P999     float64 `json:"p999_us"`
	Ratio    float64 `json:"p50_ratio"`
}

type bulkRow struct {
	Security string  `json:"security"`
	Bytes    int     `json:"bytes"`
	Way      way     `json:"way"`
	Rate     float64 `json:"bytes_per_second"` // median of the rounds
	Ratio    float64 `json:"ratio"`
}

// loadRow is small exchanges behind bulk messages.
type loadRow struct {
	Security string  `json:"security"`
	Way      way     `json:"way"`
	Bytes    int     `json:"bytes"`
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	Rate     float64 `json:"bulk_bytes_per_second"`
	Ratio    float64 `json:"p50_ratio_to_idle"`
}

type transportMark struct {
	What  string  `json:"what"`
	Ratio float64 `json:"ratio"`
	Limit string  `json:"limit"`
	Met   bool    `json:"met"`
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// percentile is the value below which a share of ds lies, which must be sorted.
func percentile(ds []time.Duration, share float64) time.Duration {
	return ds[min(int(share*float64(len(ds))), len(ds)-1)]
}

func median(vs []float64) float64 {
	vs = slices.Clone(vs)
	slices.Sort(vs)
	return vs[len(vs)/2]
}

func newTransportReport(peer string, frame int) *transportReport {
	return &transportReport{Peer: peer, Cores: runtime.NumCPU(), Frame: frame}
}

// add takes in what was measured over connections of one kind, or through shared memory.
func (r *transportReport) add(security string, m *transportTimes) {
	p50 := make(map[exchangeKey]float64)
	for k, ds := range m.exchanges {
		slices.Sort(ds)
		p50[k] = micros(percentile(ds, 0.5))
	}
	for _, paced := range []bool{false, true} {
		for _, size := range smallSizes {
			for _, w := range exchangeWays {
				k := exchangeKey{size, paced, w}
				ds := m.exchanges[k]
				if len(ds) == 0 {
					continue
				}
				r.Exchanges = append(r.Exchanges, exchangeRow{Security: security, Bytes: size, Paced: paced, Way: w, P50: p50[k],
					P99: micros(percentile(ds, 0.99)), P999: micros(percentile(ds, 0.999)), Ratio: p50[k] / p50[exchangeKey{size, paced, wayBare}]})
			}
		}
	}
	for _, size := range bulkSizes {
		for _, w := range ways {
			if len(m.rates) == 0 {
				continue
			}
			rate := median(m.rates[bulkKey{size, w}])
			r.Bulk = append(r.Bulk, bulkRow{Security: security, Bytes: size, Way: w, Rate: rate, Ratio: rate / median(m.rates[bulkKey{size, wayBare}])})
		}
	}
	for _, w := range ways[1:] {
		ds := m.loaded[w]
		if len(ds) == 0 {
			continue
		}
		slices.Sort(ds)
		row := loadRow{Security: security, Way: w, Bytes: markSize, P50: micros(percentile(ds, 0.5)), P99: micros(percentile(ds, 0.99)), Rate: median(m.loadedRates[w])}
		row.Ratio = row.P50 / p50[exchangeKey{markSize, false, w}]
		r.Load = append(r.Load, row)
	}
}

// judge holds the ratios against the marks.
func (r *transportReport) judge() {
	mark := func(ratio float64, most bool, limit float64, of, format string, args ...any) {
		m := transportMark{What: fmt.Sprintf(format, args...), Ratio: ratio, Met: ratio >= limit}
		sign := "≥"
		if most {
			sign, m.Met = "≤", ratio <= limit
		}
		m.Limit = fmt.Sprintf("%s %.2f × %s", sign, limit, of)
		r.Marks = append(r.Marks, m)
	}
	limits := map[way]float64{waySafe: 1.25, wayFast: 1}
	for _, e := range r.Exchanges {
		if limit, ok := limits[e.Way]; ok && e.Bytes == markSize && e.Security == overPlain {
			mark(e.Ratio, true, limit, "bare", "%s exchange of %s, %s", e.Way, bytesName(e.Bytes), paceName(e.Paced))
		}
	}
	for _, b := range r.Bulk {
		limit := 0.9
		if b.Security == overTLS {
			limit = 0.8
		}
		if b.Way != wayBare {
			mark(b.Ratio, false, limit, "bare", "%s, %s bulk of %s", b.Security, b.Way, bytesName(b.Bytes))
		}
	}
	for _, l := range r.Load {
		mark(l.Ratio, true, 3, "idle", "%s, %s exchange of %s behind bulk", l.Security, l.Way, bytesName(l.Bytes))
	}
}

func bytesName(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

func paceName(paced bool) string {
	if paced {
		return "computing before"
	}
	return "back to back"
}

// writeCSV is a line for each row of each table; what a row lacks is empty.
func (r *transportReport) writeCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }
	rows := [][]string{{"measurement", "security", "bytes", "way", "p50_us", "p99_us", "p999_us", "bytes_per_second", "ratio"}}
	for _, e := range r.Exchanges {
		name := "exchange"
		if e.Paced {
			name = "paced exchange"
		}
		rows = append(rows, []string{name, e.Security, strconv.Itoa(e.Bytes), string(e.Way), number(e.P50), number(e.P99), number(e.P999), "", number(e.Ratio)})
	}
	for _, b := range r.Bulk {
		rows = append(rows, []string{"bulk", b.Security, strconv.Itoa(b.Bytes), string(b.Way), "", "", "", number(b.Rate), number(b.Ratio)})
	}
	for _, l := range r.Load {
		rows = append(rows, []string{"exchange behind bulk", l.Security, strconv.Itoa(l.Bytes), string(l.Way), number(l.P50), number(l.P99), "", number(l.Rate), number(l.Ratio)})
	}
	return c.WriteAll(rows)
}

func (r *transportReport) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Between this process and %s; %d cores here; frames of %s.\n\n", r.Peer, r.Cores, bytesName(r.Frame))
	one := func(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }
	two := func(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }
	write := func(t table.Writer) {
		if t.Length() > 0 {
			b.WriteString(t.Render() + "\n\n")
		}
	}

	t := newTable("exchange", "over", "bytes", "way", "p50 µs", "p99 µs", "p99.9 µs", "p50 / bare")
	rightAligned(t, 8)
	for i, e := range r.Exchanges {
		if i > 0 && e.Way == wayBare {
			t.AppendSeparator()
		}
		t.AppendRow(table.Row{paceName(e.Paced), e.Security, bytesName(e.Bytes), e.Way, one(e.P50), one(e.P99), one(e.P999), two(e.Ratio)})
	}
	write(t)

	t = newTable("bulk", "over", "way", "GB/s", "/ bare")
	rightAligned(t, 5)
	for i, row := range r.Bulk {
		if i > 0 && i%len(ways) == 0 {
			t.AppendSeparator()
		}
		t.AppendRow(table.Row{bytesName(row.Bytes), row.Security, row.Way, two(row.Rate / 1e9), two(row.Ratio)})
	}
	write(t)

	t = newTable("exchange behind bulk", "over", "way", "p50 µs", "p99 µs", "bulk GB/s", "p50 / idle")
	rightAligned(t, 7)
	for _, l := range r.Load {
		t.AppendRow(table.Row{bytesName(l.Bytes), l.Security, l.Way, one(l.P50), one(l.P99), two(l.Rate / 1e9), two(l.Ratio)})
	}
	write(t)

	t = newTable("mark", "ratio", "limit", "met")
	rightAligned(t, 3)
	for _, m := range r.Marks {
		met := "yes"
		if !m.Met {
			met = "no"
		}
		t.AppendRow(table.Row{m.What, two(m.Ratio), m.Limit, met})
	}
	write(t)
	return strings.TrimSuffix(b.String(), "\n")
}
