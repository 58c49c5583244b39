package main

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// TestLanesOverAShapedLink runs the script that measures lanes between two network namespaces, over a link whose
// speed is known. How near lanes come to it is logged, and written down in docs/transport.md; what is held here
// is that everything went over the link.
func TestLanesOverAShapedLink(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes ten seconds")
	}
	const bitsPerSecond = 10e9
	script := exec.Command("/bin/sh", "../../research/shaped_link.sh", "bench", "10gbit")
	script.Env = append(script.Environ(), "ORRERY="+program, "ROUNDS=1", "FORMAT=json")
	c := startCommand(t, nil, script)
	if c.wait(longWithin) != 0 {
		for _, why := range []string{"it takes ", "Operation not permitted", "cannot shape"} {
			if strings.Contains(c.stderr.String(), why) {
				t.Skipf("no shaped link here: %s", c.stderr)
			}
		}
		t.Fatal(c.stderr)
	}
	_, report, _ := strings.Cut(c.stdout.String(), "\n")
	var r transportReport
	if err := json.Unmarshal([]byte(report), &r); err != nil {
		t.Fatalf("%v in %.200q", err, report)
	}
	if len(r.Bulk) != 2*len(bulkSizes)*len(ways) {
		t.Fatalf("rows of bulk: %+v", r.Bulk)
	}
	for _, b := range r.Bulk {
		if b.Rate <= 0 || b.Rate > 1.02*bitsPerSecond/8 { // the queue starts with a burst of a millisecond
			t.Errorf("%s, %s, %s: %.3g bytes/s over a link of %.3g", b.Security, b.Way, bytesName(b.Bytes), b.Rate, bitsPerSecond/8)
		}
		t.Logf("%s, %s, %s: %.2f GB/s, %.2f of the bare stream", b.Security, b.Way, bytesName(b.Bytes), b.Rate/1e9, b.Ratio)
	}
}
