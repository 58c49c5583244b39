package verbs

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/orrery-ai/orrery/internal/standin"
)

// end is a queue pair with memory.
type end struct {
	channel *Channel
	queue   *CQ
	pair    *QP
	memory  []byte
	address uintptr
	mr      *MR
}

const room = 64 << 10

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// newEnd makes an end in the domain, until the end of the test.
func newEnd(t testing.TB, ctx *Context, pd *PD) *end {
	t.Helper()
	e := &end{channel: must[*Channel](t)(ctx.Channel())}
	e.queue = must[*CQ](t)(ctx.CQ(16, 4, e.channel))
	e.pair = must[*QP](t)(pd.QP(Reliable, e.queue, 4, 4))
	e.memory = must[[]byte](t)(unix.Mmap(-1, 0, room, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE))
	e.address = uintptr(unsafe.Pointer(&e.memory[0]))
	e.mr = must[*MR](t)(pd.Register(e.address, room, LocalWrite))
	t.Cleanup(func() {
		if err := errors.Join(e.pair.Close(), e.queue.Close(), e.channel.Close(), e.mr.Close(), unix.Munmap(e.memory)); err != nil {
			t.Error(err)
		}
	})
	return e
}

func (e *end) post(t testing.TB, id uint64) {
	t.Helper()
	if err := e.pair.PostReceive(id, e.address, room, e.mr.LKey); err != nil {
		t.Fatal(err)
	}
}

// open opens the stand-in's first device, until the end of the test.
func open(t testing.TB, f *standin.Fabric) (*Context, *PD) {
	t.Helper()
	l := must[*Library](t)(Open(f.Library))
	list := must[*Devices](t)(l.Devices())
	defer list.Close()
	ctx := must[*Context](t)(list.All[0].Open())
	pd := must[*PD](t)(ctx.PD())
	t.Cleanup(func() {
		if err := errors.Join(pd.Close(), ctx.Close()); err != nil {
			t.Error(err)
		}
	})
	return ctx, pd
}

// connected makes two ends that are connected.
func connected(t testing.TB, ctx *Context, pd *PD) (a, b *end) {
	t.Helper()
	a, b = newEnd(t, ctx, pd), newEnd(t, ctx, pd)
	gid, _, ok := ctx.GID(1, 2)
	if !ok {
		t.Fatal("no address")
	}
	for _, ends := range [][2]*end{{a, b}, {b, a}} {
		q := ends[0].pair
		path := Path{Port: 1, QP: ends[1].pair.Number, PSN: 7, GID: gid, GIDFrom: 2, HopMax: 1, MTU: MTU1024}
		if err := errors.Join(q.Init(1), q.Connect(path), q.Activate(7)); err != nil {
			t.Fatal(err)
		}
	}
	return a, b
}

func TestMessageArrivesWithAnEventAndACompletionAtEachEnd(t *testing.T) {
	f := standin.Start(t)
	ctx, pd := open(t, f)
	a, b := connected(t, ctx, pd)
	b.post(t, 5)
	file := must[*os.File](t)(b.channel.File())
	defer file.Close()
	if got, err := b.channel.Event(); got || err != nil {
		t.Errorf("an event before anything happened: %t, %v", got, err)
	}
	if err := b.queue.Notify(true); err != nil {
		t.Fatal(err)
	}
	n := copy(a.memory, "hello")
	if err := a.pair.PostSend(9, a.address, n, a.mr.LKey); err != nil {
		t.Fatal(err)
	}
	if got, err := b.channel.Event(); !got || err != nil {
		t.Errorf("no event: %t, %v", got, err)
	}
	for _, c := range []struct {
		end  *end
		want Completion
	}{
		{a, Completion{ID: 9, Status: Success, Opcode: Sent}},
		{b, Completion{ID: 5, Status: Success, Opcode: Received, Bytes: 5}},
	} {
		done := must[[]Completion](t)(c.end.queue.Poll())
		if len(done) != 1 {
			t.Fatalf("%d completions, want 1", len(done))
		}
		got := done[0]
		if got.ID != c.want.ID || got.Status != Success || got.Opcode != c.want.Opcode || got.Opcode == Received && got.Bytes != c.want.Bytes {
			t.Errorf("completion is %+v, want %+v", got, c.want)
		}
	}
	if got := string(b.memory[:5]); got != "hello" {
		t.Errorf("arrived %q", got)
	}
}

func TestMessageWithoutAReceiveFails(t *testing.T) {
	f := standin.Start(t)
	ctx, pd := open(t, f)
	a, _ := connected(t, ctx, pd)
	if err := a.pair.PostSend(1, a.address, 1, a.mr.LKey); err != nil {
		t.Fatal(err)
	}
	done := must[[]Completion](t)(a.queue.Poll())
	if len(done) != 1 || done[0].Status != NotReadyRetriesExhausted {
		t.Errorf("completions are %+v", done)
	}
	if f.Get("not_ready") != 1 {
		t.Error("the stand-in did not count it")
	}
	f.Set("not_ready", 0) // expected here
}

