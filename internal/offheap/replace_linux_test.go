package offheap

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapped is a file of random bytes, mapped read-only, and what it holds.
func mapped(t *testing.T, n int) (b, want []byte) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 1))
	want = make([]byte, n)
	for i := range want {
		want[i] = byte(r.Uint32())
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, want, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err = unix.Mmap(int(f.Fd()), 0, n, unix.PROT_READ, unix.MAP_SHARED); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(b); err != nil {
			t.Error(err)
		}
	})
	return b, want
}

// replaceAll replaces every piece of b, and skips the test where the system has no huge pages.
func replaceAll(t *testing.T, b []byte) (pieces int) {
	t.Helper()
	r, err := Replace(b)
	if errors.Is(err, ErrNoHugePages) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	defer r.End()
	for i := range r.Len() {
		switch err := r.Piece(i); {
		case errors.Is(err, ErrNoHugePages):
			t.Skip(err)
		case err != nil:
			t.Fatal(err)
		}
	}
	return r.Len()
}

func TestReplacedPagesHoldTheSameBytesForWhoReadsThemMeanwhile(t *testing.T) {
	b, want := mapped(t, 5*hugeBytes+12345)
	var stop atomic.Bool
	var readers sync.WaitGroup
	defer readers.Wait()
	defer stop.Store(true)
	for range 2 {
		readers.Go(func() {
			for !stop.Load() {
				for i := 0; i < len(b); i += 509 {
					if b[i] != want[i] {
						t.Errorf("a reader found %d at %d, not %d", b[i], i, want[i])
						return
					}
				}
			}
		})
	}
	part := b[7777 : len(b)-100]
	if n := replaceAll(t, part); n < 4 || n > 5 {
		t.Fatalf("%d pieces in %d bytes", n, len(part))
	}
	if !bytes.Equal(b, want) {
		t.Fatal("the bytes are others")
	}
	if n := replaceAll(t, part); n == 0 || !bytes.Equal(b, want) { // as well a second time
		t.Fatal("the bytes are others after two replacements")
	}
}

func TestReplacedPagesAreHugeReadOnlyAndFewAreas(t *testing.T) {
	b, _ := mapped(t, 20*hugeBytes)
	pieces := replaceAll(t, b)
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	var areas, huge int
	inside := false
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line)
		if first, rest, ok := strings.Cut(f[0], "-"); ok && !strings.HasSuffix(f[0], ":") {
			start, end := number(t, first, 16), number(t, rest, 16)
			base := uintptr(unsafe.Pointer(&b[0]))
			if inside = start >= base && end <= base+uintptr(len(b)); inside {
				areas++
				if f[1] != "r--s" && f[1] != "r--p" {
					t.Errorf("memory in the place of a file is %s", f[1])
				}
			}
		}
		if inside && f[0] == "AnonHugePages:" {
			huge += int(number(t, f[1], 10)) << 10
		}
	}
	if huge != pieces*hugeBytes {
		t.Errorf("%d bytes lie in huge pages, want %d", huge, pieces*hugeBytes)
	}
	if areas > 3 {
		t.Errorf("%d pieces are %d areas", pieces, areas)
	}
}

func number(t *testing.T, s string, base int) uintptr {
	t.Helper()
	n, err := strconv.ParseUint(s, base, 64)
	if err != nil {
		t.Fatal(err)
	}
	return uintptr(n)
}

func TestEndLeavesAloneWhatOthersPutWherePagesWere(t *testing.T) {
	b, want := mapped(t, 5*hugeBytes)
	r, err := Replace(b)
	if errors.Is(err, ErrNoHugePages) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	for i := range r.Len() - 1 { // one is left
		if err := r.Piece(i); err != nil {
			r.End()
			t.Skip(err)
		}
	}
	p, err := unix.MmapPtr(-1, 0, r.spare, hugeBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_FIXED_NOREPLACE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unmap(p, hugeBytes); err != nil {
			t.Error(err)
		}
	}()
	others := unsafe.Slice((*byte)(p), hugeBytes)
	others[0] = 1
	if err := r.Piece(0); err != nil || others[0] != 1 { // as if it were asked for twice
		t.Errorf("a piece that is replaced already: %v, and what lies there now is %d", err, others[0])
	}
	r.End()
	r.End()
	if err := unix.Madvise(others, unix.MADV_NORMAL); err != nil {
		t.Fatalf("other memory is gone: %v", err)
	}
	if others[0] != 1 || !bytes.Equal(b, want) {
		t.Error("bytes have changed")
	}
}

func TestWhatIsSmallerThanAHugePageIsLeft(t *testing.T) {
	b, want := mapped(t, hugeBytes)
	r, err := Replace(b[1:])
	if err != nil || r.Len() != 0 {
		t.Fatalf("%d pieces, %v", r.Len(), err)
	}
	r.End()
	if r, err = Replace(nil); err != nil || r.Len() != 0 {
		t.Fatalf("%d pieces of nothing, %v", r.Len(), err)
	}
	if !bytes.Equal(b, want) {
		t.Fatal("the bytes are others")
	}
}

func TestMemoryThatMayBeWrittenIsNotReplaced(t *testing.T) {
	b, err := Map(3 * hugeBytes)
	if err != nil {
		t.Fatal(err)
	}
	defer Unmap(b)
	r, err := Replace(b)
	if errors.Is(err, ErrNoHugePages) {
		t.Skip(err)
	}
	defer r.End()
	if err == nil || !strings.Contains(err.Error(), "may be written") {
		t.Errorf("memory that may be written: %v", err)
	}
	b[0] = 1 // it still may
}
