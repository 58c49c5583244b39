package kernels

import (
	"embed"
	"fmt"
	"sync"

	"github.com/orrery-ai/orrery/metalkern/dialect"
	"github.com/orrery-ai/orrery/metalkern/gpu"
)

//go:embed *.metal *.h *.cu
var sources embed.FS

// headers are what a kernel file needs before it.
var headers = map[string][]string{
	"decode.metal":  {"kv.h"},
	"prefill.metal": {"kv.h", "terms.h", "carry.h"},
	"store.metal":   {"kv.h"},
	"matvec.metal":  {"weights.h", "groups.h", "dots.h"},
	"skinny.metal":  {"kv.h", "weights.h", "groups.h", "terms.h"},
	"gemm.metal":    {"kv.h", "weights.h", "groups.h", "terms.h"},
	"wide.cu":       {"hopper.h"},
	"attend.cu":     {"kv.h", "terms.h", "carry.h", "hopper.h"},
	"rows.metal":    {"weights.h", "groups.h"},
	"stream.cu":     {"weights.h", "experts.h"},
	"staged.cu":     {"kv.h"},

	"route.metal":      {"experts.h"},
	"experts.metal":    {"weights.h", "groups.h", "dots.h", "experts.h"},
	"expertgemm.metal": {"kv.h", "weights.h", "groups.h", "terms.h", "gemm.metal", "experts.h"},
}

// instance is a kernel of a file.
type instance struct {
	file string // "decode.metal"
	name string
	text string // the macro that makes it, or "" for a kernel that the file has as it is
}

// Set is the kernels of one host. Its methods may be called from any goroutine.
type Set struct {
	host gpu.Host
	info gpu.Info // the host's

	mu      sync.RWMutex
	kernels map[string]gpu.Kernel
	recipes map[recipe]gpu.Kernel
}

// recipe is what the text of an instance is made of, for launches not to make it each time.
type recipe struct {
	kind   string
	format WeightFormat
	form   [7]int
}

// New makes a set that has compiled nothing yet.
func New(host gpu.Host) *Set {
	return &Set{host: host, info: host.Info(), kernels: map[string]gpu.Kernel{}, recipes: map[recipe]gpu.Kernel{}}
}

// Host is the host that the set belongs to.
func (s *Set) Host() gpu.Host { return s.host }

// need compiles those of the instances that are not compiled yet, one unit for each file.
func (s *Set) need(list ...instance) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	missing, listed := map[string][]instance{}, map[string]bool{}
	for _, i := range list {
		if s.kernels[i.name] == nil && !listed[i.name] {
			missing[i.file] = append(missing[i.file], i)
			listed[i.name] = true
		}
	}
	for file, list := range missing {
		library, err := s.host.Compile(unit(file, list))
		if err != nil {
			return fmt.Errorf("kernels: %w", err)
		}
		for _, i := range list {
			if s.kernels[i.name], err = library.Kernel(i.name); err != nil {
				return fmt.Errorf("kernels: %w", err)
			}
		}
	}
	return nil
}

// get is a kernel, compiled if need be.
func (s *Set) get(i instance) (gpu.Kernel, error) {
	s.mu.RLock()
	k := s.kernels[i.name]
	s.mu.RUnlock()
	if k != nil {
		return k, nil
	}
	if err := s.need(i); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.kernels[i.name], nil
}

// made is the kernel of a recipe, of which make makes the instance.
func (s *Set) made(r recipe, make func() instance) (gpu.Kernel, error) {
	s.mu.RLock()
	k := s.recipes[r]
	s.mu.RUnlock()
	if k != nil {
		return k, nil
	}
	k, err := s.get(make())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recipes[r] = k
	return k, nil
}

// unit is the text of a file's instances.
func unit(file string, list []instance) dialect.Unit {
	u := dialect.Unit{Name: file}
	for _, name := range append(headers[file], file) {
		text, err := sources.ReadFile(name)
		if err != nil {
			panic(err) // embedded: the table names a file that does not exist
		}
		u.Files = append(u.Files, dialect.File{Name: name, Text: string(text)})
	}
	for _, i := range list {
		if i.text != "" {
			u.Instances = append(u.Instances, i.text)
		}
	}
	return u
}
