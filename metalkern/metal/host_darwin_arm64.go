package metal

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/gpu"
	"github.com/orrery-ai/orrery/metalkern/internal/gated"
)

const (
	leastFamily   = 1007 // MTLGPUFamilyApple7: simdgroup matrices and reductions, which is the M1
	newestFamily  = 1015
	familyBase    = 1000
	leastSystem   = 14 // of macOS: version 3.1 of the language
	fastSystem    = 15 // version 3.2, with memory that is coherent with the processor
	language31    = 3<<16 | 1
	language32    = 3<<16 | 2
	sharedStorage = 0        // MTLResourceStorageModeShared, with the default tracking of hazards
	pageBytes     = 16 << 10 // of Apple silicon

	// unknownUnits is how many cores the GPU is taken to have if the registry does not say.
	unknownUnits = 10
)

// How queues wait for messages. The system ends what runs for some seconds; a step is split long before that.
const (
	looks    = 1 << 20
	patience = 500 * time.Millisecond
)

// synchVariable says how the GPU waits for messages: "safe", as without it, or "fast".
const synchVariable = "ORRERY_METAL_SYNCH"

// Host is the system's GPU. It implements [gpu.Host].
type Host struct {
	device   mtlDevice
	info     gpu.Info
	most     uint64 // bytes of a buffer
	fast     bool
	language uint64

	mu        sync.Mutex
	libraries map[[sha256.Size]byte]*library
	pipelines []mtlComputePipelineState
	closed    bool

	listing sync.Mutex
	listed  map[object]bool // buffers that kernels reach by address
}

var (
	_ gpu.Host    = (*Host)(nil)
	_ gpu.Adopter = (*Host)(nil)
)

// Open opens the system's GPU.
func Open() (*Host, error) {
	h, err := find()
	if err != nil {
		return nil, err
	}
	if family := h.family(); family < leastFamily {
		_ = h.Close()
		return nil, &gpu.UnavailableError{Kind: "metal", Reason: fmt.Sprintf("the %s is of the family Apple %d; Apple 7, of the M1, or later is needed (virtual machines have an older one)", h.info.Name, max(0, family-familyBase))}
	}
	return h, nil
}

// find is the system's GPU, of whatever family: all of them compile kernels, though not all run them.
func find() (*Host, error) {
	if err := load(); err != nil {
		return nil, err
	}
	h := &Host{libraries: map[[sha256.Size]byte]*library{}, listed: map[object]bool{}, language: language31}
	var err error
	pooled(func() {
		if !atLeast(leastSystem) {
			err = &gpu.UnavailableError{Kind: "metal", Reason: fmt.Sprintf("macOS %d or later is needed", leastSystem)}
			return
		}
		h.device = mtlDevice{object(call(symbols.createDevice))}
		if h.device.object == 0 {
			err = &gpu.UnavailableError{Kind: "metal", Reason: "the system has no Metal device"}
			return
		}
		h.most = h.device.maxBuffer()
		h.info = gpu.Info{Kind: "metal", Name: h.device.name().text(), Units: units(), Memory: int64(h.device.maxWorkingSet()), Pool: int(h.device.maxThreadgroupMemory()),
			Driver: systemVersion(), Place: "default"}
	})
	if err != nil {
		return nil, err
	}
	h.info.Arch = fmt.Sprintf("apple%d", max(0, h.family()-familyBase))
	switch way := os.Getenv(synchVariable); {
	case way == "fast" && !atLeast(fastSystem):
		err = fmt.Errorf("metal: %s=fast needs macOS %d or later", synchVariable, fastSystem)
	case way == "fast":
		h.fast, h.language = true, language32
	case way != "" && way != "safe":
		err = fmt.Errorf("metal: %s is %q; it must be safe or fast", synchVariable, way)
	}
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// atLeast says whether the system is macOS of that version or later.
func atLeast(major int64) (yes bool) {
	pooled(func() {
		yes = nsProcessInfo{class("NSProcessInfo")}.processInfo().isAtLeast(&nsOperatingSystemVersion{major: major})
	})
	return yes
}

// family is the newest of Apple's families that the GPU is of.
func (h *Host) family() int {
	for f := newestFamily; f > familyBase; f-- {
		if h.device.supportsFamily(f) {
			return f
		}
	}
	return 0
}

// units is the number of the GPU's cores, from the registry of devices.
func units() int {
	const number32 = 3 // kCFNumberSInt32Type
	matching := call(symbols.matching, pointer(unsafe.Pointer(cString("AGXAccelerator"))))
	if matching == 0 {
		return unknownUnits
	}
	service := call(symbols.matchingService, argument{}, argument{word: matching}) // takes matching over
	if service == 0 {
		return unknownUnits
	}
	defer call(symbols.releaseService, argument{word: service})
	key := newString("gpu-core-count")
	defer nsObject(key).release()
	property := call(symbols.property, argument{word: service}, word(key.object), argument{}, argument{})
	if property == 0 {
		return unknownUnits
	}
	defer call(symbols.releaseProperty, argument{word: property})
	n := new(int32)
	if call(symbols.number, argument{word: property}, argument{word: number32}, pointer(unsafe.Pointer(n)))&0xff == 0 || *n <= 0 {
		return unknownUnits
	}
	return int(*n)
}

// newString is s as an object, to be released.
func newString(s string) nsString {
	return nsString{nsObject{class("NSString")}.alloc()}.initWithUTF8String(cString(s))
}

// text copies a string.
func (o nsString) text() string {
	if o.object == 0 {
		return ""
	}
	return goString(o.utf8String())
}

// describe is what an error says; an error that is nil says so.
func (o nsError) describe() string {
	if o.object == 0 {
		return "it failed without an error"
	}
	return o.localizedDescription().text()
}

// systemVersion is that of macOS, of which the driver is a part; "" where it does not tell.
func systemVersion() string {
	v, err := unix.Sysctl("kern.osproductversion")
	if err != nil {
		return ""
	}
	return v
}

// Info implements [gpu.Host].
func (h *Host) Info() gpu.Info { return h.info }

// NewQueue implements [gpu.Host]. The queue is a *[gated.Queue].
func (h *Host) NewQueue() (gpu.Queue, error) {
	c := &commands{Host: h}
	if c.queue = h.device.newQueue(gated.MostBatches); c.queue.object == 0 {
		return nil, errors.New("metal: the device makes no queue")
	}
	q, err := gated.New(c, gated.Options{Fast: h.fast, Looks: looks, Patience: patience})
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return q, nil
}

// Close implements [gpu.Host].
func (h *Host) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	h.closed = true
	for _, p := range h.pipelines {
		nsObject(p).release()
	}
	for _, l := range h.libraries {
		nsObject(l.library).release()
	}
	nsObject(h.device).release()
	return nil
}

