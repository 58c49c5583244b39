package main

import (
	"encoding/csv"
	"encoding/json"
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
	Bytes int     `json:"bytes"`
	Paced bool    `json:"paced"`
	Way   way     `json:"way"`
	P50   float64 `json:"p50_us"`
	P99   float64 `json:"p99_us"`
	P999  float64 `json:"p999_us"`
	Ratio float64 `json:"p50_ratio"`
}

type bulkRow struct {
	Bytes int     `json:"bytes"`
	Way   way     `json:"way"`
	Rate  float64 `json:"bytes_per_second"` // median of the rounds
	Ratio float64 `json:"ratio"`
}

// loadRow is small exchanges behind bulk messages.
type loadRow struct {
	Way   way     `json:"way"`
	Bytes int     `json:"bytes"`
	P50   float64 `json:"p50_us"`
	P99   float64 `json:"p99_us"`
	Rate  float64 `json:"bulk_bytes_per_second"`
	Ratio float64 `json:"p50_ratio_to_idle"`
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

func (t *transportBench) report(exchanges map[exchangeKey][]time.Duration, rates map[bulkKey][]float64, loaded map[way][]time.Duration,
	loadedRates map[way][]float64) *transportReport {
	r := &transportReport{Peer: t.addr, Cores: runtime.NumCPU(), Frame: t.frame}
	p50 := make(map[exchangeKey]float64)
	for _, ds := range exchanges {
		slices.Sort(ds)
	}
	for _, paced := range []bool{false, true} {
		for _, size := range smallSizes {
			for _, w := range ways {
				k := exchangeKey{size, paced, w}
				ds := exchanges[k]
				p50[k] = micros(percentile(ds, 0.5))
				r.Exchanges = append(r.Exchanges, exchangeRow{Bytes: size, Paced: paced, Way: w, P50: p50[k], P99: micros(percentile(ds, 0.99)),
					P999: micros(percentile(ds, 0.999)), Ratio: p50[k] / p50[exchangeKey{size, paced, wayBare}]})
			}
		}
	}
	for _, size := range bulkSizes {
		for _, w := range ways {
			rate := median(rates[bulkKey{size, w}])
			r.Bulk = append(r.Bulk, bulkRow{Bytes: size, Way: w, Rate: rate, Ratio: rate / median(rates[bulkKey{size, wayBare}])})
		}
	}
	for _, w := range ways[1:] {
		slices.Sort(loaded[w])
		row := loadRow{Way: w, Bytes: markSize, P50: micros(percentile(loaded[w], 0.5)), P99: micros(percentile(loaded[w], 0.99)), Rate: median(loadedRates[w])}
		row.Ratio = row.P50 / p50[exchangeKey{markSize, false, w}]
		r.Load = append(r.Load, row)
	}
	r.judge()
	return r
}

// judge holds the ratios against the marks.
func (r *transportReport) judge() {
	limits := map[way]float64{waySafe: 1.25, wayFast: 1}
	for _, e := range r.Exchanges {
		if limit, ok := limits[e.Way]; ok && e.Bytes == markSize {
			r.Marks = append(r.Marks, transportMark{fmt.Sprintf("%s exchange of %s, %s", e.Way, bytesName(e.Bytes), paceName(e.Paced)), e.Ratio,
				fmt.Sprintf("≤ %.2f × bare", limit), e.Ratio <= limit})
		}
	}
	for _, b := range r.Bulk {
		if b.Way != wayBare {
			r.Marks = append(r.Marks, transportMark{fmt.Sprintf("%s bulk of %s", b.Way, bytesName(b.Bytes)), b.Ratio, "≥ 0.90 × bare", b.Ratio >= 0.9})
		}
	}
	for _, l := range r.Load {
		r.Marks = append(r.Marks, transportMark{fmt.Sprintf("%s exchange of %s behind bulk", l.Way, bytesName(l.Bytes)), l.Ratio, "≤ 3.00 × idle", l.Ratio <= 3})
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

// write prints the report as table, json or csv.
func (r *transportReport) write(w io.Writer, format string) error {
	switch format {
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	case "csv":
		return r.writeCSV(w)
	}
	_, err := io.WriteString(w, r.text())
	return err
}

// writeCSV is a line for each row of each table; what a row lacks is empty.
func (r *transportReport) writeCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }
	rows := [][]string{{"measurement", "bytes", "way", "p50_us", "p99_us", "p999_us", "bytes_per_second", "ratio"}}
	for _, e := range r.Exchanges {
		name := "exchange"
		if e.Paced {
			name = "paced exchange"
		}
		rows = append(rows, []string{name, strconv.Itoa(e.Bytes), string(e.Way), number(e.P50), number(e.P99), number(e.P999), "", number(e.Ratio)})
	}
	for _, b := range r.Bulk {
		rows = append(rows, []string{"bulk", strconv.Itoa(b.Bytes), string(b.Way), "", "", "", number(b.Rate), number(b.Ratio)})
	}
	for _, l := range r.Load {
		rows = append(rows, []string{"exchange behind bulk", strconv.Itoa(l.Bytes), string(l.Way), number(l.P50), number(l.P99), "", number(l.Rate), number(l.Ratio)})
	}
	return c.WriteAll(rows)
}

func (r *transportReport) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Between this process and %s; %d cores here; frames of %s.\n\n", r.Peer, r.Cores, bytesName(r.Frame))
	one := func(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }
	two := func(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }

	t := newTable("exchange", "bytes", "way", "p50 µs", "p99 µs", "p99.9 µs", "p50 / bare")
	rightAligned(t, 7)
	for i, e := range r.Exchanges {
		if i > 0 && i%len(ways) == 0 {
			t.AppendSeparator()
		}
		t.AppendRow(table.Row{paceName(e.Paced), bytesName(e.Bytes), e.Way, one(e.P50), one(e.P99), one(e.P999), two(e.Ratio)})
	}
	b.WriteString(t.Render() + "\n\n")

	t = newTable("bulk", "way", "GB/s", "/ bare")
	rightAligned(t, 4)
	for i, row := range r.Bulk {
		if i > 0 && i%len(ways) == 0 {
			t.AppendSeparator()
		}
		t.AppendRow(table.Row{bytesName(row.Bytes), row.Way, two(row.Rate / 1e9), two(row.Ratio)})
	}
	b.WriteString(t.Render() + "\n\n")

	t = newTable("exchange behind bulk", "way", "p50 µs", "p99 µs", "bulk GB/s", "p50 / idle")
	rightAligned(t, 6)
	for _, l := range r.Load {
		t.AppendRow(table.Row{bytesName(l.Bytes), l.Way, one(l.P50), one(l.P99), two(l.Rate / 1e9), two(l.Ratio)})
	}
	b.WriteString(t.Render() + "\n\n")

	t = newTable("mark", "ratio", "limit", "met")
	rightAligned(t, 3)
	for _, m := range r.Marks {
		met := "yes"
		if !m.Met {
			met = "no"
		}
		t.AppendRow(table.Row{m.What, two(m.Ratio), m.Limit, met})
	}
	b.WriteString(t.Render() + "\n")
	return b.String()
}
