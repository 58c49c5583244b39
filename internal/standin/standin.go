// Package standin gives tests a library that behaves like libibverbs with an RDMA adapter below it, where
// there is none. It is C, compiled by the tests against the system's own infiniband/verbs.h, so that the
// layouts of the structures are the real ones; testdata/standin.c says what it does and what it can be told
// to do wrong. It needs Linux, a C compiler and that header, and tests are skipped without them.
package standin

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/ebitengine/purego"

	"github.com/orrery-ai/orrery/internal/dynlib"
)

//go:embed testdata/standin.c
var source []byte

// library is compiled once for a test program.
var library struct {
	once sync.Once
	dir  string
	path string
	why  string // there is none
}

func build() {
	l := &library
	if runtime.GOOS != "linux" {
		l.why = "the stand-in for RDMA is for Linux"
		return
	}
	cc, err := exec.LookPath("cc")
	if err != nil {
		l.why = "no C compiler (cc) to build the stand-in for RDMA with"
		return
	}
	if err := exec.Command("sh", "-c", "echo '#include <infiniband/verbs.h>' | "+cc+" -E - >/dev/null 2>&1").Run(); err != nil {
		l.why = "no infiniband/verbs.h (Debian: libibverbs-dev) to build the stand-in for RDMA with"
		return
	}
	if l.dir, err = os.MkdirTemp("", "orrery-standin-"); err != nil {
		l.why = err.Error()
		return
	}
	src := filepath.Join(l.dir, "standin.c")
	l.path = filepath.Join(l.dir, "standin.so")
	if err = os.WriteFile(src, source, 0o600); err == nil {
		var out []byte
		if out, err = exec.Command(cc, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", l.path, src, "-lpthread").CombinedOutput(); err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
	}
	if err != nil {
		panic(fmt.Sprintf("the stand-in for RDMA does not compile: %v", err))
	}
}

// Clean removes what was compiled. It is for the end of TestMain.
func Clean() {
	if library.dir != "" {
		os.RemoveAll(library.dir)
	}
}

// Compiler is the C compiler, for tests that compare with the header; they are skipped if the stand-in could
// not be built.
func Compiler(t testing.TB) string {
	t.Helper()
	Library(t)
	return "cc"
}

// Library is the path of the compiled library. The test is skipped if it cannot be had.
func Library(t testing.TB) string {
	t.Helper()
	library.once.Do(build)
	if library.why != "" {
		t.Skip("skipped: " + library.why)
	}
	return library.path
}

// Fabric is a network of adapters that are stand-ins.
type Fabric struct {
	Library string

	t        testing.TB
	dir      string
	set, get uintptr
}

// Start loads the library into this process, with a fabric of its own and nothing set. At the end of the test
// it must hold nothing, must not have been misused, and no message may have found its receiver without a
// buffer.
func Start(t testing.TB) *Fabric {
	t.Helper()
	f := &Fabric{Library: Library(t), t: t}
	handle, err := dynlib.Open(f.Library, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		t.Fatal(err)
	}
	use := f.symbol(handle, "standin_use")
	f.set, f.get = f.symbol(handle, "standin_set"), f.symbol(handle, "standin_get")
	if f.dir, err = os.MkdirTemp("", "fabric-"); err != nil {
		t.Fatal(err)
	}
	var useFabric func(string) int32
	purego.RegisterFunc(&useFabric, use)
	if useFabric(f.dir) != 0 {
		t.Fatalf("the fabric's directory %s has too long a name", f.dir)
	}
	t.Cleanup(func() {
		f.check()
		os.RemoveAll(f.dir)
	})
	return f
}

func (f *Fabric) symbol(handle uintptr, name string) uintptr {
	f.t.Helper()
	s, err := purego.Dlsym(handle, name)
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

func (f *Fabric) check() {
	f.t.Helper()
	for _, what := range []string{"contexts", "pds", "mrs", "channels", "cqs", "qps", "overflow", "misuse", "not_ready"} {
		if n := f.Get(what); n != 0 {
			f.t.Errorf("at the end of the test the stand-in counts %d %s", n, what)
		}
	}
}

// Set changes how the adapters of this process behave; the names are in standin.c.
func (f *Fabric) Set(name string, value int) {
	f.t.Helper()
	var set func(string, int) int32
	purego.RegisterFunc(&set, f.set)
	if set(name, value) != 0 {
		f.t.Fatalf("the stand-in has no setting %q", name)
	}
}

// Get is the present value of a setting or of a counter.
func (f *Fabric) Get(name string) int {
	f.t.Helper()
	var get func(string) int
	purego.RegisterFunc(&get, f.get)
	n := get(name)
	if n < 0 && !strings.HasSuffix(name, "_in") {
		f.t.Fatalf("the stand-in has no setting %q", name)
	}
	return n
}

// Share makes the processes that the test starts use the fabric, with the given settings, as "mute=1,devices=0".
func (f *Fabric) Share(t *testing.T, settings string) {
	t.Helper()
	t.Setenv("ORRERY_VERBS_LIBRARY", f.Library)
	t.Setenv("STANDIN_FABRIC", f.dir)
	t.Setenv("STANDIN", settings)
}
