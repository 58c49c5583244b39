package cluster

import (
	"os"
	"runtime"
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

func TestHeldMemoryIsWhatNoFileIsBehind(t *testing.T) {
	page := int64(os.Getpagesize())
	if n, err := heldIn(fstest.MapFS{"proc/self/statm": file("900 500 120 7 0 300 0\n")}); err != nil || n != 380*page {
		t.Errorf("%d bytes, %v", n, err)
	}
	for _, bad := range []string{"", "900 500", "900 many 120", "900 500 -1"} {
		if _, err := heldIn(fstest.MapFS{"proc/self/statm": file(bad)}); err == nil || !strings.Contains(err.Error(), "statm") {
			t.Errorf("%q gives %v", bad, err)
		}
	}
	before, err := HeldMemory()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64<<20)
	for i := range b {
		b[i] = byte(i)
	}
	after, err := HeldMemory()
	if err != nil || after < before+32<<20 {
		t.Errorf("after 64 MiB were written: %d bytes, before %d, %v", after, before, err)
	}
	runtime.KeepAlive(b)
}
