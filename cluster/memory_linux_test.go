package cluster

import (
	"strings"
	"testing"
	"testing/fstest"
)

func file(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }

func TestMemoryIsBoundedByEveryCgroupAbove(t *testing.T) {
	const meminfo = "MemTotal: 2000 kB\nMemAvailable:    1000 kB\n"
	root := fstest.MapFS{
		"proc/meminfo":     file(meminfo),
		"proc/self/cgroup": file("1:cpu:/x\n0::/slice/unit\n"),
	}
	expect := func(want int64) {
		t.Helper()
		if got, err := availableIn(root); err != nil || got != want {
			t.Errorf("%d bytes, %v; want %d", got, err, want)
		}
	}
	expect(1000 * 1024)

	root["sys/fs/cgroup/slice/unit/memory.max"] = file("max\n")
	expect(1000 * 1024)

	root["sys/fs/cgroup/slice/memory.max"] = file("500000\n")
	root["sys/fs/cgroup/slice/memory.current"] = file("200000\n")
	root["sys/fs/cgroup/slice/memory.stat"] = file("anon 1\ninactive_file 50000\n")
	expect(350000)

	root["sys/fs/cgroup/slice/memory.current"] = file("600000\n")
	expect(0)

	root["sys/fs/cgroup/slice/memory.max"] = file("lots\n")
	if _, err := availableIn(root); err == nil || !strings.Contains(err.Error(), "slice/memory.max") {
		t.Errorf("a limit that is no number gives %v", err)
	}
}

func TestMemoryWithoutCgroupsIsWhatTheKernelSays(t *testing.T) {
	if _, err := availableIn(fstest.MapFS{"proc/meminfo": file("MemTotal: 1 kB\n")}); err == nil {
		t.Error("a meminfo without MemAvailable is accepted")
	}
	n, err := AvailableMemory()
	if err != nil || n <= 0 {
		t.Errorf("this machine offers %d bytes, %v", n, err)
	}
}