func TestMemoryThatIsNotRegisteredIsRefused(t *testing.T) {
	f := standin.Start(t)
	ctx, pd := open(t, f)
	a, b := connected(t, ctx, pd)
	b.post(t, 1)
	if err := a.pair.PostSend(1, a.address+1, room, a.mr.LKey); err != nil {
		t.Fatal(err)
	}
	done := must[[]Completion](t)(a.queue.Poll())
	if len(done) != 1 || done[0].Status != LocalProtection || !strings.Contains(done[0].Status.String(), "registered") {
		t.Errorf("completions are %+v", done)
	}
}

func TestFailedVerbNamesItselfAndTheCause(t *testing.T) {
	f := standin.Start(t)
	ctx, pd := open(t, f)
	f.Set("fail_mr", int(syscall.ENOMEM))
	_, err := pd.Register(0, room, LocalWrite)
	if !errors.Is(err, syscall.ENOMEM) || !strings.Contains(err.Error(), "ibv_reg_mr") {
		t.Errorf("error is %v", err)
	}
	f.Set("fail_channel", int(syscall.EMFILE))
	if _, err := ctx.Channel(); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("error is %v", err)
	}
	if _, err := ctx.Port(9); !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "port 9") {
		t.Errorf("error is %v", err)
	}
	f.Set("misuse", 0) // expected here
}

func TestPortsAndAddresses(t *testing.T) {
	f := standin.Start(t)
	ctx, _ := open(t, f)
	info := must[DeviceInfo](t)(ctx.Info())
	if info.Ports != 1 || info.Firmware != "stand-in" || info.MaxQP != 1024 || info.MaxMR != 4096 {
		t.Errorf("device is %+v", info)
	}
	p := must[PortInfo](t)(ctx.Port(1))
	if p.State != PortActive || p.Link != LinkEthernet || p.ActiveMTU.Bytes() != 4096 || p.Rate() != 100 {
		t.Errorf("port is %+v, %v Gbit/s", p, p.Rate())
	}
	for i, want := range []string{"fe80::1 RoCE v1", "127.0.0.1 RoCE v1", "127.0.0.1 RoCE v2"} {
		if gid, kind, ok := ctx.GID(1, i); !ok || gid.IP().String()+" "+kind.String() != want {
			t.Errorf("address %d is %v %v, want %s", i, gid.IP(), kind, want)
		}
	}
	if gid, _, ok := ctx.GID(1, 3); ok {
		t.Errorf("an empty entry is %v", gid.IP())
	}
	f.Set("thunderbolt", 1) // which does not tell types
	if gid, kind, ok := ctx.GID(1, 1); !ok || gid.IP().String() != "127.0.0.1" || kind != GIDUnknown {
		t.Errorf("address is %v %v %t", gid.IP(), kind, ok)
	}
}

func TestOpenSaysWhatIsMissing(t *testing.T) {
	var missing *MissingError
	if _, err := Open("/nonexistent/libibverbs.so"); !errors.As(err, &missing) || !strings.Contains(err.Error(), "/nonexistent/libibverbs.so") {
		t.Errorf("error is %v", err)
	}
	t.Setenv(LibraryVariable, "libc.so.6") // a library, but another
	if _, err := Open(""); !errors.As(err, &missing) || !strings.Contains(err.Error(), "ibv_") {
		t.Errorf("error is %v", err)
	}
}

func TestSystemsLibraryListsItsDevices(t *testing.T) {
	t.Setenv(LibraryVariable, "")
	l, err := Open("")
	if err != nil {
		t.Skip(err)
	}
	list := must[*Devices](t)(l.Devices())
	defer list.Close()
	for _, d := range list.All {
		if d.Name == "" {
			t.Error("a device without a name")
		}
	}
	t.Logf("%s finds %d devices", l.Path(), len(list.All))
}

func TestEveryStatusHasItsWords(t *testing.T) {
	seen := map[string]bool{}
	for s := Success; s <= TagRendezvousIncomplete; s++ {
		if w := s.String(); w == "" || seen[w] || strings.HasPrefix(w, "status ") {
			t.Errorf("status %d is %q", s, w)
		} else {
			seen[w] = true
		}
	}
	if got := Status(99).String(); got != "status 99" {
		t.Errorf("an unknown status is %q", got)
	}
}

func BenchmarkPoll(b *testing.B) {
	f := standin.Start(b)
	ctx, pd := open(b, f)
	e := newEnd(b, ctx, pd)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.queue.Poll(); err != nil {
			b.Fatal(err)
		}
	}
}
