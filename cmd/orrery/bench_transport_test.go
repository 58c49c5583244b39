package main

import (
	"encoding/csv"
	"encoding/json"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestBenchTransportMeasuresEveryWayOfEverySize(t *testing.T) {
	stdout, stderr, status := run(t, longWithin, "bench", "transport", "--rounds", "1", "--format", "csv")
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	rows, err := csv.NewReader(strings.NewReader(stdout)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	count := make(map[string]int)
	for _, row := range rows[1:] {
		count[row[0]+", "+row[1]+", "+row[3]]++
		for i, column := range row[4:] {
			if strings.HasPrefix(column, "-") || column == "0" || column == "NaN" {
				t.Errorf("%s is %s in %q", rows[0][4+i], column, row)
			}
		}
	}
	for _, security := range []string{"plain", "TLS"} {
		for _, w := range []string{"bare", "safe", "fast"} {
			for measurement, want := range map[string]int{"exchange": 3, "paced exchange": 3, "bulk": 2} {
				if got := count[measurement+", "+security+", "+w]; got != want {
					t.Errorf("%s, %s, %s: %d sizes, want %d", measurement, security, w, got, want)
				}
			}
		}
		for _, w := range []string{"safe", "fast"} {
			if count["exchange behind bulk, "+security+", "+w] != 1 {
				t.Errorf("no exchange behind bulk: %s, %s", security, w)
			}
		}
	}
}

func TestBenchTransportMeasuresWhatItIsAskedFor(t *testing.T) {
	for only, want := range map[string]string{"bulk": "bulk", "paced": "paced exchange", "load": "exchange, exchange behind bulk"} {
		stdout, stderr, status := run(t, longWithin, "bench", "transport", "--only", only, "--over", "plain", "--rounds", "1", "--format", "csv")
		rows, err := csv.NewReader(strings.NewReader(stdout)).ReadAll()
		if status != 0 || err != nil {
			t.Fatalf("--only %s: status %d, %v: %s", only, status, err, stderr)
		}
		var got []string
		for _, row := range rows[1:] {
			if row[1] != "plain" {
				t.Errorf("--over plain measured over %s", row[1])
			}
			if !slices.Contains(got, row[0]) {
				got = append(got, row[0])
			}
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("--only %s measured %s, want %s", only, got, want)
		}
	}
	if _, stderr, status := run(t, longWithin, "bench", "transport", "--peer", "127.0.0.1:1", "--over", "tls"); status == 0 || !strings.Contains(stderr, "--tls") {
		t.Errorf("TLS without a certificate: status %d, %s", status, stderr)
	}
}

func TestBenchTransportMeasuresSharedMemoryWhenAsked(t *testing.T) {
	if runtime.GOOS != "linux" || runtime.GOMAXPROCS(0) < 2 {
		t.Skip("memory is shared on Linux, by processes that may spin")
	}
	stdout, stderr, status := run(t, longWithin, "bench", "transport", "--only", "exchange", "--over", "shm", "--rounds", "1", "--format", "json")
	var r transportReport
	if status != 0 || json.Unmarshal([]byte(stdout), &r) != nil {
		t.Fatalf("status %d: %s%s", status, stdout, stderr)
	}
	shared := 0
	for _, e := range r.Exchanges {
		if e.Way == wayDevice && e.P50 > 0 {
			shared++
		}
	}
	if shared != 3 || len(r.Exchanges) != 4*3 {
		t.Errorf("%d rows of %d are of shared memory, want one for each of 3 sizes, of 4 ways", shared, len(r.Exchanges))
	}
}

var answeringLine = regexp.MustCompile(`answering at (\S+);`)

func TestBenchTransportMeasuresAPeer(t *testing.T) {
	a := newAuthority(t)
	there := start(t, "bench", "transport", "--listen", "127.0.0.1:0", "--tls", a.issue("there"))
	if !there.stdout.until(readyWithin, answeringLine.MatchString) {
		t.Fatal("the other end did not get ready")
	}
	addr := answeringLine.FindStringSubmatch(there.stdout.String())[1]
	for args, securities := range map[string]int{"": 1, a.issue("here"): 2} {
		command := []string{"bench", "transport", "--peer", addr, "--rounds", "1", "--format", "json"}
		if args != "" {
			command = append(command, "--tls", args)
		}
		stdout, stderr, status := run(t, longWithin, command...)
		var r transportReport
		if status != 0 || json.Unmarshal([]byte(stdout), &r) != nil {
			t.Fatalf("status %d: %s%s", status, stdout, stderr)
		}
		if r.Peer != addr || len(r.Exchanges) != 18*securities || len(r.Bulk) != 6*securities || len(r.Load) != 2*securities {
			t.Errorf("%d exchanges, %d transfers and %d loads with %s, want those of %d kinds of connection", len(r.Exchanges), len(r.Bulk), len(r.Load), r.Peer, securities)
		}
	}
	plain := start(t, "bench", "transport", "--listen", "127.0.0.1:0")
	if !plain.stdout.until(readyWithin, answeringLine.MatchString) {
		t.Fatal("the other end did not get ready")
	}
	_, stderr, status := run(t, longWithin, "bench", "transport", "--peer", answeringLine.FindStringSubmatch(plain.stdout.String())[1], "--rounds", "1", "--tls", a.issue("here"))
	if status != statusFailed || !strings.Contains(stderr, "no certificate") || !strings.Contains(stderr, "--tls") {
		t.Errorf("the other end has no certificate: status %d, %s", status, stderr)
	}
}