// library is a compiled unit.
type library struct {
	host    *Host
	name    string
	library mtlLibrary
}

// Compile implements [gpu.Host].
func (h *Host) Compile(u dialect.Unit) (gpu.Library, error) {
	text := dialect.Source(dialect.Metal, u)
	key := sha256.Sum256([]byte(text))
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.libraries[key]; l != nil {
		return l, nil
	}
	l := &library{host: h, name: u.Name}
	var err error
	pooled(func() {
		source := newString(text)
		defer nsObject(source).release()
		options := mtlCompileOptions{nsObject{nsObject{class("MTLCompileOptions")}.alloc()}.init()}
		defer nsObject(options).release()
		options.setLanguageVersion(h.language)
		options.setFastMath(false) // kernels tell infinities apart
		failure := new(object)
		if l.library = h.device.newLibrary(source, options, failure); l.library.object == 0 {
			err = &gpu.CompileError{Unit: u.Name, Compiler: "Metal", Log: nsError{*failure}.describe()}
		}
	})
	if err != nil {
		return nil, err
	}
	h.libraries[key] = l
	return l, nil
}

// kernel is a kernel that is ready to run.
type kernel struct {
	name     string
	host     *Host
	pipeline mtlComputePipelineState
	threads  int // of a group, at most
	static   int // bytes of threadgroup memory that its text declares
}

func (k *kernel) Name() string { return k.name }

// Kernel implements [gpu.Library].
func (l *library) Kernel(name string) (gpu.Kernel, error) {
	k := &kernel{name: name, host: l.host}
	var err error
	pooled(func() {
		text := newString(name)
		defer nsObject(text).release()
		function := l.library.newFunction(text)
		if function == 0 {
			err = fmt.Errorf("metal: %s has no kernel %s", l.name, name)
			return
		}
		defer nsObject{function}.release()
		failure := new(object)
		if k.pipeline = l.host.device.newPipeline(function, failure); k.pipeline.object == 0 {
			err = fmt.Errorf("metal: %s of %s: %s", name, l.name, nsError{*failure}.describe())
			return
		}
		k.threads, k.static = int(k.pipeline.maxThreads()), int(k.pipeline.staticMemory())
		if w := k.pipeline.width(); w != gpu.SimdWidth {
			err = fmt.Errorf("metal: %s runs in simdgroups of %d threads, not %d", name, w, gpu.SimdWidth)
		}
	})
	if k.pipeline.object != 0 {
		l.host.mu.Lock()
		l.host.pipelines = append(l.host.pipelines, k.pipeline)
		l.host.mu.Unlock()
	}
	if err != nil {
		return nil, err
	}
	return k, nil
}
